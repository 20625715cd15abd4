"""Masks as run lengths: the compressed COCO encoding, byte for byte as pycocotools writes it, with numpy alone.

The runs go down the columns of a mask and alternate, zeros first (a run of no zeros where the mask begins with a one).
From the fourth on, a run is written as its difference to the one two before it. A number becomes groups of five bits,
the lowest first, as characters from "0" (48) on: bit 5 says that another group follows, bit 4 of the last is the sign.

Nothing here transposes a mask. Where a column changes is found row by row, which a processor does sixteen and more
pixels at a time, and only the changes, few, are sorted into the order of columns; decoding goes the same way back.
What can be answered from the runs (area, box, IoU, union, another size) never makes pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
_AT_ONCE_PIXELS = 1 << 22  # of many masks, so many are looked at together: what stays in a cache
_DENSE = 1 / 8  # with changes in so many of all words, transposing costs less than sorting
_NARROW = 256  # columns: numpy's own scan, one pixel at a time, is quicker than a call for each row
_SLACK = 16  # runs of nothing, which some tools write, are let pass up to here
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
    size = (height, width)
    return [Rle(size, text) for texts in packed for text in texts]


def decode(rle: Rle) -> Bool:
    """The mask, bool [H, W], contiguous: a byte for each pixel that its size claims, so `check` a stranger's size first.

    Raises InvalidRequest where the counts are no mask of that size.
    """
    height, width = rle.size
    edges = _intervals([rle])[0].ravel()
    mask = np.zeros((height, width), dtype=np.bool_)
    if not edges.size:
        return mask
    last_is_open = edges[-1] == height * width
    edges = edges[: edges.size - last_is_open]
    columns, rows = np.divmod(edges, height)
    left, right = int(columns[0]), int(columns[-1]) + 1
    changes = mask.view(np.uint8)[:, left:right]
    changes[rows, columns - left] = 1
    # a column begins as the one before it ends: with ones after an odd number of edges
    changes[0] ^= (np.searchsorted(edges, np.arange(left, right) * height) & 1).astype(np.uint8)
    _downwards(changes)
    if last_is_open:
        mask[:, right:] = True
    return mask


def _downwards(changes: npt.NDArray[np.uint8]) -> None:
    """From where each column changes to what it is there, in place; rows are long, so numpy goes along them."""
    if changes.shape[1] < _NARROW:
        np.bitwise_xor.accumulate(changes, axis=0, out=changes)
        return
    busy = np.flatnonzero(changes.any(axis=1))
    top, bottom = int(busy[0]), int(busy[-1])
    for row in range(top + 1, bottom + 1):
        np.bitwise_xor(changes[row], changes[row - 1], out=changes[row])
    if changes[bottom].any():
        changes[bottom + 1 :] = changes[bottom]


def from_uncompressed(counts: Sequence[int], size: Size) -> Rle:
    """From run lengths as a list, as COCO has them for crowds. Raises InvalidRequest when they are no mask of `size`."""
    height, width = _checked_size(size)
    if len(counts) > height * width + _SLACK:
        raise InvalidRequest(_too_many(len(counts), "runs", size))
    if not all(_is_whole(run) and 0 <= run <= height * width for run in counts):
        raise InvalidRequest(
            f"the mask's counts are not whole numbers from 0 to {height * width}: give the lengths of its runs"
        )
    runs = np.array(counts, dtype=np.int64)
    if (total := int(runs.sum())) != height * width:
        raise InvalidRequest(_other_sum(total, size))
    return from_edges(np.cumsum(runs)[:-1], (height, width))


def from_edges(edges: Int, size: Size) -> Rle:
    """From the sorted places, counted down the columns, at which a mask changes; two at one place are none."""
    pixels = size[0] * size[1]
    runs = np.diff(_true_edges(edges[edges < pixels]), prepend=0, append=pixels)
    return Rle(size, _pack(runs, np.array([len(runs)]))[0])


# -- what runs tell by themselves ----------------------------------------------------------------


def area(rle: Rle) -> int:
    """Pixels of the mask."""
    return int(next(_unpack([rle]))[1::2].sum())


def areas(rles: Sequence[Rle]) -> Int:
    """Pixels of each mask, [N]."""
    return _areas(_intervals(rles))


def bbox(rle: Rle) -> tuple[int, int, int, int]:
    """x, y, width, height in pixels of the smallest box around it; four zeros for an empty mask."""
    x, y, width, height = bboxes([rle])[0].tolist()
    return x, y, width, height


def bboxes(rles: Sequence[Rle]) -> Int:
    """Each mask's box as `bbox` has it, [N, 4]."""
    return _boxes(_intervals(rles), np.array([one.size[0] for one in rles], dtype=np.int64))


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
    runs = _intervals([*a, *b])
    boxes, pixels = _boxes(runs, np.full(len(runs), sizes.pop()[0])), _areas(runs)
    meet = _meet(boxes[: len(a)], boxes[len(a) :])
    for row in np.flatnonzero(meet.any(axis=1)):
        others = np.flatnonzero(meet[row])
        theirs = [runs[len(a) + other] for other in others]
        before = np.cumsum(runs[row][:, 1] - runs[row][:, 0])
        line = np.concatenate([[0], np.repeat(before, 2)[:-1]])
        corners = np.interp(np.concatenate(theirs).ravel(), runs[row].ravel(), line)
        starts = np.cumsum([0, *map(len, theirs[:-1])])
        common = np.add.reduceat(corners[1::2] - corners[::2], starts)
        result[row, others] = common / (pixels[row] + pixels[len(a) + others] - common)
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
    columns, tops, bottoms = _by_column(_intervals([rle])[0], height)
    tops, bottoms = (_scaled(rows, height, new_height) for rows in (tops, bottoms))
    lefts, rights = _scaled(columns, width, new_width), _scaled(columns + 1, width, new_width)
    times = np.where(bottoms > tops, rights - lefts, 0)
    new_columns = np.repeat(lefts - np.concatenate([[0], np.cumsum(times)[:-1]]), times) + np.arange(times.sum())
    starts = new_columns * new_height + np.repeat(tops, times)
    ends = new_columns * new_height + np.repeat(bottoms, times)
    return from_edges(np.sort(np.concatenate([starts, ends])), (new_height, new_width))


def _at_least(number: int, rles: Sequence[Rle]) -> Rle:
    sizes = {one.size for one in rles}
    if len(sizes) != 1:
        raise ValueError(f"masks of one size are needed, and there are {len(rles)} of the sizes {sorted(sizes)}")
    at = np.concatenate(_intervals(rles)).ravel()  # a run begins at every even place, and ends at every odd one
    order = np.argsort(at, kind="stable")
    inside = np.cumsum(np.where(order & 1, -1, 1)) >= number
    last_of_its_place = np.append(np.diff(at[order]) > 0, True)[: len(at)]
    inside, at = inside[last_of_its_place], at[order][last_of_its_place]
    return from_edges(at[np.diff(inside, prepend=False)], sizes.pop())


# -- hostile and foreign strings -----------------------------------------------------------------


def check(rle: Rle, size: Size) -> None:
    """That it is a mask of a picture of `size` (height, width).

    Raises InvalidRequest where its size is another, its counts hold characters that are no counts, or don't add up.
    A string too long to be one is refused unread.
    """
    height, width = _checked_size(rle.size)
    if (height, width) != tuple(size):
        raise InvalidRequest(
            f"the mask's size is {height} x {width} (height x width) and the picture's is {size[0]} x {size[1]}: "
            "send the mask at the size at which the video is displayed",
            mask_size=[height, width],
            picture_size=list(size),
        )
    next(_unpack([rle]))


def _checked_size(size: Sequence[Any]) -> Size:
    if len(size) == 2 and all(_is_whole(side) and 0 < side <= MAX_SIDE for side in size):
        return int(size[0]), int(size[1])
    small = len(size) < 5 and all(isinstance(side, int | float) and abs(side) < 1e9 for side in size)
    told = f", and not {' x '.join(map(str, size))}" if small else ""
    raise InvalidRequest(f"a mask's size is two whole numbers from 1 to {MAX_SIDE}, height and width{told}")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _too_many(number: int, what: str, size: Size) -> str:
    return f"the mask's counts have {number} {what}, more than any mask of {size[0]} x {size[1]} pixels needs"


def _other_sum(total: int, size: Size) -> str:
    return (
        f"the mask's counts add up to {total} pixels, and its size of {size[0]} x {size[1]} has {size[0] * size[1]}: "
        "they must be equal"
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
    busy = changes.view(np.uint64) != 0
    if np.count_nonzero(busy) > busy.size * _DENSE:
        found = np.flatnonzero(np.ascontiguousarray(grid.transpose(0, 2, 1)).view(np.bool_))
    else:
        words = np.flatnonzero(busy)
        within = np.flatnonzero(changes.reshape(-1, 8)[words].view(np.bool_))
        at = words[within >> 3] * 8 + (within & 7)
        line = at // width
        mask_no = line // height
        row, column = line - mask_no * height, at - line * width
        found = mask_no * pixels + column * height + row
    ends = np.arange(1, count + 1) * pixels
    edges = np.sort(np.concatenate([found, ends]), kind="stable")  # which makes use of the order that there is
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
    groups, limit = np.ones(len(numbers), dtype=np.int64), 16
    while (longer := magnitudes >= limit).any():
        groups += longer
        limit <<= 5
    stops = np.cumsum(groups)
    characters = np.empty(stops[-1] if len(stops) else 0, dtype=np.uint8)
    at, left = stops - groups, groups
    while len(at):
        more = left > 1
        characters[at] = ((numbers & 31) | more << 5) + 48
        at, left, numbers = at[more] + 1, left[more] - 1, numbers[more] >> 5
    text = characters.tobytes().decode("ascii")
    cuts = stops[ends - 1].tolist()
    return [text[first:end] for first, end in pairwise([0, *cuts])]


def _unpack(rles: Sequence[Rle]) -> Iterator[Int]:
    """The other way: the runs of each mask. Raises InvalidRequest where they are no mask of its size."""
    for one in rles:
        height, width = _checked_size(one.size)
        # a run is at least one pixel, and a number of two characters is a difference of sixteen or more
        if len(one.counts) > height * width * 5 // 4 + _SLACK:
            raise InvalidRequest(_too_many(len(one.counts), "characters", one.size))
    numbers, ends = _numbers([one.counts for one in rles])
    for one, (first, end) in zip(rles, pairwise([0, *ends.tolist()]), strict=True):
        runs = numbers[first:end]
        np.cumsum(runs[1::2], out=runs[1::2])
        np.cumsum(runs[2::2], out=runs[2::2])
        if runs.min(initial=0) < 0:
            raise InvalidRequest(f"the mask's counts have a run of {runs.min()} pixels: none can be less than 0")
        if (total := int(runs.sum())) != one.size[0] * one.size[1]:
            raise InvalidRequest(_other_sum(total, one.size))
        yield runs


def _numbers(texts: Sequence[str]) -> tuple[Int, Int]:
    """Strings of many masks -> their numbers in a row, and where each mask's end. Raises InvalidRequest."""
    text = "".join(texts)
    codes = np.frombuffer(text.encode("ascii", "replace"), dtype=np.uint8) - np.uint8(48)  # below "0" it wraps around
    if not text.isascii() or codes.max(initial=0) > 63:
        wrong = next(one for one in text if not "0" <= one <= "o")
        raise InvalidRequest(
            f'the mask\'s counts have {wrong!a}: compressed counts are made of the characters from "0" to "o"'
        )
    is_last = codes < 32
    stops = np.cumsum([0, *map(len, texts)])
    if not is_last[stops[1:][stops[1:] > stops[:-1]] - 1].all():
        raise InvalidRequest("the mask's counts end in the middle of a number: they have been cut off")
    lasts = np.flatnonzero(is_last)
    lengths = np.diff(lasts, prepend=-1)
    longest = int(lengths.max(initial=1))
    if longest > _GROUPS:
        raise InvalidRequest(
            f"the mask's counts have a number of {longest} characters: no run of a picture needs more than {_GROUPS}"
        )
    numbers: Int = (codes[lasts] & 15).astype(np.int64) - (codes[lasts] & 16)  # the last five bits have the sign
    for back in range(1, longest):
        longer = lengths > back
        numbers[longer] = numbers[longer] << 5 | codes[lasts[longer] - back] & 31
    return numbers, np.searchsorted(lasts, stops[1:])


def _intervals(rles: Sequence[Rle]) -> list[Int]:
    """Of each its runs of ones, [N, 2]: the first pixel and the one after the last, counted down the columns."""
    intervals = []
    for runs in _unpack(rles):
        edges = np.cumsum(runs)
        pairs = edges[: edges.size // 2 * 2]
        intervals.append((pairs if runs[1:].all() else _true_edges(pairs)).reshape(-1, 2))
    return intervals


def _true_edges(edges: Int) -> Int:
    places, times = np.unique(edges, return_counts=True)
    true: Int = places[times & 1 > 0]
    return true


def _areas(runs: Sequence[Int]) -> Int:
    pairs, firsts, filled = _joined(runs)
    result = np.zeros(len(runs), dtype=np.int64)
    result[filled] = np.add.reduceat(pairs[:, 1] - pairs[:, 0], firsts)
    return result


def _boxes(runs: Sequence[Int], heights: Int) -> Int:
    pairs, firsts, filled = _joined(runs)
    height = np.repeat(heights, [len(one) for one in runs])
    left, top = np.divmod(pairs[:, 0], height)
    right, bottom = np.divmod(pairs[:, 1] - 1, height)
    over = left != right  # over the end of a column: from its bottom, and on from the top of the next
    x, y = np.minimum.reduceat(left, firsts), np.minimum.reduceat(np.where(over, 0, top), firsts)
    right, bottom = np.maximum.reduceat(right, firsts), np.maximum.reduceat(np.where(over, height - 1, bottom), firsts)
    result = np.zeros((len(runs), 4), dtype=np.int64)
    result[filled] = np.stack([x, y, right + 1 - x, bottom + 1 - y], axis=1)
    return result


def _joined(runs: Sequence[Int]) -> tuple[Int, Int, Int]:
    """The runs of all masks in a row, where each mask's begin, and which masks these are: empty ones have no place."""
    lengths = np.array([len(one) for one in runs], dtype=np.int64)
    filled = np.flatnonzero(lengths)
    pairs = np.concatenate([np.zeros((0, 2), dtype=np.int64), *runs])
    return pairs, np.cumsum(lengths)[filled] - lengths[filled], filled


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
