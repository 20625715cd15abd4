"""`argus videos | frames`."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import click

from argus_ray.cli.endpoint import Endpoint
from argus_ray.cli.inputs import json_object, policy, project_option, yes_option
from argus_ray.cli.output import confirm, json_option, show, show_json, show_one
from argus_ray.schemas.video import SamplingPolicy, VideoImport, VideoState, VideoUpdate

VIDEO_COLUMNS = ("id", "name", "state", "progress", "frames_kept", "created_at")
FRAME_COLUMNS = ("id", "pts_us", "width", "height", "why")
STATES = click.Choice([state.value for state in VideoState if state != VideoState.DELETED])


@click.group()
def videos() -> None:
    """List, show, change and delete videos."""


@videos.command("list")
@project_option
@click.option("--state", "states", type=STATES, multiple=True, help="In this state; may be repeated.")
@click.option("--name", help="Part of the name.")
@click.option("--metadata", type=json_object, help="JSON object that their metadata contains: '{\"camera\": 3}'.")
@json_option
@click.pass_obj
def list_videos(
    endpoint: Endpoint,
    project: UUID,
    states: tuple[str, ...],
    name: str | None,
    metadata: dict[str, Any] | None,
    *,
    as_json: bool,
) -> None:
    """List a project's videos, the newest first: argus videos list --project PROJECT --state ready"""
    with endpoint.client() as argus:
        within = [VideoState(state) for state in states]
        show(argus.videos.list(project, state=within, name=name, metadata=metadata), VIDEO_COLUMNS, as_json=as_json)


@videos.command("show")
@click.argument("video_id", type=click.UUID)
@json_option
@click.pass_obj
def show_video(endpoint: Endpoint, video_id: UUID, *, as_json: bool) -> None:
    """Show all that is known of a video: argus videos show VIDEO"""
    with endpoint.client() as argus:
        show_one(argus.videos.get(video_id), as_json=as_json)


@videos.command("update")
@click.argument("video_id", type=click.UUID)
@click.option("--name")
@click.option("--metadata", type=json_object, help="JSON object that takes the place of the old one.")
@json_option
@click.pass_obj
def update_video(
    endpoint: Endpoint, video_id: UUID, name: str | None, metadata: dict[str, Any] | None, *, as_json: bool
) -> None:
    """Rename a video, or replace its metadata: argus videos update VIDEO --metadata '{"camera": 3}'"""
    change = {name: value for name, value in {"name": name, "metadata": metadata}.items() if value is not None}
    if not change:
        raise click.UsageError("say what to change: --name or --metadata")
    update = VideoUpdate.model_validate(change)
    with endpoint.client() as argus:
        show_one(argus.videos.update(argus.videos.get(video_id), update), as_json=as_json)


@videos.command("import")
@click.argument("uri")
@project_option
@click.option("--name", help="Name of the video. Default: the last part of the URI.")
@click.option("--sampling", type=policy, help="Which frames to keep, as JSON.")
@click.option("--metadata", type=json_object, help="JSON object to keep with it.")
@json_option
@click.pass_obj
def import_video(
    endpoint: Endpoint,
    uri: str,
    project: UUID,
    name: str | None,
    sampling: SamplingPolicy | None,
    metadata: dict[str, Any] | None,
    *,
    as_json: bool,
) -> None:
    """Ingest a file that lies in a bucket, without copying it: argus videos import s3://bucket/a.mp4 --project PROJECT

    Prints the job of its ingest.
    """
    new = VideoImport(uri=uri, filename=name, sampling=sampling, metadata=metadata)
    with endpoint.client() as argus:
        show_one(argus.videos.import_(project, new), as_json=as_json)


@videos.command("reingest")
@click.argument("video_id", type=click.UUID)
@click.option("--sampling", type=policy, help="Another policy, as JSON.")
@json_option
@click.pass_obj
def reingest_video(endpoint: Endpoint, video_id: UUID, sampling: SamplingPolicy | None, *, as_json: bool) -> None:
    """Keep other frames of a video, and print the job: argus videos reingest VIDEO --sampling '{"policy": "scenes"}'"""
    with endpoint.client() as argus:
        show_one(argus.videos.reingest(video_id, sampling), as_json=as_json)


@videos.command("media")
@click.argument("video_id", type=click.UUID)
@json_option
@click.pass_obj
def media(endpoint: Endpoint, video_id: UUID, *, as_json: bool) -> None:
    """Print a short-lived URL of the original file: argus videos media VIDEO"""
    with endpoint.client() as argus:
        found = argus.videos.media(video_id)
    if as_json:
        show_json(found.model_dump(mode="json"))
    else:
        click.echo(found.url)


@videos.command("delete")
@click.argument("video_ids", nargs=-1, required=True, type=click.UUID)
@yes_option
@click.pass_obj
def delete_videos(endpoint: Endpoint, video_ids: tuple[UUID, ...], *, yes: bool) -> None:
    """Delete videos with their frames and vectors: argus videos delete VIDEO --yes"""
    with endpoint.client() as argus:
        confirm(f"Delete {len(video_ids)} video(s) for ever?", yes=yes)
        for video_id in video_ids:
            argus.videos.delete(video_id)


@click.group()
def frames() -> None:
    """List and export the frames that were kept."""


@frames.command("list")
@click.argument("video_id", type=click.UUID)
@json_option
@click.pass_obj
def list_frames(endpoint: Endpoint, video_id: UUID, *, as_json: bool) -> None:
    """List a video's frames in order of time: argus frames list VIDEO"""
    with endpoint.client() as argus:
        show(argus.videos.frames(video_id), FRAME_COLUMNS, as_json=as_json)


@frames.command("export")
@click.argument("video_ids", nargs=-1, required=True, type=click.UUID)
@click.option("--to", "folder", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder to fill.")
@json_option
@click.pass_obj
def export_frames(endpoint: Endpoint, video_ids: tuple[UUID, ...], folder: Path, *, as_json: bool) -> None:
    """Download frames and a frames.parquet that names them: argus frames export VIDEO --to frames/

    Run it again after an interruption: what is there is not fetched twice.
    """
    from argus_ray.cli.frames_export import export

    with endpoint.client() as argus:
        count = export(argus, video_ids, folder)
    table = folder / "frames.parquet"
    if as_json:
        show_json({"file": str(table), "frames": count})
    else:
        click.echo(f"{count} frames in {folder}", err=True)
        click.echo(table)
