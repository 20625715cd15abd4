"""The ten things that are drawn, each a list of filled polygons in the square [-1, 1]² with y pointing down.

Curves are polygons with many corners, so that moving, turning, mirroring and squashing a thing is one affine map and its
mask is exact. `BODY` stands for the thing's own colour, by which it is named; every other colour is fixed.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]  # [corners, 2], x then y
BODY = (-1, -1, -1)

TYRE = (30, 30, 34)
WINDOW = (186, 222, 240)
WOOD = (118, 76, 44)
SKIN = (236, 196, 164)
CLOTH = (240, 234, 220)
BRIGHT = (255, 255, 255)


def oval(x: float, y: float, half_width: float, half_height: float, corners: int = 24) -> Points:
    turn = np.linspace(0, 2 * math.pi, corners, endpoint=False)
    return np.column_stack((x + half_width * np.cos(turn), y + half_height * np.sin(turn)))


def box(left: float, top: float, right: float, bottom: float) -> Points:
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], dtype=np.float64)


def corners(*points: tuple[float, float]) -> Points:
    return np.array(points, dtype=np.float64)


def star_points(tips: int, inner: float) -> Points:
    turn = np.arange(2 * tips) * math.pi / tips
    radius = np.where(np.arange(2 * tips) % 2 == 0, 1.0, inner)
    return np.column_stack((radius * np.sin(turn), -radius * np.cos(turn)))


SHAPES: dict[str, list[tuple[Points, tuple[int, int, int]]]] = {
    # low, with a cabin in the middle and two large wheels
    "car": [
        (corners((-0.56, -0.04), (-0.3, -0.5), (0.36, -0.5), (0.64, -0.04)), BODY),
        (corners((-1, 0), (-0.9, -0.1), (0.94, -0.1), (1, 0.06), (1, 0.4), (-1, 0.4)), BODY),
        (corners((-0.4, -0.1), (-0.22, -0.4), (0.0, -0.4), (0.0, -0.1)), WINDOW),
        (corners((0.1, -0.1), (0.1, -0.4), (0.3, -0.4), (0.46, -0.1)), WINDOW),
        (oval(-0.54, 0.4, 0.25, 0.25), TYRE),
        (oval(0.56, 0.4, 0.25, 0.25), TYRE),
    ],
    # a tall box with a row of windows
    "bus": [
        (box(-1, -0.74, 1, 0.6), BODY),
        (box(-0.86, -0.56, -0.5, -0.1), WINDOW),
        (box(-0.4, -0.56, -0.04, -0.1), WINDOW),
        (box(0.06, -0.56, 0.42, -0.1), WINDOW),
        (box(0.54, -0.56, 0.86, 0.5), WINDOW),
        (oval(-0.56, 0.62, 0.22, 0.22), TYRE),
        (oval(0.24, 0.62, 0.22, 0.22), TYRE),
    ],
    # round, with a light spot
    "ball": [(oval(0, 0, 0.88, 0.88, corners=40), BODY), (oval(-0.32, -0.36, 0.2, 0.18), BRIGHT)],
    # three storeys of needles on a trunk
    "tree": [
        (box(-0.13, 0.56, 0.13, 1), WOOD),
        (corners((0, -0.3), (0.84, 0.62), (-0.84, 0.62)), BODY),
        (corners((0, -0.66), (0.66, 0.22), (-0.66, 0.22)), BODY),
        (corners((0, -1), (0.48, -0.22), (-0.48, -0.22)), BODY),
    ],
    # walls, a wide roof, a door and a window
    "house": [
        (box(-0.78, -0.1, 0.78, 0.92), BODY),
        (corners((-1, -0.08), (0, -0.94), (1, -0.08)), WOOD),
        (box(-0.46, 0.3, -0.06, 0.92), TYRE),
        (box(0.2, 0.16, 0.58, 0.52), WINDOW),
    ],
    "star": [(star_points(5, inner=0.42), BODY)],
    # four legs, a head to the right, a tail to the left
    "dog": [
        (corners((-0.52, -0.12), (-0.94, -0.64), (-0.8, -0.72), (-0.38, -0.2)), BODY),
        (box(-0.62, 0.1, -0.42, 0.86), BODY),
        (box(-0.28, 0.1, -0.1, 0.86), BODY),
        (box(0.14, 0.1, 0.32, 0.86), BODY),
        (box(0.4, 0.1, 0.6, 0.86), BODY),
        (oval(-0.02, 0.02, 0.66, 0.34), BODY),
        (oval(0.6, -0.42, 0.3, 0.28), BODY),
        (box(0.66, -0.44, 1, -0.2), BODY),
        (corners((0.36, -0.56), (0.4, -0.98), (0.62, -0.66)), BODY),
        (oval(0.68, -0.48, 0.06, 0.06), TYRE),
    ],
    # a lens with a forked tail and a fin
    "fish": [
        (corners((-0.44, 0), (-1, -0.54), (-0.8, 0), (-1, 0.54)), BODY),
        (corners((-0.16, -0.34), (0.12, -0.8), (0.36, -0.34)), BODY),
        (oval(0.18, 0, 0.76, 0.48), BODY),
        (oval(0.6, -0.12, 0.13, 0.13), BRIGHT),
        (oval(0.63, -0.12, 0.06, 0.06), TYRE),
    ],
    # a hull under a mast with two sails of cloth
    "boat": [
        (box(-0.06, -0.96, 0.06, 0.26), WOOD),
        (corners((0.1, -0.9), (0.1, 0.12), (0.78, 0.12)), CLOTH),
        (corners((-0.1, -0.7), (-0.1, 0.12), (-0.66, 0.12)), CLOTH),
        (corners((-1, 0.22), (1, 0.22), (0.66, 0.9), (-0.66, 0.9)), BODY),
    ],
    # upright, arms apart, in a coloured shirt
    "person": [
        (oval(0, -0.76, 0.22, 0.24), SKIN),
        (corners((-0.22, -0.48), (-0.62, 0.08), (-0.46, 0.18), (-0.14, -0.2)), BODY),
        (corners((0.22, -0.48), (0.62, 0.08), (0.46, 0.18), (0.14, -0.2)), BODY),
        (box(-0.3, -0.52, 0.3, 0.3), BODY),
        (box(-0.26, 0.3, -0.04, 1), TYRE),
        (box(0.04, 0.3, 0.26, 1), TYRE),
    ],
}
