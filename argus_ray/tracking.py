"""Tracks as people edit them: made, relabelled, judged, cut, joined, ended, deleted and brought back with their keyframes.

Whoever changes the keyframes of a track holds its row first, so that two people who do come one after the other. Where a
track is cut at a time at which it has no keyframe, it gets the shape that was interpolated there, on both sides, so that
nothing that was seen looks different: the piece before ends `outside`, the one after begins.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from argus_ray.annotating import (
    check_times,
    get_canvas,
    labels_in_use,
    measured,
    placed,
    reviewed,
    shape_between,
)
from argus_ray.annotations import attributes
from argus_ray.catalog import annotations as annotation_rows
from argus_ray.catalog import history, tracks
from argus_ray.catalog.annotations import Row
from argus_ray.catalog.statement import AsyncTx
from argus_ray.errors import Conflict, InvalidRequest, NotFound
from argus_ray.schemas.annotation import (
    Pieces,
    Source,
    State,
    Track,
    TrackCreate,
    TrackLink,
    TrackUpdate,
)
from argus_ray.schemas.video import Video


async def create(tx: AsyncTx, video: Video, new: TrackCreate) -> Track:
    """A track with its first keyframes. Raises InvalidRequest, and Conflict while the video's size is not known."""
    canvas = await get_canvas(tx, video.project_id, video.id)
    label = (await labels_in_use(tx, video.project_id, [new.label_id]))[new.label_id]
    fixed = attributes.check(new.attributes, label.attributes, "track")
    check_times([(video.id, one.pts_us) for one in new.keyframes])
    rows = await asyncio.to_thread(lambda: [placed(one, canvas, label, "keyframe") for one in new.keyframes])
    track = await tx.one(tracks.insert(video.project_id, video.id, new.label_id, fixed))
    of_track = {"video_id": str(video.id), "label_id": str(new.label_id), "track_id": str(track.id)}
    await tx.run(annotation_rows.insert(video.project_id, [row | of_track for row in rows]))
    return await tx.one(tracks.get(track.id))


async def changes(tx: AsyncTx, now: Track, change: TrackUpdate) -> dict[str, Any]:
    """The columns that a change of a track writes. Raises InvalidRequest."""
    row: dict[str, Any] = {}
    label_id = change.label_id or now.label_id
    if change.attributes is not None or label_id != now.label_id:
        label = (await labels_in_use(tx, now.project_id, [label_id], also_archived=now.label_id))[label_id]
        given = now.attributes if change.attributes is None else change.attributes
        row["attributes"] = attributes.check(given, label.attributes, "track")
    if label_id != now.label_id:
        row |= {"label_id": str(label_id), "source": Source.HUMAN, "state": State.ACCEPTED, "reason": None}
    return row | reviewed(change.state, change.reason, now.state)


async def follow(tx: AsyncTx, before: Track, after: Track) -> Track:
    """After a change: what the track has become, its keyframes become too."""
    if (after.state, after.reason) != (before.state, before.reason):
        await tx.run(tracks.review_keyframes(after, before.state))
    return after


async def check_restorable(tx: AsyncTx, track_id: UUID, version: int) -> None:
    """Raises NotFound where the caller sees no such version of it."""
    await tx.one(tracks.get_even_deleted(track_id))
    if await tx.maybe(history.entry(track_id, version)) is None:
        raise NotFound(f"the track has no earlier version {version}: see its history")


async def split(tx: AsyncTx, track: Track, at_us: int) -> Pieces:
    """Make what is at this time and after it a track of its own. Raises InvalidRequest where one side would be empty."""
    if not track.start_us < at_us <= track.end_us:
        raise InvalidRequest(
            f"/at_us: the track goes from {track.start_us} to {track.end_us}: split it after its beginning, and not after "
            "its end"
        )
    return await _split(tx, track, at_us, await _edge(tx, track, at_us))


async def _split(tx: AsyncTx, track: Track, at_us: int, edge: _Edge | None) -> Pieces:
    other = await tx.one(
        tracks.insert(track.project_id, track.video_id, track.label_id, dict(track.attributes), state=track.state)
    )
    await tx.run(tracks.move_keyframes(track.project_id, track.id, other, from_us=at_us))
    await tx.run(tracks.split_links(track, other.id, at_us))
    if edge is not None:
        rows = [_keyframe(track, edge, outside=True)]
        if not edge.is_keyframe:
            rows.append(_keyframe(other, edge, outside=False))
        await tx.run(annotation_rows.insert(track.project_id, rows))
    return Pieces(track=await tx.one(tracks.get(track.id)), other=await tx.one(tracks.get(other.id)))


@dataclass(frozen=True)
class _Edge:
    """What is seen of a track right before a time at which it is cut: the columns of its shape there."""

    pts_us: int
    shape: Row
    occluded: bool
    is_keyframe: bool
    """A keyframe stands at that time."""


async def _edge(tx: AsyncTx, track: Track, at_us: int) -> _Edge | None:
    """None where nothing is seen before that time."""
    around = await tx.all(
        annotation_rows.keyframes(track.project_id, track.video_id, at_us - 1, at_us, track_ids=[track.id])
    )
    if len(around) < 2 or around[0].outside or around[0].pts_us >= at_us:
        return None
    before, after = around
    canvas = await get_canvas(tx, track.project_id, track.video_id)
    shape = await asyncio.to_thread(lambda: measured(shape_between(before, after, at_us), canvas))
    return _Edge(at_us, shape, before.occluded, after.pts_us == at_us)


def _keyframe(track: Track, edge: _Edge, *, outside: bool) -> Row:
    return edge.shape | {
        "video_id": str(track.video_id),
        "label_id": str(track.label_id),
        "track_id": str(track.id),
        "pts_us": edge.pts_us,
        "outside": outside,
        "occluded": edge.occluded,
        "source": Source.HUMAN,
        "state": track.state,
    }


async def merge(tx: AsyncTx, track: Track, other_id: UUID) -> Track:
    """Take another track's keyframes, and delete it; the one that has both.

    Where both have a keyframe at one time and one of the two says `outside`, that one gives way. Raises InvalidRequest
    where they are one or of two videos, and Conflict where both are to be seen at one time.
    """
    if track.id == other_id:
        raise InvalidRequest("/track_id: a track cannot be merged into itself: name another one")
    other = await tx.maybe(tracks.delete(other_id, None))
    if other is None or other.video_id != track.video_id:
        raise InvalidRequest(f"/track_id: the video has no track {other_id}")
    seen: dict[int, tracks.KeyframeTime] = {}
    giving_way: list[UUID] = []
    for one in await tx.all(tracks.keyframe_times(track.project_id, [track.id, other_id])):
        there = seen.setdefault(one.pts_us, one)
        if there is one:
            continue
        if not (there.outside or one.outside):
            raise Conflict(
                f"both tracks have a keyframe at {one.pts_us} us: delete one of them, then merge", pts_us=one.pts_us
            )
        giving_way.append(there.id if there.outside else one.id)
        seen[one.pts_us] = one if there.outside else there
    if giving_way:
        await tx.run(annotation_rows.delete_all(track.project_id, giving_way))
    await tx.run(tracks.move_keyframes(track.project_id, other_id, track))
    await tx.run(tracks.merge_links(track.project_id, other_id, track.id))
    return await tx.one(tracks.get(track.id))


async def end(tx: AsyncTx, track: Track, at_us: int) -> Track:
    """Delete it from this time on. Raises InvalidRequest where nothing would be left of it."""
    if at_us <= track.start_us:
        raise InvalidRequest(f"/at_us: the track begins at {track.start_us}: delete it, instead of all that it has")
    edge = await _edge(tx, track, at_us)
    await tx.run(tracks.delete_keyframes(track.project_id, track.id, from_us=at_us))
    if edge is not None:
        await tx.run(annotation_rows.insert(track.project_id, [_keyframe(track, edge, outside=True)]))
    return await tx.one(tracks.get(track.id))


async def cut(tx: AsyncTx, link_id: UUID) -> TrackLink:
    """Make what comes after a border a track of its own. Again is the same as once."""
    link = await tx.one(tracks.lock_link(link_id))
    if link.state == "cut":
        return link
    track = await tx.one(tracks.take(link.track_id, None))
    if not track.start_us <= link.border_us < track.end_us:
        raise Conflict(
            f"the track goes from {track.start_us} to {track.end_us} by now, and the border is at {link.border_us}: there is "
            "nothing to cut"
        )
    # what is at the border is of the piece before it; two objects have no shape between them
    pieces = await _split(tx, track, link.border_us + 1, None)
    return await tx.one(tracks.cut_link(link_id, pieces.other.id))


async def join(tx: AsyncTx, link_id: UUID) -> TrackLink:
    """Make one track again of what was cut. Again is the same as once. Raises Conflict where a piece was deleted."""
    link = await tx.one(tracks.lock_link(link_id))
    if link.state == "joined" or link.other_track_id is None:
        return link
    track = await tx.maybe(tracks.take(link.track_id, None))
    if track is None or await tx.maybe(tracks.get(link.other_track_id)) is None:
        raise Conflict("one of the two tracks was deleted: restore it, then join them")
    await merge(tx, track, link.other_track_id)
    return await tx.one(tracks.get_link(link_id))
