"""A window of a video's annotations, page by page: what is stored in it, and what lies between two keyframes of a track.

Both are ordered as one, by time and then by id; what is interpolated has no id of its own, and stands where its track's
would. So a page is cut anywhere, and no page reads more than it shows, and for each track one keyframe before and one after.

The items are JSON texts from Postgres to the client: parsing and printing ten thousand of them would take longer than all
the rest. An interpolated one is the text of the keyframe that holds at its time, with its own time and shape.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from argus_ray.annotating import moving
from argus_ray.annotations import polygons
from argus_ray.annotations import tracks as geometry
from argus_ray.catalog import annotations as annotation_rows
from argus_ray.catalog import frames, tracks
from argus_ray.catalog.annotations import KeyframeRow, Shown
from argus_ray.catalog.statement import AsyncTx
from argus_ray.schemas.annotation import Kind, State

Place = tuple[int, UUID]
"""(pts_us, id of the annotation, or of the track of an interpolated one)"""


@dataclass(frozen=True)
class Ask:
    """From `from_us` to before `to_us`; null is the video's end on that side."""

    project_id: UUID
    video_id: UUID
    from_us: int | None = None
    to_us: int | None = None
    label_ids: Sequence[UUID] | None = None
    states: Sequence[State] | None = None
    track_ids: Sequence[UUID] | None = None


@dataclass(frozen=True)
class Part:
    """Items and tracks as JSON texts, and where the next page begins."""

    items: list[str]
    tracks: list[str]
    next_place: Place | None


async def read(tx: AsyncTx, ask: Ask, after: Place | None, limit: int) -> Part:
    """What is stored in a window."""
    found = await _stored(tx, ask, after, limit)
    return await _part(tx, ask, found, limit)


async def read_interpolated(
    tx: AsyncTx, ask: Ask, after: Place | None, limit: int, *, times_us: Sequence[int] | None = None
) -> Part:
    """The same, with every track at the times of the video's frames, or at these times."""
    stored = await _stored(tx, ask, after, limit)
    low = max(bound for bound in (ask.from_us, after and after[0], -(2**62)) if bound is not None)
    # beyond a full page nothing is shown, and nothing needs to be looked at
    high = stored[limit].pts_us if len(stored) > limit else (2**62 if ask.to_us is None else ask.to_us - 1)
    if times_us is None:
        times_us = await tx.all(frames.times(ask.project_id, ask.video_id, low, high))
    keyframes: dict[UUID, list[KeyframeRow]] = defaultdict(list)
    for row in await tx.all(
        annotation_rows.keyframes(
            ask.project_id,
            ask.video_id,
            low,
            high,
            label_ids=ask.label_ids,
            states=ask.states,
            track_ids=ask.track_ids,
        )
    ):
        keyframes[row.track_id].append(row)
    between = await asyncio.to_thread(_between, keyframes, times_us, after, limit)
    merged = sorted([*stored, *between], key=_place)
    return await _part(tx, ask, merged, limit)


async def _stored(tx: AsyncTx, ask: Ask, after: Place | None, limit: int) -> list[Shown]:
    found = await tx.all(
        annotation_rows.window(
            ask.project_id,
            ask.video_id,
            from_us=ask.from_us,
            to_us=ask.to_us,
            label_ids=ask.label_ids,
            states=ask.states,
            track_ids=ask.track_ids,
            after=after,
            rows=limit + 1,
        )
    )
    return sorted(found, key=_place)


def _place(one: Shown) -> Place:
    return one.pts_us, one.id


async def _part(tx: AsyncTx, ask: Ask, found: list[Shown], limit: int) -> Part:
    shown = found[:limit]
    of_tracks = sorted({one.track_id for one in shown if one.track_id})
    return Part(
        items=[one.item for one in shown],
        tracks=await tx.all(tracks.shown(ask.project_id, of_tracks)) if of_tracks else [],
        next_place=_place(shown[-1]) if len(found) > limit else None,
    )


def _between(
    keyframes: Mapping[UUID, Sequence[KeyframeRow]], times_us: Sequence[int], after: Place | None, limit: int
) -> list[Shown]:
    """What lies between keyframes at these times, after a place: one more than the limit, or all."""
    followed = {track: [moving(row) for row in rows] for track, rows in keyframes.items()}
    rows_at = {(row.track_id, row.pts_us): row for rows in keyframes.values() for row in rows}
    texts: dict[tuple[UUID, int], str] = {}
    between: list[Shown] = []
    at_once = max(8, limit // max(1, len(keyframes)))
    for first in range(0, len(times_us), at_once):
        times = times_us[first : first + at_once]
        for track, rows in followed.items():
            if rows[0].pts_us >= times[-1] or rows[-1].pts_us <= times[0]:
                continue
            for seen in geometry.over(rows, times):
                if not seen.interpolated or (after is not None and (seen.pts_us, track) <= after):
                    continue
                holding = track, seen.keyframe.pts_us
                if holding not in texts:
                    texts[holding] = _held(rows_at[holding])
                between.append(Shown(seen.pts_us, track, track, texts[holding].replace(_HERE, _moved(seen), 1)))
        if len(between) > limit:
            break
    return between


_HERE = '"here":0'
_OWN = (
    "pts_us", "score", "presence", "area_px", "reviewed_by", "reviewed_at", "created_at", "updated_at"
)  # fmt: skip
_MOVES = {Kind.BOX, Kind.POLYGON}


def _held(keyframe: KeyframeRow) -> str:
    """A keyframe's text as that of what follows it, with a place for its time and a shape that moves."""
    held: dict[str, Any] = json.loads(keyframe.item) | {"id": None, "interpolated": True}
    held |= dict.fromkeys(name for name in _OWN if name != "pts_us")
    for name in ("pts_us", *(("box", "polygon") if keyframe.kind in _MOVES else ())):
        del held[name]
    return json.dumps({"here": 0, **held}, separators=(",", ":"))


def _moved(seen: geometry.Seen) -> str:
    """The time, and the shape of a box or polygon at it."""
    if seen.keyframe.kind is Kind.BOX:
        x, y, w, h = cast("geometry.Box", seen.shape)
        return f'"pts_us":{seen.pts_us},"box":{{"x":{x},"y":{y},"w":{w},"h":{h}}},"polygon":null'
    if seen.keyframe.kind is Kind.POLYGON:
        polygon = cast("polygons.Polygon", seen.shape)
        x, y, w, h = polygons.bbox(polygon)
        ring = json.dumps(polygon, separators=(",", ":"))
        return f'"pts_us":{seen.pts_us},"box":{{"x":{x},"y":{y},"w":{w},"h":{h}}},"polygon":{ring}'
    return f'"pts_us":{seen.pts_us}'
