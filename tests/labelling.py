"""A place to label in: what tests/ingesting.py makes, a SAM 3, labels, and drawn videos whose frames are kept already."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
from PIL import Image
from psycopg.types.json import Jsonb

from argus_ray import weights
from argus_ray.catalog import runs, segments
from argus_ray.catalog.connect import Database, worker_url
from argus_ray.catalog.frames import frame_id
from argus_ray.local.postgres import Postgres
from argus_ray.local.seaweedfs import SeaweedFS
from argus_ray.pipelines.stages.rows import ClaimedSegment
from argus_ray.s3 import frame_key
from argus_ray.synthetic.video import VideoTruth, draw_frames, plan_video
from tests import tiny_sam3
from tests.ingesting import Place, place
from tests.library import Library


def labelling_place(
    postgres: Postgres, s3: SeaweedFS, folder: Path, *, sam3: str | None = None, **changes: Any
) -> Place:
    """Without `sam3` the model is a tiny one of random weights, which finds something everywhere."""
    uri = sam3 or str(tiny_sam3.write(folder / "sam3"))
    here = place(postgres, s3, folder, sam3_model=uri, **changes)
    weights.register_sam3(here.settings, uri)
    return here


@dataclass(frozen=True)
class DrawnVideo:
    """A ready video and what it shows; `pts_us` are the times of its kept frames."""

    id: UUID
    truth: VideoTruth
    pts_us: tuple[int, ...]


def add_drawn(
    here: Place,
    *,
    frames: int,
    seed: int = 1,
    size: tuple[int, int] = (192, 108),
    things: Any = 1,
    name: str = "drawn.mp4",
) -> DrawnVideo:
    """A ready video of so many kept frames, five a second, without a file of its own."""
    truth = plan_video(np.random.default_rng(seed), frames / 5, scenes=things, size=size, fps=5)
    video_id = uuid4()
    here.owner.execute(
        """
        insert into videos (id, project_id, name, state, width, height, duration_us, start_us, uploaded_at, ready_at, progress)
        values (%s, %s, %s, 'ready', %s, %s, %s, 0, now(), now(), 1)
        """,
        (video_id, here.project_id, name, truth.width, truth.height, truth.duration_us),
    )
    times = []
    for pts_us, drawing in draw_frames(truth):
        out = io.BytesIO()
        Image.fromarray(drawing.rgb).save(out, "JPEG", quality=90)
        add_frame(here, video_id, pts_us, out.getvalue(), size)
        times.append(pts_us)
    return DrawnVideo(video_id, truth, tuple(times))


def add_frame(here: Place, video_id: UUID, pts_us: int, jpeg: bytes, size: tuple[int, int]) -> None:
    here.s3.put_object(Bucket=here.settings.bucket, Key=frame_key(here.project_id, video_id, pts_us), Body=jpeg)
    here.owner.execute(
        """
        insert into frames (project_id, video_id, pts_us, id, job_id, segment_number, width, height, size_bytes, why)
        values (%s, %s, %s, %s, %s, 0, %s, %s, %s, 'fps')
        """,
        (here.project_id, video_id, pts_us, frame_id(video_id, pts_us), uuid4(), *size, len(jpeg)),
    )


def add_label(here: Place, name: str, *, prompts: Sequence[str] = (), threshold: float | None = None) -> UUID:
    row = here.one(
        "insert into labels (project_id, name, colour, prompts, threshold) values (%s, %s, '#0072b2', %s, %s) returning id",
        here.project_id,
        name,
        list(prompts) or [name],
        threshold,
    )
    return UUID(str(row["id"]))


def ask(here: Place, kind: str, labels: Sequence[UUID], *, video_id: UUID | None = None, **spec: Any) -> UUID:
    """Queue a job as the API does."""
    whole = {"kind": kind, "target": {"filter": {}}, "labels": [{"label_id": str(label)} for label in labels], **spec}
    row = here.one(
        "insert into jobs (project_id, kind, spec, video_id) values (%s, %s, %s, %s) returning id",
        here.project_id,
        "track" if kind == "retrack" else kind,
        Jsonb(whole),
        video_id,
    )
    return UUID(str(row["id"]))


def job(here: Place, job_id: UUID) -> dict[str, Any]:
    return here.one("select * from jobs where id = %s", job_id)


def drain(here: Place | Library, finder: Any, writer: Any, *, kind: str = "autolabel") -> list[dict[str, Any]]:
    """What a run does, in this process and without Ray: claim, answer, write, until nothing is queued."""
    database = Database(worker_url(here.settings))
    run_id, written = uuid4(), []
    database.retry(lambda tx: tx.one(runs.place(run_id, pool=str(run_id), kind=kind, lease_s=600, max_life_s=600)))
    for no in range(10_000):
        claim = database.retry(lambda tx, no=no: tx.maybe(segments.claim(run_id, ahead=1000, no=no, kind=kind)))  # type: ignore[misc]
        if claim is None:
            break
        row = ClaimedSegment(segment_id=str(claim.segment_id), run_id=str(claim.run_id), fence=claim.fence)
        written += [writer(chunk) for chunk in finder(row)]
    database.retry(lambda tx: tx.run(runs.release(run_id)))
    database.close()
    return written
