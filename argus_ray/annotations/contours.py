"""The outline of a mask as closed lines of points.

Every border between a pixel of the mask and one beside it is an edge with a direction, the mask to its right. An edge is
followed by the one that begins where it ends; where two begin (pixels that touch at a corner alone), by the one around
the same pixel. The order along each line is found by pointer jumping, twenty vector operations for any mask, where
walking costs a step of Python for each pixel.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt

Bool = npt.NDArray[np.bool_]
Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]

_RIGHT, _DOWN, _LEFT, _UP = range(4)


def contours(mask: Bool) -> list[Int]:
    """Mask [H, W] -> closed lines [N, 2] of x, y: the corners of its pixels, a step of one pixel apart, N at least 4.

    Clockwise on the screen around what is in the mask, the other way round around holes.
    """
    starts, stops, directions = _edges(np.pad(mask, 1))
    if not len(starts):
        return []
    width = mask.shape[1] + 1
    following = _following(starts, stops, directions)
    line, place = _ranked(following)
    order = np.lexsort((place, line))
    y, x = np.divmod(starts[order], width)
    cuts = np.flatnonzero(np.diff(line[order])) + 1
    return np.split(np.column_stack((x, y)), cuts)


def smooth(line: Int | Float, window: int) -> Float:
    """A closed line without its stairs: the mean of `window` (odd) neighbours of the middles of its steps."""
    middles = (line + np.roll(line, -1, axis=0)) / 2
    if window < 3 or len(line) <= 2 * window:
        return middles
    around = np.concatenate([middles[-(window // 2) :], middles, middles[: window // 2]])
    total = np.cumsum(np.concatenate([np.zeros((1, 2)), around]), axis=0)
    return cast("Float", (total[window:] - total[:-window]) / window)


def _edges(padded: Bool) -> tuple[Int, Int, Int]:
    """Corners where each edge begins and ends, numbered row by row, and its direction."""
    inside, width = padded[1:-1, 1:-1], padded.shape[1] - 1
    beside = {
        _RIGHT: padded[:-2, 1:-1],  # along the top of a pixel with nothing above it
        _DOWN: padded[1:-1, 2:],
        _LEFT: padded[2:, 1:-1],
        _UP: padded[1:-1, :-2],
    }
    begin = {_RIGHT: 0, _DOWN: 1, _LEFT: width + 1, _UP: width}  # from the pixel's top left corner
    step = {_RIGHT: 1, _DOWN: width, _LEFT: -1, _UP: -width}
    starts, stops, directions = [], [], []
    for direction, other in beside.items():
        y, x = np.nonzero(inside & ~other)
        start = y * width + x + begin[direction]
        starts.append(start)
        stops.append(start + step[direction])
        directions.append(np.full(len(start), direction))
    return np.concatenate(starts), np.concatenate(stops), np.concatenate(directions)


def _following(starts: Int, stops: Int, directions: Int) -> Int:
    """The place of each edge's next one: a turn to the right before straight on before a turn to the left."""
    keys = starts * 4 + directions
    order = np.argsort(keys)
    ordered = keys[order]
    following = np.full(len(keys), -1)
    for turn in (-1, 0, 1):  # the last one that exists wins
        wanted = stops * 4 + (directions + turn) % 4
        at = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
        exists = ordered[at] == wanted
        following[exists] = order[at[exists]]
    return following


def _ranked(following: Int) -> tuple[Int, Int]:
    """Of each edge the line that it is on (the least place there), and its place along it, from that one on."""
    count = len(following)
    line, jump = np.arange(count), following
    for _ in range(count.bit_length()):
        line = np.minimum(line, line[jump])
        jump = jump[jump]
    is_first = line == np.arange(count)
    left = np.where(is_first, 0, 1)  # steps until the line's first edge comes again
    jump = np.where(is_first, np.arange(count), following)
    for _ in range(count.bit_length()):
        left = left + left[jump]
        jump = jump[jump]
    return line, np.where(is_first, -count - 1, -left)
