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

from argus_ray.s3 import frame_key

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
        self._open: dict[tuple[str, Any], Row] = {}
        self.unpictured = 0
        self.content: dict[str, Counter[str]] = {}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        video_id = None
        for frame in self._frames:
            if frame["video_id"] != video_id:
                video_id = frame["video_id"]
                self._open = {}
            found = self._instances(frame["video_id"], frame["pts_us"])
            words = self._words(frame["video_id"], frame["pts_us"])
            if found or any(words.values()):
                content = self.content.setdefault(str(video_id), Counter())
                content.update({one["label"] for one in found} | {""})
                yield self._row(frame, found, words)
        for left in self._annotations.until(None):
            self._arrive(left)
            self._miss(left)

    def _instances(self, video_id: UUID, pts_us: int) -> list[dict[str, Any]]:
        found = []
        for row in self._annotations.until((video_id, pts_us)):
            at_hand = row["video_id"] == video_id
            self._arrive(row)
            if at_hand and row["pts_us"] == pts_us:
                if not row["outside"]:
                    found.append(annotation(row))
            else:
                self._miss(row)
            if at_hand and (row["track"] is not None or row["end_us"] is not None):
                self._open["track" if row["track"] is not None else "tag", row["track"] or row["id"]] = row
        for key, row in list(self._open.items()):
            end_us = row["end_us"] if row["end_us"] is not None else row["next_pts_us"]
            if end_us is None or end_us <= pts_us:
                del self._open[key]
            elif row["pts_us"] < pts_us and not row["outside"] and (self._interpolate or row["kind"] == "tag"):
                found.append(annotation(row, at_us=pts_us))
        return sorted(found, key=lambda one: (one["track"] is None, one["track"], one["id"] or ""))

    def _arrive(self, row: Row) -> None:
        if row["track"] is not None:
            video = self._videos[row["video_id"]]
            self._keyframe(
                {
                    "video_id": str(row["video_id"]),
                    "video": video["name"],
                    "video_width": video["width"],
                    "video_height": video["height"],
                    "pts_us": row["pts_us"],
                    "outside": row["outside"],
                    **annotation(row),
                }
            )

    def _miss(self, row: Row) -> None:
        if row["track"] is None and row["end_us"] is None:
            self.unpictured += 1

    def _words(self, video_id: UUID, pts_us: int) -> dict[str, list[str]]:
        words: dict[str, list[str]] = {"exhaustive_present": [], "exhaustive_absent": [], "partial": []}
        for row in self._verdicts.until((video_id, pts_us)):
            if (row["video_id"], row["pts_us"]) == (video_id, pts_us):
                words[row["verdict"]].append(str(row["label_id"]))
        return words

    def _row(self, frame: Row, found: list[dict[str, Any]], words: dict[str, list[str]]) -> dict[str, Any]:
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


def annotation(row: Row, *, at_us: int | None = None) -> dict[str, Any]:
    """An annotation as a manifest has it: as it is stored, or as it is between two keyframes."""
    x, y, w, h, polygon = row["x"], row["y"], row["w"], row["h"], row["polygon"]
    if at_us is not None and row["next_kind"] == row["kind"] and row["next_pts_us"] is not None:
        share = (at_us - row["pts_us"]) / (row["next_pts_us"] - row["pts_us"])
        if row["kind"] == "box":
            after = (row["next_x"], row["next_y"], row["next_w"], row["next_h"])
            x, y, w, h = (a + (b - a) * share for a, b in zip((x, y, w, h), after, strict=True))
    return {
        "id": str(row["id"]) if at_us is None else None,
        "label": str(row["label_id"]),
        "track": row["track"],
        "kind": row["kind"],
        "box": None if x is None else [x, y, w, h],
        "polygon": polygon,
        "points": row["points"],
        "rle": row["counts"],
        "area": row["area_px"],
        "keyframe": at_us is None,
        "occluded": row["occluded"],
        "attributes": json.dumps(row["attributes"], sort_keys=True),
        "score": row["score"],
        "state": row["state"],
        "source": row["source"],
        "model": row["model"],
        "reviewed_by": row["reviewed_by"],
    }


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
