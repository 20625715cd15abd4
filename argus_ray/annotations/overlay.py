"""Annotations drawn on their picture: what a person looks at to see whether they are right.

Everything must be told on any ground, by any eye, at any size:
- colours are those of Okabe and Ito, which people with any kind of colour blindness tell apart, unless a label has its
  own; every line has a light and a dark seam, so that one of the two is seen wherever it runs;
- a state is told by its line and not by colour: accepted ones are solid, proposed ones dashed, rejected ones crossed out
  and not filled;
- lines and letters grow with the picture; text stands on a plate of the object's colour, black or white by the plate's
  luminance; plates keep off each other and off other objects where there is room, lose their details before they overlap,
  and stay in the picture.

Fillings go on the picture itself, largest first. Lines and plates are drawn without smoothing on the part of the picture
that they are in, enlarged by repeating its pixels, and shrunk again by averaging: so they come out smooth, and a pixel
without a line comes out as it was.
"""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageDraw

from argus_ray import rle
from argus_ray.annotations.contours import contours, smooth
from argus_ray.annotations.plates import Plate, place
from argus_ray.rle import Rle
from argus_ray.schemas.annotation import Annotation, State
from argus_ray.schemas.label import Label

UInt8 = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float64]
Rgb = tuple[int, int, int]
Point = tuple[float, float]
Rectangle = tuple[float, float, float, float]  # left, top, right, bottom in pixels

PALETTE = ("#d55e00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#cc79a7", "#e69f00")
"""Okabe and Ito's colours but black, in an order that keeps neighbours apart."""

_DARK, _LIGHT = (18, 18, 20), (255, 255, 255)
_FILLING = {
    state: [round(level * share) for level in range(256)]
    for state, share in ((State.PROPOSED, 0.22), (State.ACCEPTED, 0.36))
}
"""How much a filling covers, by its coverage of a pixel."""
_CROWD = 60
"""From so many objects on, lines are thinner and letters smaller."""


@dataclass(frozen=True)
class Drawn:
    """One thing to draw: a mask, polygon, box or points; none of them is a tag of the whole picture.

    Coordinates are fractions of the picture. `polygon`: parts, each a ring and its holes. A mask may have another size
    than the picture. `colour` as #rrggbb; without it the track's `number` or the label's name chooses one.
    """

    label: str
    mask: Rle | None = None
    polygon: Sequence[Sequence[Sequence[Point]]] | None = None
    box: tuple[float, float, float, float] | None = None
    """x, y, width, height."""
    points: Sequence[Point] | None = None
    colour: str | None = None
    score: float | None = None
    number: int | None = None
    state: State = State.ACCEPTED
    occluded: bool = False


def track_colour(number: int) -> str:
    """The colour of a track, the same in every picture; after seven the same hues come lighter, then darker."""
    hue, turn = PALETTE[(number - 1) % len(PALETTE)], (number - 1) // len(PALETTE) % 3
    if not turn:
        return hue
    toward, share = ((255, 0.45), (0, 0.35))[turn - 1]
    return "#" + "".join(f"{round(part + (toward - part) * share):02x}" for part in _rgb(hue))


def drawn(annotation: Annotation, label: Label, number: int | None = None, *, by_track: bool = False) -> Drawn:
    """An annotation as it is drawn; `number` is its track's. In its label's colour, or `by_track` in its track's."""
    mask, box = annotation.mask, annotation.box
    has_shape = mask or annotation.polygon or annotation.points
    return Drawn(
        label=label.name,
        mask=Rle(mask.size, mask.counts) if mask else None,
        polygon=annotation.polygon,
        box=(box.x, box.y, box.w, box.h) if box and not has_shape else None,
        points=annotation.points,
        colour=track_colour(number) if by_track and number is not None else label.colour,
        score=annotation.score,
        number=number,
        state=annotation.state,
        occluded=annotation.occluded,
    )


def draw(picture: UInt8, items: Sequence[Drawn]) -> UInt8:
    """The picture, uint8 [H, W, 3], with the items drawn on it: a new array of the same shape."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    style = Style.of(image.size, len(items))
    figures = [_Figure(item, image.size, style) for item in items]
    figures = [figure for figure in figures if not figure.is_empty]
    figures.sort(key=lambda figure: -figure.extent)
    for figure in figures:
        figure.fill(image)
    plates = place([figure.plate for figure in figures], image.size, style.text_px, style.times)
    _draw_lines(image, figures, plates, style)
    return np.asarray(image)


def png(picture: UInt8) -> bytes:
    """As a PNG file; packed quickly rather than tightly."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "png", compress_level=4)
    return file.getvalue()


@dataclass(frozen=True, slots=True)
class Style:
    """Sizes in pixels that suit a picture."""

    line_px: float
    text_px: int
    times: int
    """How much larger lines are drawn."""

    @classmethod
    def of(cls, size: tuple[int, int], items: int) -> Style:
        side = math.sqrt(size[0] * size[1])
        crowd = 0.7 if items > _CROWD else 1.0
        text_px = max(min(11, side / 22), side / 75)
        return cls(
            line_px=max(1.0, side / 560 * crowd),
            text_px=max(7, round(text_px * crowd)),
            times=4 if side < 500 else 3 if side < 800 else 2,
        )


def _draw_lines(image: Image.Image, figures: Sequence[_Figure], plates: Sequence[Plate], style: Style) -> None:
    """All lines and plates, in place."""
    boxes = [figure.bounds for figure in figures if figure.strokes] + [plate.bounds for plate in plates]
    if not boxes:
        return
    wide, high = image.size
    margin = 3 * style.line_px + 2
    left, top = (max(0, int(min(box[side] for box in boxes) - margin)) for side in (0, 1))
    right, bottom = (
        min(most, int(max(box[side] for box in boxes) + margin) + 1) for side, most in ((2, wide), (3, high))
    )
    part, times = (left, top, right, bottom), style.times
    canvas = image.crop(part).resize(((right - left) * times, (bottom - top) * times), Image.Resampling.NEAREST)
    pen = _Pen(canvas, (left, top), times)
    for figure in figures:
        figure.outline(pen)
    for plate in plates:
        plate.draw(pen.draw, (left, top), times)
    image.paste(canvas.reduce(times), part)


class _Pen:
    """Draws lines given in pixels of the picture on its enlarged part."""

    def __init__(self, canvas: Image.Image, origin: tuple[int, int], times: int) -> None:
        self.draw = ImageDraw.Draw(canvas)
        self.origin, self.times = np.array(origin, np.float64), times

    def line(self, points: Float, colour: Rgb, width_px: float, *, rounded: bool = False) -> None:
        scaled = (points - self.origin) * self.times
        width = max(1, round(width_px * self.times))
        self.draw.line(scaled.ravel().tolist(), fill=colour, width=width)
        if rounded and width > 2:
            for x, y in scaled:
                self.draw.circle((x, y), width / 2 - 0.5, fill=colour)

    def disc(self, centre: Float, radius_px: float, colour: Rgb) -> None:
        x, y = (centre - self.origin) * self.times
        self.draw.circle((x, y), radius_px * self.times, fill=colour)


class _Figure:
    """An item in pixels of the picture."""

    def __init__(self, item: Drawn, size: tuple[int, int], style: Style) -> None:
        self.item, self.size, self.style = item, size, style
        self.colour = _rgb(item.colour or _usual_colour(item))
        self.strokes: list[Float] = []
        """Closed lines."""
        self.angular = False
        """They have corners, which want to be rounded."""
        self._filling: tuple[Image.Image, tuple[int, int]] | None = None
        self._dots: Float = np.zeros((0, 2))
        if item.mask is not None:
            self._from_mask(item.mask)
        elif item.polygon is not None:
            self._from_polygon(item.polygon)
        elif item.box is not None:
            self._from_box(item.box)
        elif item.points is not None:
            self._dots = np.array(item.points, np.float64).reshape(-1, 2) * self.size
        self.is_tag = item.mask is None and item.polygon is None and item.box is None and item.points is None
        self.is_empty = not (self.is_tag or self.strokes or len(self._dots))

    # -- what there is -------------------------------------------------------------------------------

    def _from_mask(self, mask: Rle) -> None:
        wide, high = self.size
        if mask.size[0] > high or mask.size[1] > wide:
            mask = rle.resize(mask, (high, wide))
        x, y, width, height = rle.bbox(mask)
        if not width:
            return
        pixels = rle.decode(mask)[y : y + height, x : x + width]
        scale = np.array([wide / mask.size[1], high / mask.size[0]])
        window = int(max(3, self.style.line_px * 1.5)) | 1
        step = max(1, round(self.style.line_px / max(scale) * 0.8))
        for line in contours(pixels):
            smoothed = smooth(line, window)
            self.strokes.append((smoothed[:: step if len(smoothed) > 12 * step else 1] + np.array([x, y])) * scale)
        corner = np.floor(np.array([x, y]) * scale).astype(int)
        far = np.ceil(np.array([x + width, y + height]) * scale).astype(int)
        filling = Image.fromarray(pixels.astype(np.uint8) * 255)
        to = int(far[0] - corner[0]), int(far[1] - corner[1])
        self._filling = (
            (filling if filling.size == to else filling.resize(to, Image.Resampling.BILINEAR)),
            (
                int(corner[0]),
                int(corner[1]),
            ),
        )

    def _from_polygon(self, parts: Sequence[Sequence[Sequence[Point]]]) -> None:
        rings = [np.array(ring, np.float64) * self.size for part in parts for ring in part if len(ring) >= 2]
        if not rings:
            return
        self.strokes, self.angular = rings, True
        every = np.concatenate(rings)
        corner = np.floor(every.min(axis=0)).astype(int)
        to = np.ceil(every.max(axis=0)).astype(int) - corner + 1
        filling = Image.new("1", (int(to[0]), int(to[1])))
        for ring in rings:  # what is within an even number of rings is a hole
            inside = Image.new("1", filling.size)
            ImageDraw.Draw(inside).polygon((ring - corner).ravel().tolist(), fill=1)
            filling = ImageChops.logical_xor(filling, inside)
        self._filling = filling.convert("L"), (int(corner[0]), int(corner[1]))

    def _from_box(self, box: tuple[float, float, float, float]) -> None:
        x, y, width, height = np.array(box) * (*self.size, *self.size)
        corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
        self.strokes, self.angular = [np.clip(corners, 0, np.array(self.size) - 1)], True

    @cached_property
    def bounds(self) -> Rectangle:
        reach = 3 * self.style.line_px  # of a dot
        every = np.concatenate([*self.strokes, self._dots - reach, self._dots + reach])
        if not len(every):
            return 0, 0, 0, 0
        (left, top), (right, bottom) = every.min(axis=0), every.max(axis=0)
        return float(left), float(top), float(right), float(bottom)

    @property
    def extent(self) -> float:
        """Of its box, in square pixels; a tag is larger than everything."""
        left, top, right, bottom = self.bounds
        return float("inf") if self.is_tag else (right - left) * (bottom - top)

    @property
    def plate(self) -> Plate:
        item = self.item
        number = f"#{item.number}" if item.number is not None else ""
        score = f"{item.score:.2f}" if item.score is not None else ""
        texts = ["  ".join(filter(None, (item.label, number, score))), "  ".join(filter(None, (item.label, number)))]
        texts += [number or score or item.label[:1]]
        return Plate(
            texts=tuple(dict.fromkeys(texts)),
            of=None if self.is_tag else self.bounds,
            colour=self.colour,
            state=item.state,
            occluded=item.occluded,
        )

    # -- drawing it ----------------------------------------------------------------------------------

    def fill(self, image: Image.Image) -> None:
        if self._filling is not None and self.item.state in _FILLING:
            filling, corner = self._filling
            image.paste(self.colour, corner, filling.point(_FILLING[self.item.state]))

    def outline(self, pen: _Pen) -> None:
        width, seam = self.style.line_px * 1.3, self.style.line_px * 0.45
        lines = [np.concatenate([line, line[:2]]) for line in self.strokes]
        if self.item.state is State.PROPOSED:
            lines = [dash for line in lines for dash in _dashes(line, 5 * width + 2, 4 * width + 2)]
        if self.item.state is State.REJECTED and self.strokes:
            lines += _cross(self.bounds)
        for colour, wide in ((_DARK, width + 4 * seam), (_LIGHT, width + 2 * seam), (self.colour, width)):
            for line in lines:
                pen.line(line, colour, wide, rounded=self.angular)
        for dot in self._dots:
            for colour, radius in (
                (_DARK, 2.2 * width + 2 * seam),
                (_LIGHT, 2.2 * width + seam),
                (self.colour, 2.2 * width),
            ):
                pen.disc(dot, radius, colour)


def _dashes(line: Float, on_px: float, off_px: float) -> list[Float]:
    """Pieces of a closed line, as many as fit without a seam."""
    lengths = np.hypot(*np.diff(line, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    whole = float(along[-2])  # the last step goes over the first one again
    count = int(whole // (on_px + off_px))
    if count < 2:
        return [line]
    period = whole / count
    dashes = []
    for begin in np.arange(count) * period:
        end = begin + period * on_px / (on_px + off_px)
        inner = along[(along > begin) & (along < end)]
        at = np.concatenate([[begin], inner, [end]])
        dashes.append(np.column_stack([np.interp(at, along, line[:, axis]) for axis in (0, 1)]))
    return dashes


def _cross(bounds: Rectangle) -> list[Float]:
    left, top, right, bottom = bounds
    return [np.array([(left, top), (right, bottom)]), np.array([(left, bottom), (right, top)])]


def _usual_colour(item: Drawn) -> str:
    return track_colour(item.number if item.number is not None else zlib.crc32(item.label.encode()) % len(PALETTE) + 1)


def _rgb(colour: str) -> Rgb:
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue
