"""Polygons with holes and several parts: what one may be, the pixels it covers, and the polygon around a mask.

A polygon is a list of parts, a part a list of rings, first the outline and then its holes, a ring a list of points [x, y]:
fractions of the displayed picture, origin top left. Which way round a ring goes means nothing, and its last point need
not repeat the first. A polygon covers what any of its parts covers.

A pixel belongs to a polygon when its centre lies inside; a centre on an edge belongs to what lies to the right of the
edge, or below it. So two polygons that share a border share no pixel and leave none between them, and the polygon around
a mask covers that mask exactly.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import shapely

from argus_ray import rle
from argus_ray.annotations import turning
from argus_ray.annotations.contours import contours
from argus_ray.errors import InvalidRequest
from argus_ray.rle import Rle, Size

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

Point = tuple[float, float]
Ring = Sequence[Point]
Part = Sequence[Ring]
Polygon = list[list[list[Point]]]

MOST_POINTS = 10_000
_FLAT = 1e-12  # of the picture's area: less than a thousandth of a pixel of the largest
_ROUNDING = 1e-9


# -- what one may be -------------------------------------------------------------------------------


def check(polygon: Sequence[Part]) -> None:
    """That it is one. Raises InvalidRequest, naming part, ring and point by their places, counted from 0, where it has
    more than MOST_POINTS points, a coordinate that is no number or lies outside of the picture, a ring that crosses or
    touches itself or covers nothing, or a hole that leaves its outline or meets another hole.
    """
    points = sum(len(ring) for part in polygon for ring in part)
    if points > MOST_POINTS:
        raise InvalidRequest(
            f"/polygon: it has {points} points and at most {MOST_POINTS} are kept: simplify it, or send a mask instead",
            points=points,
        )
    if not polygon:
        raise InvalidRequest("/polygon: it has no part: give at least one, a list of rings")
    for place, part in enumerate(polygon):
        _check_part(part, f"/polygon/{place}")


def _check_part(part: Part, path: str) -> None:
    if not part:
        raise InvalidRequest(f"{path}: the part has no ring: give its outline, then its holes")
    rings = [_checked_ring(ring, f"{path}/{place}") for place, ring in enumerate(part)]
    if len(rings) == 1:
        return
    outline, *holes = (shapely.Polygon(ring) for ring in rings)
    for place, hole in enumerate(holes, start=1):
        if not outline.covers(hole):
            outside = hole.difference(outline).representative_point()
            raise InvalidRequest(
                f"{path}/{place}: the hole lies outside of its outline, as at {_at(outside.x, outside.y)}: "
                "move it inside, or make it a part of its own"
            )
    whole = shapely.Polygon(rings[0], rings[1:])
    if not whole.is_valid:
        raise InvalidRequest(
            f"{path}: its rings meet{_where(whole)}: a hole must not overlap another hole, nor share a border with it or "
            "with the outline"
        )


def _checked_ring(ring: Ring, path: str) -> Float:
    try:
        points = np.array([(x, y) for x, y in ring], dtype=np.float64).reshape(-1, 2)
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"{path}: a ring is a list of points, each two numbers, x and y") from error
    for wrong, why in (
        (~np.isfinite(points), "a coordinate is no finite number"),
        ((points < -_ROUNDING) | (points > 1 + _ROUNDING), "it lies outside of the picture, which goes from 0 to 1"),
    ):
        if wrong.any():
            first = int(np.argmax(wrong.any(axis=1)))
            raise InvalidRequest(f"{path}/{first}: {why}: {_at(*points[first])}", point=first)
    distinct = len(np.unique(points, axis=0))
    if distinct < 3:
        raise InvalidRequest(f"{path}: the ring has {distinct} distinct points and needs at least 3")
    if _is_flat(points):
        raise InvalidRequest(f"{path}: the ring covers nothing: all its points lie on one line")
    shape = shapely.Polygon(points)
    if not shape.is_valid:
        raise InvalidRequest(
            f"{path}: the ring crosses or touches itself{_where(shape)}: draw it without crossings, or send a mask instead"
        )
    return points


def _is_flat(points: Float) -> bool:
    away = points - points[0]
    farthest = away[np.argmax((away**2).sum(axis=1))]
    return bool(np.abs(away[:, 0] * farthest[1] - away[:, 1] * farthest[0]).max() < _FLAT)


def _where(shape: shapely.Polygon) -> str:
    """From the reason that GEOS gives, "Self-intersection[0.5 0.25]"."""
    found = re.search(r"\[(\S+) (\S+)\]", shapely.is_valid_reason(shape))
    return f" near {_at(float(found[1]), float(found[2]))}" if found else ""


def _at(x: float, y: float) -> str:
    return f"({x:.4g}, {y:.4g})"


# -- geometry ----------------------------------------------------------------------------------------


def bbox(polygon: Sequence[Part]) -> tuple[float, float, float, float]:
    """x, y, width, height of the smallest box around it, as fractions."""
    points = np.concatenate([np.asarray(part[0], dtype=np.float64) for part in polygon])
    (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return left, top, right - left, bottom - top


def turn(polygon: Sequence[Part], clockwise: int, *, mirrored: bool = False) -> Polygon:
    """Where it is when its picture is mirrored top to bottom, if it is, then turned clockwise by right angles."""
    return [[_listed(turning.turn(ring, clockwise, mirrored=mirrored)) for ring in part] for part in polygon]


def turn_back(polygon: Sequence[Part], clockwise: int, *, mirrored: bool = False) -> Polygon:
    """The inverse of `turn`."""
    return [[_listed(turning.turn_back(ring, clockwise, mirrored=mirrored)) for ring in part] for part in polygon]


def _listed(points: Float) -> list[Point]:
    return [(x, y) for x, y in points.tolist()]


# -- to pixels and back ------------------------------------------------------------------------------


def to_rle(polygon: Sequence[Part], size: Size) -> Rle:
    """The mask of a polygon in a picture of `size` (height, width). What lies outside of the picture is left out.

    The edges of a part are met by the middle line of each column of pixels; between the first and the second meeting the
    line is inside, and so on (even-odd, so that holes are holes whichever way they go). Those are the runs themselves.
    """
    parts = [rle.from_edges(_crossings(part, size), size) for part in polygon]
    return parts[0] if len(parts) == 1 else rle.union(parts)


def _crossings(part: Part, size: Size) -> Int:
    """Of the middle lines of columns with the part's edges: pixels counted down the columns, sorted."""
    height, width = size
    rings = [np.asarray(ring, dtype=np.float64) * (width, height) for ring in part]
    starts = np.concatenate(rings)
    stops = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])
    # from left to right, whichever way the ring goes: so both sides of a border round alike
    leftwards = starts[:, 0] > stops[:, 0]
    starts[leftwards], stops[leftwards] = stops[leftwards], starts[leftwards]
    # the columns whose middles lie between the two ends, the left one included
    first, end = (np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64) for x in (starts[:, 0], stops[:, 0]))
    times = end - first
    edge = np.repeat(np.arange(len(starts)), times)
    column = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times) + first[edge]
    (x0, y0), (x1, y1) = starts[edge].T, stops[edge].T
    y = y0 + (column + 0.5 - x0) * ((y1 - y0) / (x1 - x0))
    row = np.clip(np.ceil(y - 0.5), 0, height).astype(np.int64)
    return np.sort(column * height + row)


def from_rle(mask: Rle, tolerance_px: float = 1.0) -> Polygon:
    """The polygon around a mask, its holes left free; [] of an empty one.

    No point of the outline is left out that lies farther than `tolerance_px` from what is kept (Douglas and Peucker), and
    nothing comes to cross by it; with 0 the polygon has a corner wherever the mask has one, and covers it exactly.
    Raises InvalidRequest where more than MOST_POINTS points are left.
    """
    height, width = mask.size
    x, y, box_width, box_height = rle.bbox(mask)
    if not box_width:
        return []
    lines = contours(rle.decode(mask)[y : y + box_height, x : x + box_width])
    shape = _with_holes([simple + np.array([x, y]) for line in lines for simple in _untangled(_corners(line))])
    if tolerance_px > 0:
        shape = shapely.simplify(shape, tolerance_px, preserve_topology=True)
    polygon = [
        [_listed(shapely.get_coordinates(ring)[:-1] / (width, height)) for ring in (part.exterior, *part.interiors)]
        for part in shapely.get_parts(shape)
    ]
    points = sum(len(ring) for part in polygon for ring in part)
    if points > MOST_POINTS:
        raise InvalidRequest(
            f"the outline of the mask has {points} points at a tolerance of {tolerance_px:g} pixels and a polygon has at "
            f"most {MOST_POINTS}: use a larger tolerance, or keep the mask",
            points=points,
        )
    return polygon


def _corners(line: Int) -> Int:
    """A closed line of steps of one pixel, with only the points where it turns."""
    step = line - np.roll(line, 1, axis=0)
    turns = (step != np.roll(step, -1, axis=0)).any(axis=1)
    corners: Int = line[turns]
    return corners


def _untangled(line: Int) -> list[Int]:
    """A closed line as lines that don't touch themselves: it is cut wherever it comes by a place again."""
    if len(np.unique(line, axis=0)) == len(line):
        return [line]
    rings: list[Int] = []
    path: list[tuple[int, int]] = []
    places: dict[tuple[int, int], int] = {}
    for x, y in line.tolist():
        point = (x, y)
        if (since := places.get(point)) is not None:
            rings.append(np.array(path[since:]))
            for left in path[since:]:
                del places[left]
            del path[since:]
        places[point] = len(path)
        path.append(point)
    return [*rings, np.array(path)]


def _with_holes(rings: Sequence[Int]) -> shapely.MultiPolygon:
    """Outlines go clockwise on the screen, holes the other way; a hole belongs to the smallest outline around it."""
    shapes = shapely.polygons(
        shapely.linearrings(
            np.concatenate(rings), indices=np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
        )
    )
    clockwise = np.array([signed_area(ring) > 0 for ring in rings], dtype=np.bool_)
    order = np.flatnonzero(clockwise)[np.argsort(shapely.area(shapes[clockwise]))]
    outlines, holes = shapes[order], np.flatnonzero(~clockwise)
    hole, outline = shapely.STRtree(outlines).query(shapes[holes], predicate="covered_by")
    belongs = np.full(len(holes), len(outlines))
    np.minimum.at(belongs, hole, outline)
    within: list[list[Int]] = [[] for _ in outlines]
    for ring, owner in zip(holes.tolist(), belongs.tolist(), strict=True):
        within[owner].append(rings[ring])
    return shapely.MultiPolygon([(rings[place], inner) for place, inner in zip(order.tolist(), within, strict=True)])


def signed_area(ring: Int | Float) -> float:
    """Positive clockwise on the screen, where y goes down (the shoelace formula)."""
    x, y = ring.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
