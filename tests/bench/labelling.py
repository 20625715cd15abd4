"""Autolabel: frames that are kept already, from S3 to masks in Postgres.

What does the pipeline cost over a bare loop? The loop is an actor of the same Ray that reads the same JPEGs one after the
other and asks the same model the same phrases, and keeps nothing: no queue, no fence, no rows. The two take turns on the
same machine; the first chunk of each does not count, since it warms the model up.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from argus_ray.local import postgres, seaweedfs
from argus_ray.pipelines import autolabel
from argus_ray.pipelines.stages.concept_finder import CHUNK_FRAMES
from argus_ray.settings import DEMO_SAM3, Settings
from tests.bench.ingest import quiet_ray
from tests.bench.measure import Line
from tests.bench.sizes import Sizes
from tests.ingesting import Place
from tests.labelling import add_drawn, add_label, ask, job, labelling_place

PHRASES = ("red car", "boat")


def lines(sizes: Sizes) -> list[Line]:
    ours, bare = [], []
    with _place() as here, quiet_ray():
        video = add_drawn(here, frames=sizes.labelled, size=(640, 360), things=4)
        labels = [add_label(here, phrase) for phrase in PHRASES]
        for _ in range(sizes.long_rounds):
            bare.append(_loop(here.settings, here.project_id, video.id, list(video.pts_us)))
            ours.append(_pipeline(here, labels))
    ours_s, bare_s = statistics.median(ours), statistics.median(bare)
    return [
        Line(
            "autolabel",
            "Autolabel, frames from S3 to masks in Postgres, against a bare loop over the model",
            f"{ours_s:.1f} frames/s",
            f"{bare_s:.1f} frames/s",
            ours_s / bare_s,
            target=0.8,
            note=f"{len(PHRASES)} labels, {sizes.labelled} frames of 640 x 360, the small SAM 3 on the CPU",
            facts={"ours": ours, "bare": bare},
        )
    ]


@contextmanager
def _place() -> Iterator[Place]:
    """Postgres (durable) and S3 of this benchmark's own."""
    with tempfile.TemporaryDirectory(prefix="argus-bench-") as home:
        folder = Path(home)
        database, store = postgres.start(folder / "postgres"), seaweedfs.start(folder / "s3")
        try:
            here = labelling_place(database, store, folder, sam3=DEMO_SAM3, linger_s=0.5, lease_s=60)
            try:
                yield here
            finally:
                here.close()
        finally:
            store.stop()
            database.stop()


def _pipeline(here: Place, labels: list[UUID]) -> float:
    """Frames a second of a run over all frames, but for its first chunk."""
    here.owner.execute("delete from answers")
    asked = ask(here, "autolabel", labels)
    if not autolabel.run(here.settings) or job(here, asked)["state"] != "succeeded":
        raise AssertionError(f"not every frame was labelled: {job(here, asked)['reason']}")
    row = here.one(
        """
        select count(distinct pts_us) filter (where at > first) as frames, extract(epoch from max(at) - min(at))::float as s
        from answers, (select min(at) as first from answers) f
        """
    )
    return float(row["frames"] / row["s"])


class _Loop:
    """What one writes in five minutes."""

    def __init__(self, settings: Settings) -> None:
        from argus_ray.models import sam3
        from argus_ray.models.concepts import Prompt
        from argus_ray.s3 import S3

        self.model = sam3.load(settings.sam3_model, settings.device, parts=("concepts",))
        self.s3, self.prompts = S3(settings), [Prompt(phrase) for phrase in PHRASES]

    def run(self, project_id: UUID, video_id: UUID, times_us: list[int]) -> float:
        from argus_ray.models.pictures import decode_picture
        from argus_ray.s3 import frame_key

        began = 0.0
        for number, pts_us in enumerate(times_us):
            if number == CHUNK_FRAMES:
                began = time.perf_counter()
            jpeg = self.s3.get(self.s3.at(frame_key(project_id, video_id, pts_us)))
            (features,) = self.model.features([decode_picture(jpeg, 10_000_000)])
            self.model.find(features, self.prompts, size=(360, 640))
        return (len(times_us) - CHUNK_FRAMES) / (time.perf_counter() - began)


def _loop(settings: Settings, project_id: UUID, video_id: UUID, times_us: list[int]) -> float:
    import ray

    actor: Any = ray.remote(_Loop).options(num_cpus=1).remote(settings)
    try:
        return float(ray.get(actor.run.remote(project_id, video_id, times_us)))
    finally:
        ray.kill(actor)
