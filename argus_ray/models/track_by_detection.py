"""Tracks from detections alone: who in this frame is who of the last ones. No weights, and the same answer every time.

For weights whose tracker has not learnt to follow, or that have none. Each track remembers its mask and how fast it moves;
in the next frame its mask, moved on, claims the detection that it overlaps most, all tracks at once (Hungarian). What
is left is claimed by nearness and size, which catches what is small and fast. Weak detections may carry a track on, but not
begin one (as in ByteTrack, https://arxiv.org/abs/2110.06864). A track that is covered for some frames moves on unseen and
keeps its shape; one unseen for longer than `patience` frames is over.

Masks are compared on a coarse grid, so the cost does not depend on the size of the picture. Time may run either way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from argus_ray.rle import Rle, decode, resize

Bool = NDArray[np.bool_]
Float = NDArray[np.float64]

_GRID = 144  # cells along the longer side
_LEAST_IOU = 0.2
_SMOOTHING = 0.5  # of velocities: the share of the newest
_REACH = 1.5  # how far from where it is expected, in lengths of itself, what is not overlapped may be
_REACH_AT_FIRST = 3.0  # while its velocity is not known
_COVERED_SHARE = 0.6  # a mask that suddenly has less of its cells, inside where it was expected, is partly covered
_COVERED_FRAMES = 6  # for so many frames; then it has become smaller


@dataclass
class _Track:
    """In cells of the grid: `shape` as last seen whole, at `centre`, moving by `velocity` a second."""

    number: int
    shape: Bool
    centre: Float
    pts_us: int
    velocity: Float | None = None
    unseen: int = 0
    covered: int = 0

    def expected(self, pts_us: int) -> tuple[Bool, Float]:
        """Where its shape and centre should be at that time."""
        if self.velocity is None:
            return self.shape, self.centre
        way = self.velocity * (pts_us - self.pts_us) / 1e6
        return _moved(self.shape, way), self.centre + way


@dataclass
class Tracks:
    """The tracks of one concept. `step` takes the frames in the order of their times, or in the reverse.

    `birth` is the score that begins a track; `numbers` gives new tracks theirs, and may be shared by several concepts.
    """

    birth: float
    patience: int = 5
    numbers: Iterator[int] = field(default_factory=count)
    _live: list[_Track] = field(default_factory=list, init=False)

    def begin(self, pts_us: int, mask: Rle) -> int:
        """A track of an object that is known to be there; its number."""
        track = _begun(next(self.numbers), pts_us, _on_grid(mask))
        self._live.append(track)
        return track.number

    def expected(self, number: int, pts_us: int) -> tuple[float, float, float, float] | None:
        """The box, x, y, width and height in fractions, in which a track should be; None when it is over or outside."""
        for track in self._live:
            if track.number == number:
                return _box(track.expected(pts_us)[0])
        return None

    def step(
        self, pts_us: int, masks: Sequence[Rle], scores: Sequence[float], *, births: bool = True
    ) -> list[int | None]:
        """Whose each mask is; None for one that is nobody's and too weak to begin a track."""
        shapes = [_on_grid(mask) for mask in masks]
        owners = self._claimed(pts_us, shapes)
        for track in self._live:
            track.unseen += 1
        for place, track in owners.items():
            _see(track, pts_us, shapes[place])
        self._live = [track for track in self._live if track.unseen <= self.patience]
        named: list[int | None] = [owners[place].number if place in owners else None for place in range(len(masks))]
        for place, score in enumerate(scores):
            if births and named[place] is None and score >= self.birth and shapes[place].any():
                track = _begun(next(self.numbers), pts_us, shapes[place])
                self._live.append(track)
                named[place] = track.number
        return named

    def _claimed(self, pts_us: int, shapes: Sequence[Bool]) -> dict[int, _Track]:
        if not self._live or not shapes:
            return {}
        expected = [track.expected(pts_us) for track in self._live]
        overlap = _ious(np.stack([shape for shape, _ in expected]), np.stack(list(shapes)))
        owners: dict[int, _Track] = {}
        free = set(range(len(self._live)))
        for row, column in zip(*linear_sum_assignment(overlap, maximize=True), strict=True):
            if overlap[row, column] >= _LEAST_IOU:
                owners[int(column)] = self._live[row]
                free.discard(int(row))
        rows = sorted(free)
        columns = [place for place in range(len(shapes)) if place not in owners and shapes[place].any()]
        if rows and columns:
            distance = self._distances(rows, [expected[row][1] for row in rows], [shapes[place] for place in columns])
            for row, column in zip(*linear_sum_assignment(distance), strict=True):
                if distance[row, column] <= 1:
                    owners[columns[column]] = self._live[rows[row]]
        return owners

    def _distances(self, rows: Sequence[int], centres: Sequence[Float], shapes: Sequence[Bool]) -> Float:
        """How far from where it is expected, as a share of what is believed; above 1 is not."""
        distance = np.full((len(rows), len(shapes)), 1e6)
        found = [(_centre(shape), float(shape.sum())) for shape in shapes]
        for i, (row, expected) in enumerate(zip(rows, centres, strict=True)):
            track = self._live[row]
            area = float(track.shape.sum())
            reach = (_REACH if track.velocity is not None else _REACH_AT_FIRST) * (1 + track.unseen / 2) * area**0.5
            for j, (centre, cells) in enumerate(found):
                if area and 0.4 <= cells / area <= 2.5:
                    distance[i, j] = float(np.hypot(*(centre - expected))) / reach
        return distance


def _begun(number: int, pts_us: int, shape: Bool) -> _Track:
    return _Track(number, shape, _centre(shape) if shape.any() else np.zeros(2), pts_us)


def _see(track: _Track, pts_us: int, shape: Bool) -> None:
    expected, there = track.expected(pts_us)
    cells, inside = shape.sum(), (shape & expected).sum()
    # the whole of it has few cells left, all where it was expected: something is in front of it, or the picture's edge
    if track.velocity is not None and cells < _COVERED_SHARE * track.shape.sum() and inside > 0.7 * cells:
        track.covered += 1
        if track.covered <= _COVERED_FRAMES and expected.any():
            track.shape, track.centre, track.pts_us, track.unseen = expected, there, pts_us, 0
            return
    track.covered = 0
    centre = _centre(shape)
    passed_s = (pts_us - track.pts_us) / 1e6
    if passed_s:
        measured = (centre - track.centre) / passed_s
        old = track.velocity
        track.velocity = measured if old is None else (1 - _SMOOTHING) * old + _SMOOTHING * measured
    track.shape, track.centre, track.pts_us, track.unseen = shape, centre, pts_us, 0


def _on_grid(mask: Rle) -> Bool:
    scale = _GRID / max(mask.size)
    height, width = (max(1, round(side * scale)) for side in mask.size)
    return decode(resize(mask, (height, width)) if scale < 1 else mask)


def _centre(shape: Bool) -> Float:
    """Row and column of the middle of its cells."""
    centre: Float = np.argwhere(shape).mean(axis=0)
    return centre


def _box(shape: Bool) -> tuple[float, float, float, float] | None:
    rows, columns = np.flatnonzero(shape.any(axis=1)), np.flatnonzero(shape.any(axis=0))
    if not rows.size:
        return None
    height, width = shape.shape
    left, right, top, bottom = columns[0] / width, (columns[-1] + 1) / width, rows[0] / height, (rows[-1] + 1) / height
    return float(left), float(top), float(right - left), float(bottom - top)


def _moved(shape: Bool, way: Float) -> Bool:
    """Shifted by whole cells; what leaves the picture is gone."""
    down, right = (int(np.clip(step, -_GRID, _GRID)) for step in np.rint(way))
    height, width = shape.shape
    moved = np.zeros_like(shape)
    if abs(down) < height and abs(right) < width:
        moved[max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = shape[
            max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)
        ]
    return moved


def _ious(ours: Bool, theirs: Bool) -> Float:
    """Intersection over union of each with each."""
    a, b = (masks.reshape(len(masks), -1).astype(np.float32) for masks in (ours, theirs))
    common = a @ b.T
    result: Float = common / np.maximum(1, a.sum(1)[:, None] + b.sum(1)[None] - common)
    return result
