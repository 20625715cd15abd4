"""Masks into compressed run lengths and back, against pycocotools; both begin and end with row-major masks, as models do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from argus_ray import rle
from tests.bench.measure import Line, side_by_side
from tests.bench.sizes import Sizes

HD, SMALL, CROPS = (1080, 1920), (288, 288), (64, 64)

Masks = NDArray[np.bool_]


def lines(sizes: Sizes) -> list[Line]:
    """One line for each size of mask that is encoded, one for the way back."""
    large, small, crops = _blobs(20, HD), _blobs(sizes.masks, SMALL), _blobs(10 * sizes.masks, CROPS)
    return [
        _encoding(
            sizes.rounds,
            "rle-a",
            "1080p masks, one at a time",
            large,
            lambda masks: [rle.encode(mask) for mask in masks],
        ),
        _encoding(sizes.rounds, "rle-b", f"{len(small)} masks of 288 x 288", small, rle.encode_many),
        _encoding(sizes.rounds, "rle-c", f"{len(crops)} masks of 64 x 64", crops, rle.encode_many),
        _decoding(sizes.rounds, "rle-d", large),
    ]


def _encoding(rounds: int, number: str, name: str, masks: Masks, encode: Callable[[Masks], list[rle.Rle]]) -> Line:
    if [one.counts.encode() for one in encode(masks)] != [one["counts"] for one in _one_by_one(masks)]:
        raise AssertionError("the bytes are not those of pycocotools: the sides do not do the same")
    ours, one_by_one, stacked = _walls(
        rounds, lambda: encode(masks), lambda: _one_by_one(masks), lambda: coco.encode(_columns_first(masks))
    )
    theirs = min(one_by_one, stacked)
    ready = _columns_first(masks)
    (in_its_order,) = _walls(rounds, lambda: coco.encode(ready))
    return Line(
        number,
        f"RLE encoding: {name}",
        _told(ours, len(masks)),
        f"pycocotools: {_told(theirs, len(masks))}",
        theirs / ours,
        1,
        f"pycocotools on masks that lie in its own order already: {_told(in_its_order, len(masks))}",
    )


def _decoding(rounds: int, number: str, masks: Masks) -> Line:
    encoded = rle.encode_many(masks)
    dicts = [{"size": list(one.size), "counts": one.counts} for one in encoded]
    ours, theirs, as_it_comes = _walls(
        rounds,
        lambda: [rle.decode(one) for one in encoded],
        lambda: [np.ascontiguousarray(coco.decode(one)) for one in dicts],
        lambda: [coco.decode(one) for one in dicts],
    )
    return Line(
        number,
        "RLE decoding: 1080p masks",
        _told(ours, len(masks)),
        f"pycocotools: {_told(theirs, len(masks))}",
        theirs / ours,
        1,
        f"pycocotools, leaving the masks column-major: {_told(as_it_comes, len(masks))}",
    )


def _one_by_one(masks: Masks) -> list[dict[str, Any]]:
    return [coco.encode(np.asfortranarray(mask.view(np.uint8))) for mask in masks]


def _columns_first(masks: Masks) -> NDArray[np.uint8]:
    return np.asfortranarray(masks.view(np.uint8).transpose(1, 2, 0))


def _told(wall_s: float, count: int) -> str:
    return f"{wall_s / count * 1e6:.3g} us a mask"


def _walls(rounds: int, *works: Callable[[], object]) -> list[float]:
    """Seconds; they take milliseconds each, so there are more rounds of them."""
    return [one.wall_s for one in side_by_side(*works, rounds=5 * rounds)]


def _blobs(count: int, size: tuple[int, int]) -> Masks:
    """Round things with five bays, of a twentieth to a third of the picture's height, everywhere in it."""
    random = np.random.default_rng(7)
    height, width = size
    y, x = np.mgrid[:height, :width]
    masks = np.empty((count, height, width), dtype=np.bool_)
    for mask in masks:
        down, right = y - random.uniform(0, height), x - random.uniform(0, width)
        radius = random.uniform(0.05, 0.33) * height
        edge = radius * (1 + 0.2 * np.sin(5 * np.arctan2(down, right) + random.uniform(0, 6)))
        mask[:] = down**2 + right**2 < edge**2
    return masks
