"""Between fractions of a picture and pixels of a file, with what hostile or careless files hold on the way in."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from argus_ray import rle
from argus_ray.annotations import polygons
from argus_ray.datasets.records import Box, Instance, Picture, Point, Polygon
from argus_ray.datasets.report import Report
from argus_ray.errors import InvalidRequest
from argus_ray.rle import Rle
from argus_ray.schemas.annotation import MOST_POINTS, Kind

OUTSIDE_PX = 1.0
"""So far beyond the edge is rounding, and not worth a line."""

TOLERANCE_PX = 0.5
"""How far the polygon around a mask may lie from its edge."""


class Place:
    """Where something stands in a file, and the report that hears of it."""

    __slots__ = ("file", "report", "where")

    def __init__(self, report: Report, file: str, where: str) -> None:
        self.report, self.file, self.where = report, file, where

    def say(self, code: str, detail: str) -> None:
        self.report.say(code, detail, self.file, self.where)


def box_px(box: Box, picture: Picture) -> Box:
    x, y, w, h = box
    return x * picture.width, y * picture.height, w * picture.width, h * picture.height


def box_in(x: float, y: float, w: float, h: float, width: float, height: float, place: Place) -> Box | None:
    """A box of a file as fractions, cut off at the picture's edges; None where nothing of it is left, and a line said so."""
    if not all(math.isfinite(value) for value in (x, y, w, h)):
        place.say("not-a-number", "the box has a coordinate that is no finite number: it was left out")
        return None
    left, top, right, bottom = max(x, 0.0), max(y, 0.0), min(x + w, width), min(y + h, height)
    if w <= 0 or h <= 0 or right <= left or bottom <= top:
        place.say("empty-box", f"the box [{x:g}, {y:g}, {w:g}, {h:g}] has no pixel in the picture: it was left out")
        return None
    beyond = max(left - x, top - y, x + w - right, y + h - bottom)
    if beyond > OUTSIDE_PX * max(width, height) / max(width, height, 1000):
        place.say(
            "clipped", f"the box [{x:g}, {y:g}, {w:g}, {h:g}] reaches out of the picture: it was cut at the edges"
        )
    if beyond <= 0:  # as exact as it came
        return x / width, y / height, w / width, h / height
    return left / width, top / height, (right - left) / width, (bottom - top) / height


def ring_in(numbers: Sequence[float], width: float, height: float, place: Place) -> list[Point] | None:
    """A ring of a file, x and y in turns, as fractions; None where it is no polygon, and a line said so."""
    if len(numbers) < 6 or len(numbers) % 2:
        place.say(
            "not-a-polygon",
            f"a polygon needs pairs of numbers, at least three, and this has {len(numbers)} numbers: it was left out",
        )
        return None
    if len(numbers) > 2 * MOST_POINTS:
        place.say(
            "too-many-points",
            f"a polygon has {len(numbers) // 2} points and at most {MOST_POINTS} are kept: it was left out",
        )
        return None
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in numbers):
        place.say("not-a-number", "a polygon has a coordinate that is no finite number: it was left out")
        return None
    xs, ys = numbers[::2], numbers[1::2]
    if max(xs) <= 0 or max(ys) <= 0 or min(xs) >= width or min(ys) >= height:
        place.say("outside", "a polygon lies outside of the picture: it was left out")
        return None
    if min(xs) < -OUTSIDE_PX or min(ys) < -OUTSIDE_PX or max(xs) > width + OUTSIDE_PX or max(ys) > height + OUTSIDE_PX:
        place.say("clipped", "a polygon reaches out of the picture: its points were moved to the edges")
    return [(min(max(x / width, 0.0), 1.0), min(max(y / height, 0.0), 1.0)) for x, y in zip(xs, ys, strict=True)]


def polygon_box(polygon: Polygon) -> Box:
    """The box around its outer rings."""
    points = [point for part in polygon for point in part[0]]
    left, top = min(x for x, _ in points), min(y for _, y in points)
    return left, top, max(x for x, _ in points) - left, max(y for _, y in points) - top


def points_box(points: Sequence[Point]) -> Box:
    left, top = min(x for x, _ in points), min(y for _, y in points)
    return left, top, max(x for x, _ in points) - left, max(y for _, y in points) - top


def mask_in(mask: Rle, height: int, width: int, place: Place) -> tuple[Rle, Box] | None:
    """A mask of a file with the box around it; None where it is none of this picture, or empty, and a line said so."""
    try:
        rle.check(mask, (height, width))
    except InvalidRequest as error:
        place.say("wrong-mask", f"{error.detail}; it was left out")
        return None
    x, y, w, h = rle.bbox(mask)
    if not w or not h:
        place.say("empty-mask", "the mask has no pixel: it was left out")
        return None
    return mask, (x / width, y / height, w / width, h / height)


def outline(instance: Instance, picture: Picture) -> Rle | None:
    """What a mask or polygon covers in the picture, as runs at its size; None for every other kind."""
    if instance.kind is Kind.MASK:
        return instance.mask_at(picture.height, picture.width)
    if instance.kind is Kind.POLYGON and instance.polygon:
        return polygons.to_rle(instance.polygon, (picture.height, picture.width))
    return None


def is_lost(instance: Instance, picture: Picture, report: Report) -> bool:
    """Whether a mask has no pixel in a picture that is smaller than its video; a line says so."""
    if instance.mask is None or instance.mask.size == (picture.height, picture.width):
        return False
    mask = instance.mask_at(picture.height, picture.width)
    if mask is not None and rle.area(mask):
        return False
    report.say(
        "too-small", f"a mask of {instance.label!r} covers no pixel of its picture: it is left out", picture.file
    )
    return True


def rings(instance: Instance, picture: Picture) -> Polygon:
    """The polygon that stands nearest to a shape; [] for a mask without pixels."""
    if instance.polygon is not None:
        return instance.polygon
    mask = instance.mask_at(picture.height, picture.width)
    if mask is not None:
        return polygons.from_rle(mask, tolerance_px=TOLERANCE_PX)
    assert instance.box is not None
    x, y, w, h = instance.box
    return [[[(x, y), (x + w, y), (x + w, y + h), (x, y + h)]]]


def boxed(box: Box, picture: Picture) -> Rle:
    """The pixels of a box, as runs at the picture's size: those that its edges are nearest to, and one at least."""
    x, y, w, h = box_px(box, picture)
    left, top = min(round(x), picture.width - 1), min(round(y), picture.height - 1)
    mask = np.zeros((picture.height, picture.width), dtype=np.bool_)
    mask[top : max(round(y + h), top + 1), left : max(round(x + w), left + 1)] = True
    return rle.encode(mask)
