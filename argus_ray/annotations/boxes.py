"""Boxes: x, y, width, height as fractions of the displayed picture, origin top left; in arrays [..., 4], one or many."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from argus_ray.annotations import turning

Float = npt.NDArray[np.float64]
Size = tuple[int, int]  # height, width in pixels


def to_pixels(boxes: npt.ArrayLike, size: Size) -> Float:
    """Fractions x, y, width, height -> pixels left, top, right, bottom, unrounded."""
    return corners(boxes) * _scale(size)


def from_pixels(boxes: npt.ArrayLike, size: Size) -> Float:
    """Pixels left, top, right, bottom -> fractions x, y, width, height."""
    return from_corners(np.asarray(boxes, dtype=np.float64) / _scale(size))


def corners(boxes: npt.ArrayLike) -> Float:
    """x, y, width, height -> left, top, right, bottom."""
    xywh = np.asarray(boxes, dtype=np.float64)
    return np.concatenate([xywh[..., :2], xywh[..., :2] + xywh[..., 2:]], axis=-1)


def from_corners(boxes: npt.ArrayLike) -> Float:
    """left, top, right, bottom -> x, y, width, height."""
    xyxy = np.asarray(boxes, dtype=np.float64)
    return np.concatenate([xyxy[..., :2], xyxy[..., 2:] - xyxy[..., :2]], axis=-1)


def clip(boxes: npt.ArrayLike) -> Float:
    """What of them lies in the picture; of one that lies outside nothing is left, a width or height of 0."""
    return from_corners(np.clip(corners(boxes), 0, 1))


def iou(a: npt.ArrayLike, b: npt.ArrayLike) -> Float:
    """Intersection over union of each with each, [len(a), len(b)]; 0 where both are empty."""
    ours, theirs = (corners(side).reshape(-1, 4) for side in (a, b))
    low = np.maximum(ours[:, None, :2], theirs[None, :, :2])
    high = np.minimum(ours[:, None, 2:], theirs[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=-1)
    areas_ours, areas_theirs = ((side[:, 2:] - side[:, :2]).prod(axis=-1) for side in (ours, theirs))
    either = areas_ours[:, None] + areas_theirs - common
    result: Float = np.divide(common, either, out=np.zeros_like(common), where=either > 0)
    return result


def turn(boxes: npt.ArrayLike, clockwise: int, *, mirrored: bool = False) -> Float:
    """Where they are when their picture is mirrored top to bottom, if it is, then turned clockwise by right angles."""
    return _spanning(turning.turn(_as_points(boxes), clockwise, mirrored=mirrored))


def turn_back(boxes: npt.ArrayLike, clockwise: int, *, mirrored: bool = False) -> Float:
    """The inverse of `turn`."""
    return _spanning(turning.turn_back(_as_points(boxes), clockwise, mirrored=mirrored))


def between(a: npt.ArrayLike, b: npt.ArrayLike, share: npt.ArrayLike) -> Float:
    """The boxes that lie `share` (0 to 1) of the way from a to b, in a straight line; exactly a at 0 and b at 1."""
    first, last, part = (np.asarray(side, dtype=np.float64) for side in (a, b, share))
    part = part[..., None]
    return first * (1 - part) + last * part


def _scale(size: Size) -> Float:
    height, width = size
    return np.array([width, height, width, height], dtype=np.float64)


def _as_points(boxes: npt.ArrayLike) -> Float:
    xyxy = corners(boxes)
    return xyxy.reshape(*xyxy.shape[:-1], 2, 2)


def _spanning(points: Float) -> Float:
    """The boxes between two opposite corners each, [..., 2, 2]."""
    return from_corners(np.concatenate([points.min(axis=-2), points.max(axis=-2)], axis=-1))
