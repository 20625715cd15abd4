"""`argus upload | videos | jobs | search | frames`."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import click
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from argus_ray.cli.account import policy, project_option
from argus_ray.cli.output import FAILED, json_option, show, show_one
from argus_ray.cli.session import Endpoint
from argus_ray.client import Client
from argus_ray.client.client import ENDED
from argus_ray.errors import ArgusError, InvalidRequest
from argus_ray.schemas.frame import ImageTerm, QueryTerm, Search, SearchFilter
from argus_ray.schemas.job import JobState
from argus_ray.schemas.video import Video, VideoImport, VideoState, VideoUpdate

VIDEO_COLUMNS = ("id", "name", "state", "progress", "frames_kept", "created_at")
JOB_COLUMNS = ("id", "kind", "state", "progress", "video_id", "created_at", "finished_at")
HIT_COLUMNS = ("video_name", "pts_us", "start_us", "end_us", "score", "video_id", "frame_id")

A_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("files", nargs=-1, required=True, type=A_FILE)
@project_option
@click.option("--sampling", help='Which frames to keep, as JSON: \'{"policy": "scenes"}\'.')
@click.option("--metadata", help="JSON object to keep with each video.")
@click.option("--wait", is_flag=True, help="Wait until each is searchable; exit 1 when one failed.")
@json_option
@click.pass_context
def upload(
    context: click.Context,
    files: tuple[Path, ...],
    project: str,
    sampling: str | None,
    metadata: str | None,
    *,
    wait: bool,
    as_json: bool,
) -> None:
    """Upload videos and print their ids: argus upload --project ID clips/*.mp4

    Run it again after an interruption: what has arrived is not sent twice. A file that cannot be sent does not stop the
    others; the exit code is then 1.
    """
    chosen = policy(sampling) if sampling else None
    kept = _object(metadata) if metadata else None
    videos, failed = [], False
    with context.obj.client() as argus:
        for file in files:
            try:
                with _bar(file) as progress:
                    video = argus.videos.upload(project, file, sampling=chosen, metadata=kept, progress=progress)
            except InvalidRequest as error:
                click.echo(f"argus: {error.detail}", err=True)
                failed = True
                continue
            videos.append(video)
            if not wait:
                click.echo(video.model_dump_json() if as_json else video.id)
        for video in videos if wait else []:
            ended = _when_ended(argus, video)
            failed |= ended.state == VideoState.FAILED
            show([ended], VIDEO_COLUMNS, as_json=as_json)
            if ended.reason is not None:
                click.echo(f"argus: {ended.name}: {ended.reason.detail}", err=True)
    context.exit(FAILED if failed else 0)


def _when_ended(argus: Client, video: Video) -> Video:
    for job in argus.jobs.list(video.project_id, video_id=video.id):
        if job.state not in ENDED:
            argus.jobs.wait(job.id)
    return argus.videos.get(video.id)


@contextmanager
def _bar(file: Path) -> Iterator[Any]:
    """A progress bar on a terminal, one plain line elsewhere."""
    if not sys.stderr.isatty():
        click.echo(f"uploading {file.name} ({file.stat().st_size} bytes)", err=True)
        yield None
        return
    from rich.console import Console

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(file.name, total=file.stat().st_size)
        yield lambda sent, _size: bars.update(task, completed=sent)


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"{text} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise click.BadParameter(f"{text} is not a JSON object")
    return value


@click.group()
def videos() -> None:
    """List, show, change and delete videos."""


@videos.command("list")
@project_option
@click.option("--state", type=click.Choice([state.value for state in VideoState if state != VideoState.DELETED]))
@click.option("--name", help="Part of the name.")
@json_option
@click.pass_obj
def list_videos(endpoint: Endpoint, project: str, state: str | None, name: str | None, *, as_json: bool) -> None:
    """List a project's videos, the newest first."""
    with endpoint.client() as argus:
        rows = argus.videos.list(project, state=VideoState(state) if state else None, name=name)
        show(rows, VIDEO_COLUMNS, as_json=as_json)


@videos.command("show")
@click.argument("video_id")
@json_option
@click.pass_obj
def show_video(endpoint: Endpoint, video_id: str, *, as_json: bool) -> None:
    """Show all that is known of a video."""
    with endpoint.client() as argus:
        show_one(argus.videos.get(video_id), as_json=as_json)


@videos.command("update")
@click.argument("video_id")
@click.option("--name")
@click.option("--metadata", help="JSON object that takes the place of the old one.")
@json_option
@click.pass_obj
def update_video(endpoint: Endpoint, video_id: str, name: str | None, metadata: str | None, *, as_json: bool) -> None:
    """Rename a video, or replace its metadata."""
    change: dict[str, Any] = {}
    if name is not None:
        change["name"] = name
    if metadata is not None:
        change["metadata"] = _object(metadata)
    with endpoint.client() as argus:
        show_one(argus.videos.update(argus.videos.get(video_id), VideoUpdate.model_validate(change)), as_json=as_json)


@videos.command("import")
@click.argument("uri")
@project_option
@click.option("--sampling", help="Which frames to keep, as JSON.")
@json_option
@click.pass_obj
def import_video(endpoint: Endpoint, uri: str, project: str, sampling: str | None, *, as_json: bool) -> None:
    """Ingest a file that lies in a bucket, without copying it: argus videos import s3://bucket/a.mp4 --project ID"""
    new: dict[str, Any] = {"uri": uri}
    if sampling:
        new["sampling"] = policy(sampling)
    with endpoint.client() as argus:
        show_one(argus.videos.import_(project, VideoImport.model_validate(new)), as_json=as_json)


@videos.command("reingest")
@click.argument("video_id")
@click.option("--sampling", help="Another policy, as JSON.")
@json_option
@click.pass_obj
def reingest_video(endpoint: Endpoint, video_id: str, sampling: str | None, *, as_json: bool) -> None:
    """Keep other frames of a video."""
    with endpoint.client() as argus:
        show_one(argus.videos.reingest(video_id, policy(sampling) if sampling else None), as_json=as_json)


@videos.command("media")
@click.argument("video_id")
@click.pass_obj
def media(endpoint: Endpoint, video_id: str) -> None:
    """Print a short-lived URL of the original file."""
    with endpoint.client() as argus:
        click.echo(argus.videos.media(video_id).url)


@videos.command("delete")
@click.argument("video_ids", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def delete_videos(endpoint: Endpoint, video_ids: tuple[str, ...], *, yes: bool) -> None:
    """Delete videos with their frames and vectors."""
    if not yes:
        click.confirm(f"Delete {len(video_ids)} video(s) for ever?", abort=True, err=True)
    with endpoint.client() as argus:
        for video_id in video_ids:
            argus.videos.delete(video_id)


@click.group()
def jobs() -> None:
    """Follow, cancel and retry work."""


@jobs.command("list")
@project_option
@click.option("--state", type=click.Choice([state.value for state in JobState]))
@json_option
@click.pass_obj
def list_jobs(endpoint: Endpoint, project: str, state: str | None, *, as_json: bool) -> None:
    """List a project's jobs, the newest first."""
    with endpoint.client() as argus:
        show(argus.jobs.list(project, state=JobState(state) if state else None), JOB_COLUMNS, as_json=as_json)


@jobs.command("show")
@click.argument("job_id")
@click.option("--wait", is_flag=True, help="Until it has ended; exit 1 unless it succeeded.")
@json_option
@click.pass_context
def show_job(context: click.Context, job_id: str, *, wait: bool, as_json: bool) -> None:
    """Show a job."""
    with context.obj.client() as argus:
        job = argus.jobs.wait(job_id) if wait else argus.jobs.get(job_id)
    show_one(job, as_json=as_json)
    context.exit(FAILED if wait and job.state != JobState.SUCCEEDED else 0)


@jobs.command("cancel")
@click.argument("job_id")
@json_option
@click.pass_obj
def cancel_job(endpoint: Endpoint, job_id: str, *, as_json: bool) -> None:
    """Stop a job; running work ends soon after."""
    with endpoint.client() as argus:
        show_one(argus.jobs.cancel(job_id), as_json=as_json)


@jobs.command("retry")
@click.argument("job_id")
@json_option
@click.pass_obj
def retry_job(endpoint: Endpoint, job_id: str, *, as_json: bool) -> None:
    """Queue a failed or cancelled job again."""
    with endpoint.client() as argus:
        show_one(argus.jobs.retry(job_id), as_json=as_json)


@click.command()
@click.argument("text", required=False)
@click.option("--image", type=A_FILE, help="Search with a picture.")
@click.option("--frame", type=click.UUID, help="Search with one of your frames.")
@click.option("--unlike", multiple=True, help="Words for what it should not be like; may be repeated.")
@click.option("--video", "video_ids", type=click.UUID, multiple=True, help="Only in this video; may be repeated.")
@click.option("--group-by", type=click.Choice(["moment", "video", "none"]), default="moment", show_default=True)
@click.option("--limit", type=click.IntRange(1, 200), default=10, show_default=True)
@project_option
@json_option
@click.pass_obj
def search(
    endpoint: Endpoint,
    text: str | None,
    image: Path | None,
    frame: UUID | None,
    unlike: tuple[str, ...],
    video_ids: tuple[UUID, ...],
    group_by: Any,
    limit: int,
    project: str,
    *,
    as_json: bool,
) -> None:
    """Find moments by words, a picture or a frame: argus search "a red car on grass" --project ID"""
    terms = []
    if text:
        terms.append(QueryTerm(text=text))
    if image:
        terms.append(QueryTerm(image=ImageTerm(base64=base64.b64encode(image.read_bytes()).decode())))
    if frame:
        terms.append(QueryTerm(frame_id=frame))
    if not terms:
        raise click.UsageError("say what to look for: words, --image or --frame")
    terms += [QueryTerm(text=words, weight=-0.5) for words in unlike]
    within = SearchFilter(video_ids=[*video_ids]) if video_ids else SearchFilter()
    asked = Search(terms=terms, filter=within, group_by=group_by, limit=limit)
    if terms == [QueryTerm(text=text)]:  # words alone: the answer then has probabilities
        asked = Search(text=text, filter=within, group_by=group_by, limit=limit)
    with endpoint.client() as argus:
        answer = argus.search(project, asked)
    if not answer.items:
        click.echo("nothing found: the project has no ready video with frames that fit the filter", err=True)
    show(answer.items, HIT_COLUMNS, as_json=as_json)


@click.group()
def frames() -> None:
    """List and export the frames that were kept."""


@frames.command("list")
@click.argument("video_id")
@json_option
@click.pass_obj
def list_frames(endpoint: Endpoint, video_id: str, *, as_json: bool) -> None:
    """List a video's frames in order of time."""
    with endpoint.client() as argus:
        show(argus.videos.frames(video_id), ("id", "pts_us", "width", "height", "why"), as_json=as_json)


@frames.command("export")
@click.argument("video_ids", nargs=-1, required=True)
@click.option("--to", "folder", required=True, type=click.Path(file_okay=False, path_type=Path))
@click.pass_obj
def export_frames(endpoint: Endpoint, video_ids: tuple[str, ...], folder: Path) -> None:
    """Download frames and a frames.parquet that names them: argus frames export VIDEO --to frames/"""
    from argus_ray.cli.frames_export import export

    with endpoint.client() as argus:
        try:
            count = export(argus, video_ids, folder)
        except OSError as error:
            raise ArgusError(f"{folder} cannot be written: {error}") from error
    click.echo(f"{count} frames in {folder}", err=True)
    click.echo(folder / "frames.parquet")
