"""The plates with names, numbers and scores: where each stands, and how it looks.

A plate may stand above its object, within its top, below, or beside it; the first place is taken that is free of other
plates and covers other objects least. Where none is free its text gets shorter, and in the end it stands where it covers
least. Where the plates of all would hide too much of the picture, each has its shortest text, and those without room are
left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from PIL import ImageDraw, ImageFont

from argus_ray.annotations import lettering
from argus_ray.schemas.annotation import State

Float = npt.NDArray[np.float64]
Rgb = tuple[int, int, int]
Rectangle = tuple[float, float, float, float]  # left, top, right, bottom in pixels

_MOST_HIDDEN = 0.12
"""Share of the picture that plates with their whole texts may cover."""
_SIGN_WIDTH = 0.68  # of a plate's height
_BLACK, _WHITE, _SEAM = (0, 0, 0), (255, 255, 255), (18, 18, 20)


@dataclass
class Plate:
    """`texts`: what to write, and what to write instead where that has no room. `of`: the object's box; None: a tag."""

    texts: tuple[str, ...]
    of: Rectangle | None
    colour: Rgb
    state: State
    occluded: bool
    bounds: Rectangle = field(default=(0, 0, 0, 0))
    text: str = ""
    font: ImageFont.FreeTypeFont | None = None

    @property
    def signs(self) -> str:
        """Small drawings before the text."""
        return {State.ACCEPTED: "v", State.REJECTED: "x", State.PROPOSED: ""}[self.state] + (
            "o" if self.occluded else ""
        )

    @property
    def ink(self) -> Rgb:
        return _BLACK if _contrast(self.colour, _BLACK) >= _contrast(self.colour, _WHITE) else _WHITE

    def draw(self, pen: ImageDraw.ImageDraw, origin: tuple[int, int], times: int) -> None:
        """On a part of the picture that begins at `origin` and is enlarged."""
        left, top, right, bottom = ((edge - origin[n % 2]) * times for n, edge in enumerate(self.bounds))
        high = bottom - top
        pen.rounded_rectangle(
            (left, top, right - 1, bottom - 1), high * 0.22, self.colour, _SEAM, max(1, round(high * 0.05))
        )
        for sign in self.signs:
            _draw_sign(pen, sign, (left + high * 0.28, top + high * 0.24, high * 0.52), self.ink)
            left += high * _SIGN_WIDTH
        pen.text((left + high * 0.28, (top + bottom) / 2), self.text, self.ink, self.font, "lm")


def place(plates: Sequence[Plate], size: tuple[int, int], text_px: int, times: int) -> list[Plate]:
    """Give each plate its place in a picture of `size`, the smallest object's first; those left out are not returned.

    Text is measured as it will be drawn, `times` as large.
    """
    objects = np.array([plate.of for plate in plates if plate.of is not None], np.float64).reshape(-1, 4)
    setter = _Setter(size, text_px, times, objects)
    whole = sum(math.prod(setter.size_of(plate, plate.texts[0])) for plate in plates)
    is_crowd = whole > _MOST_HIDDEN * size[0] * size[1] and len(plates) > 1
    placed = []
    for plate in sorted(plates, key=lambda plate: -1 if plate.of is None else _extent(plate.of)):
        texts = plate.texts[-1:] if is_crowd else plate.texts
        if setter.set(plate, texts, at_all_costs=not is_crowd):
            placed.append(plate)
    return placed


def _extent(box: Rectangle) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


class _Setter:
    """Sets plates one after the other, and knows where those before stand."""

    def __init__(self, size: tuple[int, int], text_px: int, times: int, objects: Float) -> None:
        self.size, self.text_px, self.times = size, text_px, times
        self.objects = objects
        self.areas = np.maximum((objects[:, 2] - objects[:, 0]) * (objects[:, 3] - objects[:, 1]), 1)
        self.taken = np.zeros((0, 4))

    def size_of(self, plate: Plate, text: str) -> tuple[int, int]:
        """Width and height with that text, which the plate has from now on."""
        plate.text, plate.font = lettering.fit(text, self.text_px * self.times)
        high = round(self.text_px * 1.45)
        return math.ceil(
            plate.font.getlength(plate.text) / self.times + high * (0.56 + _SIGN_WIDTH * len(plate.signs))
        ), high

    def set(self, plate: Plate, texts: Sequence[str], *, at_all_costs: bool) -> bool:
        last: Float | None = None
        for text in texts:
            wide, high = self.size_of(plate, text)
            if wide > self.size[0] or high > self.size[1]:
                continue
            places = (
                _tag_places(self.size, wide, high) if plate.of is None else _places(plate.of, self.size, wide, high)
            )
            covered = _common(places, self.taken).sum(axis=1)
            best = int(np.argmin(covered * 1000 + self._hidden(plate, places) + np.arange(len(places)) * 0.02))
            last = places[best]
            if not covered[best]:
                break
        else:
            if last is None or not at_all_costs:
                return False
        left, top, right, bottom = last.tolist()
        plate.bounds = left, top, right, bottom
        self.taken = np.concatenate([self.taken, [last]])
        return True

    def _hidden(self, plate: Plate, places: Float) -> Float:
        """How many objects a plate would hide, in whole and parts; its own counts half."""
        shares = _common(places, self.objects) / self.areas
        if plate.of is not None:
            shares[:, (self.objects == plate.of).all(axis=1)] *= 0.5
        hidden: Float = shares.sum(axis=1)
        return hidden


def _places(of: Rectangle, size: tuple[int, int], wide: int, high: int) -> Float:
    """Where a plate of an object may stand, the best first, all within the picture."""
    left, top, right, bottom = of
    gap = high * 0.2
    middle = (top + bottom - high) / 2
    corners = [
        (left, top - high - gap), (right - wide, top - high - gap), (left, bottom + gap), (right - wide, bottom + gap),
        (left + gap, top + gap), (right - wide - gap, bottom - high - gap),
        (right + gap, middle), (left - wide - gap, middle), ((left + right - wide) / 2, middle),
        (left, top - 2 * high - 2 * gap), (left, bottom + high + 2 * gap),
        (right + gap, top - high), (left - wide - gap, bottom),
    ]  # fmt: skip
    return _within(np.array(corners), size, wide, high)


def _tag_places(size: tuple[int, int], wide: int, high: int) -> Float:
    """Down the left edge from the top, then down the right one."""
    gap = round(high * 0.25)
    rows = np.arange(gap, max(size[1] - high, gap + 1), high + gap)
    columns = [np.full(len(rows), gap), np.full(len(rows), size[0] - wide - gap)]
    return _within(np.concatenate([np.column_stack((column, rows)) for column in columns]), size, wide, high)


def _within(corners: Float, size: tuple[int, int], wide: int, high: int) -> Float:
    moved = np.rint(np.clip(corners, 0, [size[0] - wide, size[1] - high]))
    return np.concatenate([moved, moved + np.array([wide, high])], axis=1)


def _common(a: Float, b: Float) -> Float:
    """Square pixels that rectangles [N, 4] and [M, 4] share, [N, M]."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared: Float = np.clip(high - low, 0, None).prod(axis=2)
    return shared


def _draw_sign(pen: ImageDraw.ImageDraw, sign: str, box: tuple[float, float, float], ink: Rgb) -> None:
    """`v` a tick, `x` a cross, `o` a half-covered disc, in the square of corner and side `box`."""
    x, y, side = box
    width = max(1, round(side * 0.2))
    if sign == "o":
        pen.ellipse((x, y, x + side, y + side), outline=ink, width=width)
        pen.pieslice((x, y, x + side, y + side), 90, 270, fill=ink)
        return
    strokes = (
        [[(0.0, 0.55), (0.38, 0.92), (1.0, 0.12)]]
        if sign == "v"
        else [[(0.0, 0.0), (1.0, 1.0)], [(0.0, 1.0), (1.0, 0.0)]]
    )
    for stroke in strokes:
        pen.line([(x + side * a, y + side * b) for a, b in stroke], fill=ink, width=width, joint="curve")


def _contrast(one: Rgb, other: Rgb) -> float:
    """From 1 to 21 (WCAG 2.2, contrast ratio)."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: Rgb) -> float:
    """Relative luminance of an sRGB colour, from 0 to 1 (IEC 61966-2-1)."""
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in (c / 255 for c in colour)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
