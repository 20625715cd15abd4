"""Pictures of what is annotated: a sheet of frames as the server draws them, and a stretch of a video with its tracks."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any
from uuid import UUID

from argus_ray.annotations import tracks as geometry
from argus_ray.annotations.contact_sheet import Cell, lines, sheet
from argus_ray.annotations.overlay import Drawn, draw, png, track_colour
from argus_ray.client import Client
from argus_ray.errors import InvalidRequest
from argus_ray.rle import Rle
from argus_ray.schemas.annotation import Annotation, Kind, State, Track
from argus_ray.schemas.frame import Frame
from argus_ray.schemas.label import Label
from argus_ray.schemas.video import Video
from argus_ray.video.clip import UInt8, render
from argus_ray.video.source import open_source

COLUMNS, CELL = 4, (400, 300)
SHOWN = (State.PROPOSED, State.ACCEPTED)
TRACKS_AT_ONCE = 100

Chosen = tuple[Frame, str]
"""A frame, and what stands under it."""


@dataclass(frozen=True)
class Wanted:
    """What is drawn: of these states and labels, in a stretch of a video from `from_us` to before `to_us`."""

    states: Sequence[State] = SHOWN
    label_ids: Sequence[UUID] | None = None
    from_us: int | None = None
    to_us: int | None = None


ALL = Wanted()


def frame_picture(
    argus: Client, frame: Frame, wanted: Wanted = ALL, *, width: int | None = None, job_id: UUID | None = None
) -> bytes:
    """A PNG of a frame with what is annotated on it."""
    return argus.frames.overlay(frame.id, states=wanted.states, label_ids=wanted.label_ids, width=width, job_id=job_id)


def frames_sheet(
    argus: Client, chosen: Iterable[Chosen], wanted: Wanted = ALL, *, title: str = "", job_id: UUID | None = None
) -> bytes:
    """A PNG of frames with what is annotated on each, and a line of text under it."""
    cells = [
        Cell(frame_picture(argus, frame, wanted, width=_fitting(frame), job_id=job_id), text) for frame, text in chosen
    ]
    return png(sheet(lines(cells, min(COLUMNS, max(1, len(cells))), title), CELL))


def _fitting(frame: Frame) -> int:
    """The width at which a frame fits into a cell, so that its lines and letters are drawn for that size."""
    wide, high = CELL
    return max(16, min(wide, high * frame.width // frame.height))


def annotated_frames(
    argus: Client, video: Video, most: int, wanted: Wanted = ALL, job_id: UUID | None = None
) -> list[Chosen]:
    """Those of a video on which something is annotated, evenly over its time where there are more than that."""
    counts = Counter(
        one.pts_us
        for one in argus.annotations.list(
            video.id,
            from_us=wanted.from_us,
            to_us=wanted.to_us,
            label_ids=wanted.label_ids,
            states=wanted.states,
            interpolate=True,
        )
        if job_id in {None, one.job_id}
    )
    found = [
        (frame, f"{video.name}  {frame.pts_us / 1e6:.2f} s · {counts[frame.pts_us]}")
        for frame in argus.videos.frames(video.id, from_us=wanted.from_us, to_us=wanted.to_us)
        if counts[frame.pts_us]
    ]
    return spread(found, most)


def spread(chosen: Sequence[Chosen], most: int) -> list[Chosen]:
    """At most so many of them, evenly."""
    if len(chosen) <= most:
        return [*chosen]
    return [chosen[place * len(chosen) // most] for place in range(most)]


def in_turn(groups: Iterable[Sequence[Chosen]], most: int) -> list[Chosen]:
    """At most so many, one of each group after the other."""
    turns = zip_longest(*groups)
    return [one for turn in turns for one in turn if one is not None][:most]


def tracked_clip(argus: Client, video: Video, out: Path, wanted: Wanted = ALL) -> int:
    """Write a stretch of a video with its tracks drawn on every picture, as an MP4; how many pictures.

    Raises InvalidRequest where nothing is tracked in that time.
    """
    found = {
        track.id: track
        for track in argus.tracks.list(
            video.id, from_us=wanted.from_us, to_us=wanted.to_us, label_ids=wanted.label_ids, states=wanted.states
        )
    }
    if not found:
        raise InvalidRequest(
            f"nothing is tracked in {video.name} in that time: follow a label through it first, as in "
            f"`argus track LABEL --video {video.id}`"
        )
    labels = {label.id: label for label in argus.labels.list(video.project_id, archived=True)}
    paths = _paths(_of_tracks(argus, video, [*found]), found)

    def paint(pts_us: int, picture: UInt8) -> UInt8:
        items = [item for path in paths.values() if (item := path.at(pts_us, labels))]
        return draw(picture, items)

    media = argus.videos.media(video.id)
    with open_source(str(media.url), size_bytes=video.size_bytes, share=1.0) as source:
        clip = render(source, out, paint, filename=video.name, from_us=wanted.from_us, to_us=wanted.to_us)
    return clip.pictures


def _of_tracks(argus: Client, video: Video, track_ids: Sequence[UUID]) -> Iterator[Annotation]:
    """Their keyframes; so many tracks at a time as an address has room for."""
    for first in range(0, len(track_ids), TRACKS_AT_ONCE):
        yield from argus.annotations.list(video.id, track_ids=track_ids[first : first + TRACKS_AT_ONCE])


@dataclass(frozen=True)
class _Path:
    """A track and its keyframes in order of time."""

    track: Track
    keyframes: Sequence[geometry.Keyframe]
    times_us: Sequence[int]
    scores: Mapping[int, float | None]

    def at(self, pts_us: int, labels: Mapping[UUID, Label]) -> Drawn | None:
        """It as it is drawn at a time; None where it is not to be seen."""
        place = bisect_right(self.times_us, pts_us) - 1
        seen = geometry.at(self.keyframes[place : place + 2], pts_us) if place >= 0 else None
        if seen is None:
            return None
        kind, shape = seen.keyframe.kind, seen.shape
        fields: dict[str, Any] = {} if kind is Kind.TAG else {kind.value: shape}
        return Drawn(
            label=labels[self.track.label_id].name,
            colour=track_colour(self.track.number),
            score=self.scores[seen.keyframe.pts_us],
            number=self.track.number,
            state=self.track.state,
            occluded=seen.keyframe.occluded,
            **fields,
        )


def _paths(annotations: Iterable[Annotation], tracks: Mapping[UUID, Track]) -> dict[UUID, _Path]:
    rows: dict[UUID, list[Annotation]] = defaultdict(list)
    for one in annotations:
        if one.track_id in tracks and one.state is not State.REJECTED:
            assert one.track_id is not None
            rows[one.track_id].append(one)
    paths = {}
    for track_id, of_track in rows.items():
        keyframes = geometry.ordered(_keyframe(one) for one in of_track)
        paths[track_id] = _Path(
            tracks[track_id],
            keyframes,
            [keyframe.pts_us for keyframe in keyframes],
            {one.pts_us: one.score for one in of_track},
        )
    return paths


def _keyframe(one: Annotation) -> geometry.Keyframe:
    shape: geometry.Shape = None
    match one.kind:
        case Kind.BOX if one.box is not None:
            shape = (one.box.x, one.box.y, one.box.w, one.box.h)
        case Kind.MASK if one.mask is not None:
            shape = Rle(one.mask.size, one.mask.counts)
        case Kind.POLYGON:
            shape = one.polygon
        case Kind.POINTS:
            shape = one.points
    return geometry.Keyframe(one.pts_us, one.kind, shape, one.outside, one.occluded)
