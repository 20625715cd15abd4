"""One object through time: a few keyframes, and where it is at any time between them.

    time     0        1        2        3        4        5
    keys     box A             box B    outside           box C
    seen     A ────(moves)──── B ─────▶                   C          from 0 until 3, and at 5

A keyframe holds until the next one. Between two of one kind boxes and polygons move in a straight line; masks, points and
tags stay as they are, as does a shape before one of another kind. `outside` says that the object is not to be seen from
that time on until the next keyframe that is not `outside`; the shape that such a keyframe has is where the object was
going. `occluded` and attributes are those of the keyframe before. A track begins with its first keyframe and ends with
its last: beyond them it is nowhere.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from argus_ray.annotations import boxes, interpolation
from argus_ray.annotations.polygons import Point, Polygon
from argus_ray.errors import InvalidRequest
from argus_ray.rle import Rle
from argus_ray.schemas.annotation import Kind

Box = tuple[float, float, float, float]
Shape = Box | Polygon | Rle | Sequence[Point] | None
"""By its kind: box, polygon, mask, points, tag."""


@dataclass(frozen=True, slots=True)
class Keyframe:
    pts_us: int
    kind: Kind
    shape: Shape = None
    outside: bool = False
    occluded: bool = False
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Seen:
    """The object at one time. `keyframe` is the one that holds then; `interpolated`: it lies before, not at that time."""

    pts_us: int
    shape: Shape
    keyframe: Keyframe
    interpolated: bool


def ordered(keyframes: Iterable[Keyframe]) -> list[Keyframe]:
    """By time. Raises InvalidRequest where two are at one time."""
    by_time = sorted(keyframes, key=_time)
    for one, other in pairwise(by_time):
        if one.pts_us == other.pts_us:
            raise InvalidRequest(f"the track has two keyframes at {one.pts_us} us: keep one of them", pts_us=one.pts_us)
    return by_time


def at(keyframes: Sequence[Keyframe], pts_us: int) -> Seen | None:
    """The object at a time, from keyframes in order; None where it is not to be seen."""
    return next(iter(over(keyframes, [pts_us])), None)


def over(keyframes: Sequence[Keyframe], times_us: Sequence[int]) -> list[Seen]:
    """The object at those of these times at which it is to be seen; keyframes and times are in order."""
    seen: list[Seen] = []
    for place, keyframe in enumerate(keyframes):
        if keyframe.outside:
            continue
        following = keyframes[place + 1] if place + 1 < len(keyframes) else None
        low = bisect_left(times_us, keyframe.pts_us)
        inner = bisect_right(times_us, keyframe.pts_us, low)
        seen += [Seen(pts_us, keyframe.shape, keyframe, interpolated=False) for pts_us in times_us[low:inner]]
        if following is not None:
            times = times_us[inner : bisect_left(times_us, following.pts_us, inner)]
            seen += [
                Seen(pts_us, shape, keyframe, interpolated=True)
                for pts_us, shape in zip(times, between(keyframe, following, times), strict=True)
            ]
    return seen


def between(keyframe: Keyframe, following: Keyframe, times_us: Sequence[int]) -> Sequence[Shape]:
    """The shapes at times between a keyframe and the one that follows it."""
    if not times_us or keyframe.kind != following.kind or keyframe.kind not in {Kind.BOX, Kind.POLYGON}:
        return [keyframe.shape] * len(times_us)
    lasts_us = following.pts_us - keyframe.pts_us
    shares = [(pts_us - keyframe.pts_us) / lasts_us for pts_us in times_us]
    if keyframe.kind == Kind.BOX:
        first, last = (cast("Box", one.shape) for one in (keyframe, following))
        return [(x, y, w, h) for x, y, w, h in boxes.between(first, last, shares).tolist()]
    return interpolation.between(cast("Polygon", keyframe.shape), cast("Polygon", following.shape), shares)


def simplify(times_us: npt.ArrayLike, dense: npt.ArrayLike, tolerance: float) -> list[int]:
    """Which of boxes [N, 4] at times in order, seen one after the other, have to be keyframes: their places, in order.

    With them alone no edge of an interpolated box lies farther than `tolerance` (a share of the picture) from where it
    was (Douglas and Peucker, over time). The first and the last are always kept.
    """
    times, edges = np.asarray(times_us, dtype=np.float64), boxes.corners(dense)
    kept, spans = {0, len(times) - 1} if len(times) else set(), [(0, len(times) - 1)]
    while spans:
        first, last = spans.pop()
        if last - first < 2:
            continue
        shares = (times[first + 1 : last] - times[first]) / (times[last] - times[first])
        away = np.abs(boxes.between(edges[first], edges[last], shares) - edges[first + 1 : last]).max(axis=1)
        farthest = first + 1 + int(np.argmax(away))
        if away[farthest - first - 1] > tolerance:
            kept.add(farthest)
            spans += [(first, farthest), (farthest, last)]
    return sorted(kept)


def _time(keyframe: Keyframe) -> int:
    return keyframe.pts_us
