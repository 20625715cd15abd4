"""`argus upload`, and the bars it shows on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from argus_ray.cli.inputs import A_FILE, json_object, policy, project_option
from argus_ray.cli.output import FAILED, REFUSED, complain, exit_code, json_option, plain, show, show_json
from argus_ray.cli.videos import VIDEO_COLUMNS
from argus_ray.errors import ArgusError
from argus_ray.schemas.job import Job
from argus_ray.schemas.video import SamplingPolicy, Video, VideoState

if TYPE_CHECKING:
    from argus_ray.client import Client

Tell = Callable[[float, float], None]
"""How far something is, of how much."""


@click.command()
@click.argument("files", nargs=-1, required=True, type=A_FILE)
@project_option
@click.option("--sampling", type=policy, help='Which frames to keep, as JSON: \'{"policy": "scenes"}\'.')
@click.option("--metadata", type=json_object, help="JSON object to keep with each video.")
@click.option("--wait", is_flag=True, help="Wait until each is searchable, and print what became of it.")
@json_option
@click.pass_context
def upload(
    context: click.Context,
    files: tuple[Path, ...],
    project: UUID,
    sampling: SamplingPolicy | None,
    metadata: dict[str, Any] | None,
    *,
    wait: bool,
    as_json: bool,
) -> None:
    """Upload videos and print their ids: argus upload --project PROJECT clips/*.mp4

    Run it again after an interruption: what has arrived is not sent twice. A file that is refused does not stop the
    others; the exit code is then 1, as it is with --wait when a video failed.
    """
    videos, failed = [], False
    with context.obj.client() as argus:
        for file in files:
            try:
                with _bar(f"uploading {file.name} ({file.stat().st_size} bytes)", size=True) as tell:
                    video = argus.videos.upload(project, file, sampling=sampling, metadata=metadata, progress=tell)
            except ArgusError as error:
                if exit_code(error) != REFUSED:
                    raise  # the next file would fare no better
                complain(error.detail)
                failed = True
                continue
            videos.append(video)
            if not wait:
                _print_id(video, as_json=as_json)
        if wait:
            failed |= _wait(argus, videos, as_json=as_json)
    context.exit(FAILED if failed else 0)


def _print_id(video: Video, *, as_json: bool) -> None:
    if as_json:
        show_json(video.model_dump(mode="json"))
    else:
        click.echo(video.id)


def _wait(argus: Client, videos: Sequence[Video], *, as_json: bool) -> bool:
    """Print each video when its ingest has ended; whether one failed."""
    failed = []

    def ended() -> Iterator[Video]:
        for video in videos:
            with _bar(f"ingesting {video.name}") as tell:
                found = _when_ended(argus, video, tell)
            if found.state == VideoState.FAILED:
                failed.append(found)
            yield found

    show(ended(), VIDEO_COLUMNS, as_json=as_json)
    for video in failed:
        complain(f"{video.name}: {video.reason.detail if video.reason else 'failed'}")
    return bool(failed)


def _when_ended(argus: Client, video: Video, tell: Tell | None) -> Video:
    for job in argus.jobs.list(video.project_id, video_id=video.id):
        argus.jobs.wait(job.id, timeout_s=float("inf"), progress=_job_teller(tell))
    return argus.videos.get(video.id)


def _job_teller(tell: Tell | None) -> Callable[[Job], None] | None:
    return None if tell is None else lambda job: tell(job.progress, 1)


@contextmanager
def _bar(text: str, *, size: bool = False) -> Iterator[Tell | None]:
    """A progress bar on a terminal, of bytes where `size` is set; one plain line elsewhere."""
    if not sys.stderr.isatty():
        click.echo(plain(text), err=True)
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    amount = (DownloadColumn(), TransferSpeedColumn()) if size else (TaskProgressColumn(),)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), *amount, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(plain(text), total=None)
        yield lambda done, of: bars.update(task, completed=done, total=of)
