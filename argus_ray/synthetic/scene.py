"""A scene of the drawn world: what there is, where, and its picture with an exact mask of every thing.

The demo, the tests and the training of the demo weights all look at this world. It is small on purpose: eight colours,
ten shapes, six grounds, so that a model of a few megabytes can know it. Nothing is random but through the generator that
the caller passes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from argus_ray.synthetic.grounds import GROUNDS, draw_ground
from argus_ray.synthetic.shapes import BODY, SHAPES

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 36, 40),
    "blue": (36, 80, 214),
    "green": (30, 150, 58),
    "yellow": (246, 214, 36),
    "orange": (246, 134, 24),
    "purple": (140, 50, 180),
    "white": (244, 244, 244),
    "black": (34, 34, 38),
}

HELD_OUT = frozenset({
    ("red", "bus"), ("red", "fish"), ("blue", "ball"), ("blue", "house"),
    ("green", "dog"), ("green", "car"), ("yellow", "star"), ("yellow", "boat"),
    ("orange", "tree"), ("orange", "person"), ("purple", "car"), ("purple", "ball"),
    ("white", "dog"), ("white", "star"), ("black", "boat"), ("black", "bus"),
})  # fmt: skip
"""A fifth of all pairs: no picture and no sentence of the training holds them. They tell whether a model has learnt
colours and shapes or has learnt pairs by heart."""

_OUTLINE = (24, 24, 28)
_SUPERSAMPLING = 2


@dataclass(frozen=True)
class Thing:
    """One thing of a scene. `x`, `y` (its centre) and `size` (half its height) are fractions of the picture."""

    id: int
    colour: str
    shape: str
    rgb: tuple[int, int, int]
    x: float
    y: float
    size: float
    angle: float
    mirrored: bool

    def at(self, x: float, y: float) -> Thing:
        return replace(self, x=x, y=y)


@dataclass(frozen=True)
class Scene:
    ground: str
    ground_seed: int
    things: tuple[Thing, ...]


@dataclass(frozen=True)
class Drawing:
    """`rgb` uint8 [H, W, 3]; `ids` uint8 [H, W] says which thing is seen at a pixel, 0 where it is the ground."""

    rgb: NDArray[np.uint8]
    ids: NDArray[np.uint8]


def any_pair(colour: str, shape: str) -> bool:  # noqa: ARG001 - the rule that allows everything
    return True


def training_pair(colour: str, shape: str) -> bool:
    return (colour, shape) not in HELD_OUT


def random_scene(
    rng: np.random.Generator,
    things: int | tuple[int, int] = (1, 2),
    sizes: tuple[float, float] = (0.14, 0.36),
    allow: Callable[[str, str], bool] = any_pair,
    aspect: float = 16 / 9,
) -> Scene:
    """A scene of so many things (or of a number between two) that do not cover each other.

    Half the further things share the shape or the colour of an earlier one, so that "red car" has to be told from a red
    ball beside a blue car. `aspect` is the shown width over height. A thing for which no place is found is left out.
    """
    wanted = things if isinstance(things, int) else int(rng.integers(things[0], things[1] + 1))
    placed: list[Thing] = []
    for _ in range(wanted):
        colour, shape = _pair(rng, placed, allow)
        for _attempt in range(20):
            thing = _place(rng, len(placed) + 1, colour, shape, sizes, aspect)
            if all(_apart(thing, other, aspect) for other in placed):
                placed.append(thing)
                break
    return Scene(str(rng.choice(GROUNDS)), int(rng.integers(2**31)), tuple(placed))


def _pair(rng: np.random.Generator, placed: list[Thing], allow: Callable[[str, str], bool]) -> tuple[str, str]:
    like = placed[rng.integers(len(placed))] if placed else None
    kinship = rng.random() if like else 1.0
    while True:
        colour = like.colour if like and kinship < 0.25 else str(rng.choice(list(COLOURS)))
        shape = like.shape if like and 0.25 <= kinship < 0.5 else str(rng.choice(list(SHAPES)))
        if allow(colour, shape):
            return colour, shape


def _place(
    rng: np.random.Generator, number: int, colour: str, shape: str, sizes: tuple[float, float], aspect: float
) -> Thing:
    size = float(rng.uniform(*sizes))
    margin_x, margin_y = min(0.9 * size / aspect, 0.45), min(0.9 * size, 0.45)
    return Thing(
        id=number,
        colour=colour,
        shape=shape,
        rgb=_tint(rng, COLOURS[colour]),
        x=float(rng.uniform(margin_x, 1 - margin_x)),
        y=float(rng.uniform(margin_y, 1 - margin_y)),
        size=size,
        angle=float(rng.normal(0, 0.1)),
        mirrored=bool(rng.random() < 0.5),
    )


def _tint(rng: np.random.Generator, colour: tuple[int, int, int]) -> tuple[int, int, int]:
    red, green, blue = (int(v) for v in np.clip(np.array(colour) + rng.normal(0, 7, 3), 0, 255))
    return red, green, blue


def _apart(one: Thing, other: Thing, aspect: float) -> bool:
    distance = math.hypot((one.x - other.x) * aspect, one.y - other.y)
    return distance > 0.95 * (one.size + other.size)


def render(scene: Scene, width: int, height: int, aspect: float | None = None) -> Drawing:
    """The picture of a scene. With `aspect` it is squashed: a picture of that shown shape, resized to width x height."""
    return draw_things(canvas(scene, width, height), scene.things, aspect)


def canvas(scene: Scene, width: int, height: int) -> Image.Image:
    """The ground of a scene, twice as large as the picture will be: things drawn on it come out with smooth edges."""
    ground = draw_ground(scene.ground, scene.ground_seed, width, height)
    return ground.resize((width * _SUPERSAMPLING, height * _SUPERSAMPLING), Image.Resampling.BILINEAR)


def draw_things(canvas: Image.Image, things: tuple[Thing, ...], aspect: float | None = None) -> Drawing:
    """Things on a canvas, which is left as it is; later things cover earlier ones."""
    picture = canvas.copy()
    wide, high = picture.size
    ids = Image.new("L", picture.size, 0)
    colour_pen, id_pen = ImageDraw.Draw(picture), ImageDraw.Draw(ids)
    for thing in things:
        parts = [(_on_canvas(points, thing, wide, high, aspect), colour) for points, colour in SHAPES[thing.shape]]
        stroke = max(2, round(thing.size * high * 0.05))
        for polygon, _ in parts:  # first all outlines, then all fillings: what is left is the outline of the whole
            for pen, ink in ((colour_pen, _OUTLINE), (id_pen, thing.id)):
                pen.polygon(polygon, fill=ink)
                pen.line([*polygon, polygon[0], polygon[1]], fill=ink, width=stroke, joint="curve")
        for polygon, colour in parts:
            colour_pen.polygon(polygon, fill=thing.rgb if colour == BODY else colour)
    return Drawing(
        rgb=np.asarray(picture.reduce(_SUPERSAMPLING)),
        ids=np.asarray(ids)[::_SUPERSAMPLING, ::_SUPERSAMPLING].copy(),
    )


def _on_canvas(
    points: NDArray[np.float64], thing: Thing, width: int, height: int, aspect: float | None
) -> list[tuple[float, float]]:
    """Corners of a part in pixels of the canvas: mirrored, turned, scaled, moved, and squashed with the picture."""
    x, y = points[:, 0] * (-1 if thing.mirrored else 1), points[:, 1]
    cos, sin = math.cos(thing.angle), math.sin(thing.angle)
    unit_x = width / (aspect or width / height)
    canvas_x = thing.x * width + (cos * x - sin * y) * thing.size * unit_x
    canvas_y = thing.y * height + (sin * x + cos * y) * thing.size * height
    return list(zip(canvas_x.tolist(), canvas_y.tolist(), strict=True))
