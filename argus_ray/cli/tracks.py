"""`argus tracks`."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import click

from argus_ray.cli.annotating import STATES
from argus_ray.cli.endpoint import Endpoint
from argus_ray.cli.inputs import json_object, us
from argus_ray.cli.labels import HISTORY_COLUMNS
from argus_ray.cli.output import json_option, show, show_one
from argus_ray.schemas.annotation import State, TrackUpdate

TRACK_COLUMNS = ("id", "number", "label_id", "start_us", "end_us", "keyframes", "state", "source", "score", "method")
LINK_COLUMNS = ("id", "border_us", "iou", "similarity", "score", "state", "other_track_id")

_at = click.option("--at", "at_s", type=float, required=True, help="The second of the video.")


@click.group()
def tracks() -> None:
    """Follow objects through time, and mend what was followed wrongly."""


@tracks.command("list")
@click.argument("video_id", type=click.UUID)
@click.option("--from", "from_s", type=float, help="There after this second.")
@click.option("--to", "to_s", type=float, help="There before this second.")
@click.option("--state", "states", type=STATES, multiple=True, help="In this state; may be repeated.")
@json_option
@click.pass_obj
def list_tracks(
    endpoint: Endpoint,
    video_id: UUID,
    from_s: float | None,
    to_s: float | None,
    states: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
    """List a video's tracks: argus tracks list VIDEO"""
    within = [State(state) for state in states] or None
    with endpoint.client() as argus:
        found = argus.tracks.list(video_id, from_us=us(from_s), to_us=us(to_s), states=within)
        show(found, TRACK_COLUMNS, as_json=as_json)


@tracks.command("show")
@click.argument("track_id", type=click.UUID)
@json_option
@click.pass_obj
def show_track(endpoint: Endpoint, track_id: UUID, *, as_json: bool) -> None:
    """Show a track: argus tracks show TRACK"""
    with endpoint.client() as argus:
        show_one(argus.tracks.get(track_id), as_json=as_json)


@tracks.command("update")
@click.argument("track_id", type=click.UUID)
@click.argument("change", type=json_object)
@json_option
@click.pass_obj
def update_track(endpoint: Endpoint, track_id: UUID, change: dict[str, Any], *, as_json: bool) -> None:
    """Relabel, accept or reject a track: argus tracks update TRACK '{"state": "rejected", "reason": "a shadow"}'"""
    update = TrackUpdate.model_validate(change)
    with endpoint.client() as argus:
        show_one(argus.tracks.update(argus.tracks.get(track_id), update), as_json=as_json)


@tracks.command("split")
@click.argument("track_id", type=click.UUID)
@_at
@json_option
@click.pass_obj
def split_track(endpoint: Endpoint, track_id: UUID, at_s: float, *, as_json: bool) -> None:
    """Make two tracks of one, and print the new one: argus tracks split TRACK --at 1"""
    with endpoint.client() as argus:
        show_one(argus.tracks.split(track_id, round(at_s * 1e6)).other, as_json=as_json)


@tracks.command("merge")
@click.argument("track_id", type=click.UUID)
@click.argument("other_id", type=click.UUID)
@json_option
@click.pass_obj
def merge_tracks(endpoint: Endpoint, track_id: UUID, other_id: UUID, *, as_json: bool) -> None:
    """Give a track the keyframes of another, which is deleted: argus tracks merge TRACK OTHER_TRACK"""
    with endpoint.client() as argus:
        show_one(argus.tracks.merge(track_id, other_id), as_json=as_json)


@tracks.command("end")
@click.argument("track_id", type=click.UUID)
@_at
@json_option
@click.pass_obj
def end_track(endpoint: Endpoint, track_id: UUID, at_s: float, *, as_json: bool) -> None:
    """Delete a track from a time on: argus tracks end TRACK --at 1"""
    with endpoint.client() as argus:
        show_one(argus.tracks.end(track_id, round(at_s * 1e6)), as_json=as_json)


@tracks.command("retrack")
@click.argument("track_id", type=click.UUID)
@_at
@json_option
@click.pass_obj
def retrack(endpoint: Endpoint, track_id: UUID, at_s: float, *, as_json: bool) -> None:
    """Follow it again from a corrected keyframe, both ways; prints the job: argus tracks retrack TRACK --at 0"""
    with endpoint.client() as argus:
        job = argus.tracks.retrack(track_id, round(at_s * 1e6))
    show_one(job, as_json=True) if as_json else click.echo(job.id)


@tracks.command("links")
@click.argument("track_id", type=click.UUID)
@json_option
@click.pass_obj
def list_links(endpoint: Endpoint, track_id: UUID, *, as_json: bool) -> None:
    """List where a job has joined pieces of a track, and why: argus tracks links TRACK"""
    with endpoint.client() as argus:
        show(argus.tracks.links(track_id), LINK_COLUMNS, as_json=as_json)


@tracks.command("cut")
@click.argument("link_id", type=click.UUID)
@click.option("--undo", is_flag=True, help="Join the pieces again.")
@json_option
@click.pass_obj
def cut_link(endpoint: Endpoint, link_id: UUID, *, undo: bool, as_json: bool) -> None:
    """Say that the pieces on both sides of a link are two objects: argus tracks cut LINK"""
    with endpoint.client() as argus:
        show_one(argus.tracks.join(link_id) if undo else argus.tracks.cut(link_id), as_json=as_json)


@tracks.command("delete")
@click.argument("track_id", type=click.UUID)
@click.pass_obj
def delete_track(endpoint: Endpoint, track_id: UUID) -> None:
    """Delete a track with its keyframes; `restore` brings it back: argus tracks delete TRACK"""
    with endpoint.client() as argus:
        argus.tracks.delete(argus.tracks.get(track_id))
    click.echo(track_id)


@tracks.command("history")
@click.argument("track_id", type=click.UUID)
@json_option
@click.pass_obj
def track_history(endpoint: Endpoint, track_id: UUID, *, as_json: bool) -> None:
    """List what it was before, and who changed it: argus tracks history TRACK"""
    with endpoint.client() as argus:
        show(argus.tracks.history(track_id), HISTORY_COLUMNS, as_json=as_json)


@tracks.command("restore")
@click.argument("track_id", type=click.UUID)
@click.argument("version", type=click.IntRange(1))
@json_option
@click.pass_obj
def restore_track(endpoint: Endpoint, track_id: UUID, version: int, *, as_json: bool) -> None:
    """Make it what it was at an earlier version: argus tracks restore TRACK 1"""
    with endpoint.client() as argus:
        show_one(argus.tracks.restore(track_id, version), as_json=as_json)
