"""Points of a picture that is turned by right angles or mirrored, as a video's display matrix does it to its pictures.

Fractions of the picture, [..., 2] of x and y, before and after. The order is that of `argus_ray.video.geometry`: mirrored
first, top to bottom, then turned clockwise.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]


def turn(points: npt.ArrayLike, clockwise: int, *, mirrored: bool = False) -> Float:
    """Raises ValueError unless `clockwise` is a multiple of 90."""
    x, y = _coordinates(points)
    return _turned(x, 1 - y if mirrored else y, clockwise)


def turn_back(points: npt.ArrayLike, clockwise: int, *, mirrored: bool = False) -> Float:
    """The inverse of `turn`."""
    x, y = _coordinates(_turned(*_coordinates(points), -clockwise))
    return np.stack([x, 1 - y if mirrored else y], axis=-1)


def _coordinates(points: npt.ArrayLike) -> tuple[Float, Float]:
    xy = np.asarray(points, dtype=np.float64)
    return xy[..., 0], xy[..., 1]


def _turned(x: Float, y: Float, clockwise: int) -> Float:
    match clockwise % 360:
        case 0:
            turned = x, y
        case 90:
            turned = 1 - y, x
        case 180:
            turned = 1 - x, 1 - y
        case 270:
            turned = y, 1 - x
        case _:
            raise ValueError(f"pictures are turned by 0, 90, 180 or 270 degrees, not by {clockwise}")
    return np.stack(turned, axis=-1)
