"""From what Postgres has, in order of video and time, to the rows of a manifest: one pass, however long a video is.

Three streams are read side by side: pictures, annotations and verdicts. What lasts (a keyframe as far as the next one, a
tag as far as its end) stays in hand until its end, and nothing else does.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from uuid import UUID

from argus_ray.annotations import polygons, tracks
from argus_ray.annotations.tracks import Keyframe
from argus_ray.s3 import frame_key
from argus_ray.schemas.annotation import Kind

Row = dict[str, Any]


class Sweep:
    """Iterate over its rows; then `unpictured` counts annotations at times of which no picture is kept, and `content`
    says for each video how many frames of each label it has, and under "" how many at all.
    """

    def __init__(
        self,
        project_id: UUID,
        videos: Mapping[UUID, Row],
        frames: Iterable[Row],
        annotations: Iterable[Row],
        verdicts: Iterable[Row],
        *,
        interpolate: bool,
        keyframe: Callable[[Row], None],
    ) -> None:
        """`keyframe` is called with each row of TRACKS, by video and time."""
        self._project_id, self._videos, self._interpolate, self._keyframe = project_id, videos, interpolate, keyframe
        self._frames, self._annotations, self._verdicts = frames, _Ahead(annotations), _Ahead(verdicts)
        self._lasting = Lasting()
        self.unpictured = 0
        self.content: dict[str, Counter[str]] = {}

    def __iter__(self) -> Iterator[Row]:
        video_id = None
        for frame in self._frames:
            if frame["video_id"] != video_id:
                video_id, self._lasting = frame["video_id"], Lasting()
            found = self._instances(frame["video_id"], frame["pts_us"])
            words = self._words(frame["video_id"], frame["pts_us"])
            if found or any(words.values()):
                content = self.content.setdefault(str(video_id), Counter())
                content.update({one["label"] for one in found} | {""})
                yield self._row(frame, found, words)
        for left in self._annotations.until(None):
            self._arrive(left)
            self._miss(left)

    def _instances(self, video_id: UUID, pts_us: int) -> list[Row]:
        found = []
        for row in self._annotations.until((video_id, pts_us)):
            self._arrive(row)
            if row["video_id"] == video_id and row["pts_us"] == pts_us:
                if not row["outside"]:
                    found.append(_annotation(row))
            else:
                self._miss(row)
            if row["video_id"] == video_id:
                self._lasting.add(_annotation(row) | _beyond(row))
        found += [one for one in self._lasting.at(pts_us) if self._interpolate or one["kind"] == Kind.TAG]
        return sorted(found, key=lambda one: (one["track"] is None, one["track"], one["id"] or ""))

    def _arrive(self, row: Row) -> None:
        if row["track"] is not None:
            video = self._videos[row["video_id"]]
            about = {
                "video_id": str(row["video_id"]),
                "video": video["name"],
                "video_width": video["width"],
                "video_height": video["height"],
            }
            self._keyframe(about | _annotation(row) | _beyond(row))

    def _miss(self, row: Row) -> None:
        if row["track"] is None and row["end_us"] is None:
            self.unpictured += 1

    def _words(self, video_id: UUID, pts_us: int) -> dict[str, list[str]]:
        words: dict[str, list[str]] = {"exhaustive_present": [], "exhaustive_absent": [], "partial": []}
        for row in self._verdicts.until((video_id, pts_us)):
            if (row["video_id"], row["pts_us"]) == (video_id, pts_us):
                words[row["verdict"]].append(str(row["label_id"]))
        return words

    def _row(self, frame: Row, found: list[Row], words: dict[str, list[str]]) -> Row:
        video = self._videos[frame["video_id"]]
        return {
            "frame_id": str(frame["id"]),
            "video_id": str(frame["video_id"]),
            "video": video["name"],
            "pts_us": frame["pts_us"],
            "object_key": frame_key(self._project_id, frame["video_id"], frame["pts_us"]),
            "width": frame["width"],
            "height": frame["height"],
            "video_width": video["width"],
            "video_height": video["height"],
            "annotations": found,
            **words,
            "weight": 1.0,
        }


class Lasting:
    """What is to be seen between the times at which it is written: tracks between keyframes, tags until their end.

    Rows of one video are added in order of time: annotations of a manifest, with what `_beyond` adds to them.
    """

    def __init__(self) -> None:
        self._open: dict[tuple[str, Any], Row] = {}

    def add(self, row: Row) -> None:
        if row["track"] is not None:
            self._open["track", row["track"]] = row
        elif row["end_us"] is not None:
            self._open["tag", row["id"]] = row

    def at(self, pts_us: int) -> list[Row]:
        """What began before that time and goes on at it, as annotations of a manifest; times go up from call to call."""
        found = []
        for key, row in list(self._open.items()):
            end_us = row["next_pts_us"] if row["track"] is not None else row["end_us"]
            if end_us is None or end_us <= pts_us:
                if end_us is not None or row["pts_us"] < pts_us:
                    del self._open[key]
            elif row["pts_us"] < pts_us and not row["outside"]:
                found.append(_between(row, pts_us))
        return found


def _annotation(row: Row) -> Row:
    """A row of Postgres as an annotation of a manifest."""
    return {
        "id": str(row["id"]),
        "label": str(row["label_id"]),
        "track": row["track"],
        "kind": row["kind"],
        "box": None if row["x"] is None else [row["x"], row["y"], row["w"], row["h"]],
        "polygon": row["polygon"],
        "points": row["points"],
        "rle": row["counts"],
        "area": row["area_px"],
        "keyframe": True,
        "occluded": row["occluded"],
        "attributes": json.dumps(row["attributes"], sort_keys=True),
        "score": row["score"],
        "state": row["state"],
        "source": row["source"],
        "model": row["model"],
        "reviewed_by": row["reviewed_by"],
    }


def _beyond(row: Row) -> Row:
    """How long it lasts, and what it turns into until then."""
    next_box = [row["next_x"], row["next_y"], row["next_w"], row["next_h"]]
    return {
        "pts_us": row["pts_us"],
        "end_us": row["end_us"],
        "outside": row["outside"],
        "next_pts_us": row["next_pts_us"],
        "next_kind": row["next_kind"],
        "next_box": None if row["next_x"] is None else next_box,
        "next_polygon": row["next_polygon"],
    }


def _between(row: Row, pts_us: int) -> Row:
    """The annotation as it is at a time after its own."""
    one = {name: value for name, value in row.items() if name not in _BEYOND} | {"id": None, "keyframe": False}
    kind = Kind(row["kind"])
    if kind in {Kind.BOX, Kind.POLYGON} and row["next_kind"] == kind:
        name = str(kind)
        before = Keyframe(row["pts_us"], kind, row[name])
        after = Keyframe(row["next_pts_us"], kind, row[f"next_{name}"])
        (shape,) = tracks.between(before, after, [pts_us])
        one[name] = list(shape) if kind is Kind.BOX else shape  # type: ignore[arg-type]  # a box is four numbers
        if kind is Kind.POLYGON and isinstance(shape, list):
            one["box"] = list(polygons.bbox(shape))
    return one


_BEYOND = {"pts_us", "end_us", "outside", "next_pts_us", "next_kind", "next_box", "next_polygon"}


class _Ahead:
    """A stream of rows that is read as far as a place, and no further."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = iter(rows)
        self._next: Row | None = next(self._rows, None)

    def until(self, place: tuple[UUID, int] | None) -> Iterator[Row]:
        """What comes next, the place itself included; None: all that is left."""
        while self._next is not None and (place is None or (self._next["video_id"], self._next["pts_us"]) <= place):
            row, self._next = self._next, next(self._rows, None)
            yield row
