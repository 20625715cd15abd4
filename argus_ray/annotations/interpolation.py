"""The polygon between two polygons: a person draws the first and the last, and it changes evenly in between.

Parts and holes find their counterparts by the least distance of their middles in all. Two rings are then put beside each
other: the same way round, begun where their points lie nearest to each other. With as many points, each goes straight to
its counterpart. Otherwise both are followed at even speed along their outlines, and wherever either has a point both get
one: so the way begins exactly at the first polygon and ends exactly at the last, whatever their numbers of points.
Polygons of other numbers of parts or holes have no way between them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from argus_ray.annotations.polygons import Part, Point, Polygon, Ring, signed_area

Float = npt.NDArray[np.float64]

_ALONG = 256  # places at which outlines with different numbers of points are held against each other


def between(first: Polygon, last: Polygon, shares: Sequence[float]) -> list[Polygon]:
    """The polygons that lie these shares (0 to 1) of the way from the first to the last.

    At 0 it is the first as it is, at 1 the last; with other numbers of parts or holes the first holds until then.
    """
    ways = _ways(first, last)
    inner = np.clip(shares, 0, 1)
    moved = [[_moved(start, end, inner) for start, end in part] for part in ways or []]
    result: list[Polygon] = []
    for place, share in enumerate(shares):
        if share >= 1:
            result.append(last)
        elif share <= 0 or ways is None:
            result.append(first)
        else:
            result.append([[ring[place] for ring in part] for part in moved])
    return result


def _moved(start: Float, end: Float, shares: Float) -> list[list[Point]]:
    part = shares[:, None, None]
    return [[(x, y) for x, y in ring] for ring in (start * (1 - part) + end * part).tolist()]


def _ways(first: Polygon, last: Polygon) -> list[list[tuple[Float, Float]]] | None:
    """Of each ring where its points begin and where they end."""
    parts = _matched([part[0] for part in first], [part[0] for part in last])
    if parts is None:
        return None
    ways = []
    for one, other in zip(first, (last[place] for place in parts), strict=True):
        rings = _matched(one[1:], other[1:])
        if rings is None:
            return None
        ordered: Part = [other[0], *(other[1 + place] for place in rings)]
        ways.append([_aligned(_open(start), _open(end)) for start, end in zip(one, ordered, strict=True)])
    return ways


def _matched(first: Sequence[Ring], last: Sequence[Ring]) -> list[int] | None:
    """Of each of the first rings the place of its counterpart; None where there are more or fewer."""
    if len(first) != len(last):
        return None
    if len(first) < 2:
        return list(range(len(first)))
    middles = [np.array([np.mean(_extent(ring), axis=0) for ring in side]) for side in (first, last)]
    distances = np.linalg.norm(middles[0][:, None] - middles[1][None], axis=2)
    return [int(place) for place in linear_sum_assignment(distances)[1]]


def _extent(ring: Ring) -> Float:
    points = np.asarray(ring, dtype=np.float64)
    return np.stack([points.min(axis=0), points.max(axis=0)])


def _open(ring: Ring) -> Float:
    """Without a last point that repeats the first."""
    points = np.asarray(ring, dtype=np.float64)
    return points[:-1] if len(points) > 1 and (points[0] == points[-1]).all() else points


def _aligned(first: Float, last: Float) -> tuple[Float, Float]:
    """Both rings with as many points, [N, 2], each beside its counterpart."""
    if signed_area(first) * signed_area(last) < 0:
        last = last[::-1]
    if len(first) == len(last):
        return first, np.roll(last, -_shift(first, last), axis=0)
    places_first, places_last = _places(first), _places(last)
    even = np.arange(_ALONG) / _ALONG
    ahead = _shift(_along(first, places_first, even), _along(last, places_last, even)) / _ALONG
    # either's own points, as shares of the way round from the first ring's first point
    at = np.unique(np.concatenate([places_first[:-1], (places_last[:-1] - ahead) % 1]).round(12) % 1)
    return _along(first, places_first, at), _along(last, places_last, (at + ahead) % 1)


def _shift(first: Float, last: Float) -> int:
    """By how many places the points of `last` lie ahead: the sum of squared distances is least.

    Of the squares only the product of both changes with the shift: it is a circular correlation, of complex numbers.
    """
    spectra = [np.fft.fft(points[:, 0] + 1j * points[:, 1]) for points in (first, last)]
    likeness = np.fft.ifft(spectra[0].conj() * spectra[1]).real
    return int(np.argmax(likeness > likeness.max() - 1e-9))  # the smallest of shifts that are equally good


def _places(ring: Float) -> Float:
    """How far along the outline each point lies, 0 for the first and 1 for the first again."""
    steps = np.linalg.norm(np.diff(ring, axis=0, append=ring[:1]), axis=1)
    along = np.concatenate([[0], np.cumsum(steps)])
    places: Float = along / along[-1]
    return places


def _along(ring: Float, places: Float, at: Float) -> Float:
    """The points of the outline at these shares of its length, [N, 2]."""
    closed = np.concatenate([ring, ring[:1]])
    return np.column_stack([np.interp(at, places, closed[:, axis]) for axis in (0, 1)])
