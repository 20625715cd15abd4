"""The six grounds that things stand on: a colour, large patches of light and shade, and a texture of its own each.

Textures are made in fractions of the picture, so that a ground looks the same at every size.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

COLOURS = {
    "grass": (104, 156, 74),
    "sand": (222, 196, 146),
    "water": (78, 148, 184),
    "snow": (226, 233, 240),
    "road": (116, 116, 122),
    "brick": (168, 104, 88),
}
GROUNDS = tuple(COLOURS)

_ROWS = 120  # the finest grain, as rows of a picture


def draw_ground(kind: str, seed: int, width: int, height: int) -> Image.Image:
    """One ground as an RGB picture; the same seed gives the same ground at every size."""
    rng = np.random.default_rng(seed)
    y, x = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")
    colour = np.array(COLOURS[kind]) + rng.normal(0, 6, 3)
    shade = 26 * _clouds(rng, 4, width, height) + 14 * _clouds(rng, 13, width, height)
    picture = (colour + (shade + _texture(kind, rng, x, y))[..., None]).astype(np.float32)
    if kind == "road":
        lane, dash = rng.uniform(0.25, 0.75), rng.uniform(0, 1)
        picture[(np.abs(y - lane) < 0.016) & ((x * 5 + dash) % 1 < 0.5)] = (228, 226, 218)
    elif kind == "brick":
        rows = int(rng.integers(8, 13))
        row = np.floor(y * rows)
        picture[((y * rows) % 1 < 0.1) | ((x * rows * 0.5 + 0.5 * (row % 2)) % 1 < 0.05)] = (200, 192, 184)
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))


def _texture(
    kind: str, rng: np.random.Generator, x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Brightness that is added to the colour [H, W]: grain, or waves on water."""
    if kind == "water":
        waves, phase = rng.uniform(24, 40), rng.uniform(0, 6)
        ripple: NDArray[np.float64] = 15 * np.sin(waves * y + 1.5 * np.sin(9 * x + phase) + phase)
        return ripple
    height, width = x.shape
    grain = {"grass": 40, "sand": 24, "road": 18, "snow": 5, "brick": 8}[kind]
    return grain * _clouds(rng, _ROWS, width, height)


def _clouds(rng: np.random.Generator, rows: int, width: int, height: int) -> NDArray[np.float64]:
    """Smooth noise within ±0.5 [height, width]: `rows` random values down (and as many across), joined smoothly."""
    values = Image.fromarray(rng.integers(0, 256, (rows, rows), dtype=np.uint8))
    smooth = np.asarray(values.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float64)
    return smooth / 255 - 0.5
