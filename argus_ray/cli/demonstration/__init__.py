"""`argus demo`: the whole of Argus in a few minutes, on drawn videos or on one's own.

Starts the embedded stack in a folder of its own, signs up, uploads through presigned URLs, ingests, listens with
Supabase's client, searches, draws what it found; then names concepts, has SAM 3 find and follow them, reviews and
corrects what it proposes, freezes it as a dataset version, exports that, and stops everything. It succeeds only when
every video ended, progress arrived over Realtime, the first hit of every query is right by what was drawn, and masks and
tracks agree with what was drawn to the floors that it prints.

With one's own videos it ends after the ingest, since the demo's weights know drawn shapes only.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from argus_ray.cli.demonstration import concepts, freezing, own, searching, stack, visitor
from argus_ray.cli.demonstration.steps import FOLDER, DemoFailed, Steps
from argus_ray.errors import ArgusError
from argus_ray.synthetic.video import VideoTruth, encode_video, plan_video

SEED = 24
VIDEOS, SECONDS, SIZE = 6, 6.0, (640, 360)


def run(files: Sequence[Path]) -> None:
    """The demo, on these files or on drawn videos. Raises DemoFailed, naming the step."""
    steps = Steps()
    began = time.monotonic()
    click.echo("The demo uses the small weights that ship with Argus: they know drawn shapes only.", err=True)
    home = FOLDER.resolve() / "home"
    try:
        with stack.running(home, steps) as status:
            if files:
                own.show(files, status, steps)
            else:
                _drawn(status, steps)
            click.echo(f"        API docs: {status['api_url']}/docs (while it ran; `argus up` keeps it running)")
            click.echo(f"        Ray dashboard: {status['dashboard_url']}")
            click.echo(f"        files: {FOLDER.resolve()}  (data and logs in {home})")
    except ArgusError as error:
        raise DemoFailed(f"step «{steps.failed or 'begin'}»: {error.detail}") from error
    click.echo(f"{time.monotonic() - began:6.1f} s  in all")


def _drawn(status: dict[str, Any], steps: Steps) -> None:
    with steps.step(f"draw {VIDEOS} videos of {SECONDS:.0f} s"):
        truths = draw(FOLDER / "videos")
    with visitor.signed_up(status, steps) as (argus, project, listener):
        videos, refused = visitor.upload(argus, project, [FOLDER / "videos" / name for name in truths], steps)
        ended = visitor.ingest(argus, project, videos, listener, steps)
        with steps.step("see that every video is ready"):
            failed = [f"{video.name}: {video.reason.detail}" for video in ended if video.reason] + [*refused.values()]
            if failed:
                raise DemoFailed("; ".join(failed))
        searching.search(argus, project, truths, steps)
        found = concepts.find(argus, project, ended, truths, steps)
        followed = concepts.follow(argus, project, found, truths, steps)
        concepts.review(argus, project, found, followed, truths, steps)
        freezing.freeze_and_export(argus, project, steps)


def draw(folder: Path, videos: int = VIDEOS) -> dict[str, VideoTruth]:
    """So many files, and what they show by their names."""
    rng = np.random.default_rng(SEED)
    folder.mkdir(parents=True, exist_ok=True)
    truths = {}
    for number in range(1, videos + 1):
        file = folder / f"drawn-{number}.mp4"
        truths[file.name] = plan_video(rng, SECONDS, scenes=2, size=SIZE)
        encode_video(file, truths[file.name])
    return truths
