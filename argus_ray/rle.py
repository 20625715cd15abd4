"""Masks as run lengths: the compressed COCO encoding, byte for byte as pycocotools writes it, with numpy alone.

The runs go down the columns of a mask and alternate, zeros first (a run of no zeros where the mask begins with a one).
From the fourth on, a run is written as its difference to the one two before it. A number becomes groups of five bits,
the lowest first, as characters from "0" (48) on: bit 5 says that another group follows, bit 4 of the last is the sign.

Nothing here transposes a mask. Where a column changes is found row by row, which a processor does sixteen and more
pixels at a time, and only the changes, few, are sorted into the order of columns; decoding goes the same way back.
What can be answered from the runs (area, box, IoU, union, another size) never makes pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from argus_ray.errors import InvalidRequest

Bool = npt.NDArray[np.bool_]
Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]

Size = tuple[int, int]  # height, width

MAX_SIDE = 65_535
_AT_ONCE_PIXELS = 1 << 25  # of many masks, so many are looked at together
_GROUPS = 7  # 35 bits hold every run of a picture within MAX_SIDE


@dataclass(frozen=True, slots=True)
class Rle:
    """A mask: `size` is (height, width) in pixels, `counts` the compressed runs, ASCII."""

    size: Size
    counts: str


# -- pixels to runs and back ---------------------------------------------------------------------


def encode(mask: npt.NDArray[Any]) -> Rle:
    """A mask, [H, W], bool or anything whose ones are not zero."""
    return encode_many(mask[None])[0]


def encode_many(masks: npt.NDArray[Any]) -> list[Rle]:
    """Masks of one size, [N, H, W], each as an Rle: many small ones cost little more than their pixels."""
    count, height, width = masks.shape
    pixels = height * width
    if not pixels:
        raise ValueError(f"a mask of {height} x {width} pixels has none: there is nothing to encode")
    step = max(1, _AT_ONCE_PIXELS // pixels)
    packed = [
        _pack(*_runs_of(np.ascontiguousarray(masks[first : first + step], dtype=np.bool_)))
        for first in range(0, count, step)
    ]
    return [Rle((height, width), text) for texts in packed for text in texts]


def decode(rle: Rle) -> Bool:
    """The mask, bool [H, W], contiguous. Raises InvalidRequest as `check` does."""
    height, width = rle.size
    edges = _edges(rle)
    columns, rows = np.divmod(edges[edges < height * width], height)
    mask = np.zeros((height, width), dtype=np.bool_)
    if not columns.size:
        return mask
    left, right = columns[0], columns[-1] + 1
    toggles = mask.view(np.uint8)[:, left:right]
    # ufunc.at counts an edge twice where a run is empty; so two edges at one pixel cancel each other
    np.bitwise_xor.at(toggles, (rows, columns - left), 1)
    # a column begins in the state in which the one before it ended
    before = np.searchsorted(edges, np.arange(left, right) * height) & 1
    toggles[0] ^= before.astype(np.uint8)
    np.bitwise_xor.accumulate(toggles, axis=0, out=toggles)
    if right < width and len(edges) and np.count_nonzero(edges < height * width) & 1:
        mask[:, right:] = True  # the last run of ones reaches the end
    return mask


def from_uncompressed(counts: Sequence[int], size: Size) -> Rle:
    """From run lengths as a list, as COCO has them for crowds. Raises InvalidRequest when they are no mask of `size`."""
    height, width = _checked_size(size)
    if len(counts) > height * width + 1:
        raise InvalidRequest(_too_many(len(counts), "runs", size))
    if any(type(run) is not int or not 0 <= run <= height * width for run in counts):
        raise InvalidRequest(
            f"the mask's counts are not whole numbers from 0 to {height * width}: give the lengths of its runs"
        )
    runs = np.array(counts, dtype=np.int64)
    _check_sum(runs, size)
    return _from_edges(np.cumsum(runs)[:-1], size)


# -- what runs tell by themselves ----------------------------------------------------------------


def area(rle: Rle) -> int:
    """Pixels of the mask."""
    return int(_runs(rle)[1::2].sum())


def bbox(rle: Rle) -> tuple[int, int, int, int]:
    """x, y, width, height in pixels of the smallest box around it; four zeros for an empty mask."""
    return _box(_intervals(rle), rle.size[0])


def iou(a: Sequence[Rle], b: Sequence[Rle]) -> Float:
    """Intersection over union of each with each, [len(a), len(b)]; 0 where both are empty.

    The pixels of one mask before position t are a line with corners at its edges: the intersection with a run is the
    difference of two of that line's values. So one interpolation answers for all masks whose boxes meet.
    Raises ValueError when the masks are not all of one size.
    """
    sizes = {one.size for one in (*a, *b)}
    if len(sizes) > 1:
        raise ValueError(f"masks of different sizes cannot be compared: {sorted(sizes)}")
    result = np.zeros((len(a), len(b)))
    if not result.size:
        return result
    height = sizes.pop()[0]
    runs_a, runs_b = ([_intervals(one) for one in side] for side in (a, b))
    boxes_a, boxes_b = (np.array([_box(one, height) for one in side]) for side in (runs_a, runs_b))
    areas_b = np.array([_length(one) for one in runs_b])
    meet = _meet(boxes_a, boxes_b)
    for row, ours in enumerate(runs_a):
        others = np.flatnonzero(meet[row])
        if not others.size:
            continue
        theirs = [runs_b[other] for other in others]
        before = np.concatenate([[0], np.cumsum(ours[:, 1] - ours[:, 0])])
        corners = np.interp(np.concatenate(theirs).ravel(), ours.ravel(), np.repeat(before, 2)[1:-1])
        starts = np.concatenate([[0], np.cumsum([len(one) for one in theirs])[:-1]])
        common = np.add.reduceat(corners[1::2] - corners[::2], starts)
        result[row, others] = common / (before[-1] + areas_b[others] - common)
    return result


def union(rles: Sequence[Rle]) -> Rle:
    """The pixels of any of them. Raises ValueError when there are none, or of different sizes."""
    return _at_least(1, rles)


def intersection(rles: Sequence[Rle]) -> Rle:
    """The pixels of all of them. Raises ValueError when there are none, or of different sizes."""
    return _at_least(len(rles), rles)


def resize(rle: Rle, size: Size) -> Rle:
    """The mask at another size (height, width), by the nearest pixel: a new pixel's centre asks which old one it is in.

    The new row y lies in the old row floor((y + 1/2) h / H), so that a run from s to e becomes one from
    ceil(s H / h - 1/2) to ceil(e H / h - 1/2).
    """
    (height, width), (new_height, new_width) = rle.size, _checked_size(size)
    if (height, width) == (new_height, new_width):
        return rle
    columns, tops, bottoms = _by_column(_intervals(rle), height)
    tops, bottoms = (_scaled(rows, height, new_height) for rows in (tops, bottoms))
    lefts, rights = _scaled(columns, width, new_width), _scaled(columns + 1, width, new_width)
    times = np.where(bottoms > tops, rights - lefts, 0)
    new_columns = np.repeat(lefts - np.concatenate([[0], np.cumsum(times)[:-1]]), times) + np.arange(times.sum())
    starts = new_columns * new_height + np.repeat(tops, times)
    ends = new_columns * new_height + np.repeat(bottoms, times)
    return _from_edges(np.sort(np.concatenate([starts, ends])), size)


def _at_least(number: int, rles: Sequence[Rle]) -> Rle:
    sizes = {one.size for one in rles}
    if len(sizes) != 1:
        raise ValueError(f"masks of one size are needed, and there are {len(rles)} of the sizes {sorted(sizes)}")
    runs = np.concatenate([_intervals(one) for one in rles])
    at = runs.ravel()
    order = np.argsort(at, kind="stable")
    inside = np.cumsum(np.where(order & 1, -1, 1)) >= number
    last_of_its_place = np.append(np.diff(at[order]) > 0, True)[: len(at)]
    inside, at = inside[last_of_its_place], at[order][last_of_its_place]
    return _from_edges(at[np.diff(inside, prepend=False)], sizes.pop())


# -- hostile and foreign strings -----------------------------------------------------------------


def check(rle: Rle, size: Size) -> None:
    """That it is a mask of a picture of `size` (height, width).

    Raises InvalidRequest where its size is another, its counts hold characters that are no counts, or don't add up.
    A string too long to be one is refused unread.
    """
    height, width = _checked_size(rle.size)
    if rle.size != tuple(size):
        raise InvalidRequest(
            f"the mask's size is {height} x {width} (height x width) and the picture's is {size[0]} x {size[1]}: "
            "send the mask at the size at which the video is displayed",
            mask_size=[height, width],
            picture_size=list(size),
        )
    _runs(rle)


def _checked_size(size: Size) -> Size:
    if len(size) == 2 and all(type(side) is int and 0 < side <= MAX_SIDE for side in size):
        return size
    told = " x ".join(str(side)[:20] for side in size[:3])
    raise InvalidRequest(f"a mask's size is two whole numbers from 1 to {MAX_SIDE}, height and width, and not {told}")


def _too_many(number: int, what: str, size: Size) -> str:
    return f"the mask's counts have {number} {what}, more than any mask of {size[0]} x {size[1]} pixels can have"


def _check_sum(runs: Int, size: Size) -> None:
    if runs.size and runs.min() < 0:
        first = int(np.argmax(runs < 0))
        raise InvalidRequest(
            f"the mask's counts have a run of {runs[first]} pixels (run {first}): it must be 0 or more"
        )
    pixels = size[0] * size[1]
    # before the sum, which could overflow: no run may be longer than the picture
    total = int(runs.max()) if runs.size and runs.max() > pixels else int(runs.sum())
    if total != pixels:
        raise InvalidRequest(
            f"the mask's counts add up to {'at least ' if total > pixels else ''}{total} pixels, and its size of "
            f"{size[0]} x {size[1]} has {pixels}: they must be equal",
            counts_pixels=total,
            size_pixels=pixels,
        )


# -- runs ----------------------------------------------------------------------------------------


def _runs_of(masks: Bool) -> tuple[Int, Int]:
    """Masks [N, H, W], contiguous -> the lengths of all their runs in one row, and how many have come by each one's end."""
    count, height, width = masks.shape
    pixels = height * width
    ones = masks.view(np.uint8)
    changes = np.empty(-(-masks.size // 8) * 8, dtype=np.uint8)  # to be read in words of eight
    changes[masks.size :] = 0
    grid = changes[: masks.size].reshape(masks.shape)
    np.bitwise_xor(ones[:, 1:], ones[:, :-1], out=grid[:, 1:])
    np.bitwise_xor(ones[:, 0, 1:], ones[:, -1, :-1], out=grid[:, 0, 1:])
    grid[:, 0, 0] = ones[:, 0, 0]
    words = np.flatnonzero(changes.view(np.uint64))
    byte_of_word, byte = np.nonzero(changes.reshape(-1, 8)[words])
    rows, columns = np.divmod(words[byte_of_word] * 8 + byte, width)
    mask_no, rows = np.divmod(rows, height)
    ends = np.arange(1, count + 1) * pixels
    edges = np.sort(np.concatenate([mask_no * pixels + columns * height + rows, ends]))
    # a mask that begins with a one has an edge where the one before it ends: either may go first
    return np.diff(edges, prepend=0), np.searchsorted(edges, ends) + 1


def _pack(runs: Int, ends: Int) -> list[str]:
    """Runs of many masks in a row, and where each mask's end -> their strings."""
    numbers = runs.copy()
    numbers[2:] -= runs[:-2]
    firsts = (np.concatenate([[0], ends[:-1]])[:, None] + np.arange(3)).ravel()
    firsts = firsts[firsts < len(runs)]
    numbers[firsts] = runs[firsts]
    magnitudes = numbers ^ (numbers >> 63)  # of -1 as of 0: the sign has a bit of its own
    groups = np.ones(len(numbers), dtype=np.int64)
    most, limit = 1, 16
    while (longer := magnitudes >= limit).any():
        groups += longer
        most, limit = most + 1, limit << 5
    places = np.arange(most)
    characters = (((numbers[:, None] >> 5 * places) & 31) | ((places < groups[:, None] - 1) << 5)) + 48
    text = characters[places < groups[:, None]].astype(np.uint8).tobytes().decode("ascii")
    cuts = np.cumsum(groups)[ends - 1].tolist()
    return [text[first:end] for first, end in pairwise([0, *cuts])]


def _runs(rle: Rle) -> Int:
    """The lengths of its runs, int64. Raises InvalidRequest unless they are a mask of its size."""
    height, width = _checked_size(rle.size)
    # a run is at least one pixel, and a number of two characters is a difference of sixteen or more
    if len(rle.counts) > height * width * 5 // 4 + 16:
        raise InvalidRequest(_too_many(len(rle.counts), "characters", rle.size))
    codes = np.frombuffer(rle.counts.encode("ascii", "replace"), dtype=np.uint8).astype(np.int64) - 48
    wrong = (
        np.array([not one.isascii() for one in rle.counts]) if not rle.counts.isascii() else (codes < 0) | (codes > 63)
    )
    if wrong.any():
        at = int(np.argmax(wrong))
        raise InvalidRequest(
            f"the mask's counts have {rle.counts[at]!a} at character {at}: compressed counts are made of "
            'the characters from "0" to "o"'
        )
    return _unpacked(codes, rle.size)


def _unpacked(codes: Int, size: Size) -> Int:
    last = codes < 32
    if codes.size and not last[-1]:
        raise InvalidRequest("the mask's counts end in the middle of a number: they have been cut off")
    ends = np.flatnonzero(last) + 1
    starts = np.concatenate([[0], ends[:-1]])[: len(ends)]
    lengths = ends - starts
    if lengths.size and lengths.max() > _GROUPS:
        first = int(np.argmax(lengths > _GROUPS))
        raise InvalidRequest(
            f"the mask's counts have a number of {lengths[first]} characters: at most {_GROUPS} are used"
        )
    if not lengths.size:
        runs = np.zeros(0, dtype=np.int64)
    else:
        places = np.arange(len(codes)) - np.repeat(starts, lengths)
        runs = np.add.reduceat((codes & 31) << 5 * places, starts)
        runs -= np.where(codes[ends - 1] & 16, np.int64(1) << 5 * lengths, 0)
        runs[1::2] = np.cumsum(runs[1::2])
        runs[2::2] = np.cumsum(runs[2::2])
    _check_sum(runs, size)
    return runs


def _edges(rle: Rle) -> Int:
    """Where it changes, counted down the columns: before an even one zeros, after it ones."""
    return np.cumsum(_runs(rle))[:-1]


def _intervals(rle: Rle) -> Int:
    """Its runs of ones, [N, 2]: first pixel and the one after the last, counted down the columns; none is empty."""
    at = np.cumsum(_runs(rle))
    pairs = at[: len(at) // 2 * 2].reshape(-1, 2)
    return pairs[pairs[:, 1] > pairs[:, 0]]


def _from_edges(edges: Int, size: Size) -> Rle:
    """From sorted edges; two at one place cancel each other."""
    pixels = size[0] * size[1]
    places, times = np.unique(edges, return_counts=True)
    places = places[(times & 1).astype(np.bool_) & (places < pixels)]
    runs = np.diff(places, prepend=0, append=pixels)
    return Rle((size[0], size[1]), _pack(runs, np.array([len(runs)]))[0])


def _length(intervals: Int) -> int:
    return int((intervals[:, 1] - intervals[:, 0]).sum())


def _box(intervals: Int, height: int) -> tuple[int, int, int, int]:
    if not len(intervals):
        return 0, 0, 0, 0
    columns, tops = np.divmod(intervals[:, 0], height)
    last_columns, bottoms = np.divmod(intervals[:, 1] - 1, height)
    left, right = int(columns[0]), int(last_columns[-1]) + 1
    if (columns != last_columns).any():  # over the end of a column: from the bottom and on from the top
        top, bottom = 0, height
    else:
        top, bottom = int(tops.min()), int(bottoms.max()) + 1
    return left, top, right - left, bottom - top


def _meet(a: Int, b: Int) -> Bool:
    """Which boxes [N, 4] and [M, 4] of x, y, width, height share a pixel, [N, M]."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum((a[:, :2] + a[:, 2:])[:, None], (b[:, :2] + b[:, 2:])[None])
    shared: Bool = (high > low).all(axis=2)
    return shared


def _by_column(intervals: Int, height: int) -> tuple[Int, Int, Int]:
    """Runs cut at the ends of columns: column, first row, row after the last."""
    first, last = intervals[:, 0] // height, (intervals[:, 1] - 1) // height
    times = last - first + 1
    columns = np.repeat(first - np.concatenate([[0], np.cumsum(times)[:-1]])[: len(times)], times) + np.arange(
        times.sum()
    )
    tops = np.maximum(np.repeat(intervals[:, 0], times) - columns * height, 0)
    bottoms = np.minimum(np.repeat(intervals[:, 1], times) - columns * height, height)
    return columns, tops, bottoms


def _scaled(places: Int, old: int, new: int) -> Int:
    """ceil(places * new / old - 1/2), in whole numbers."""
    return -((old - 2 * places * new) // (2 * old))
