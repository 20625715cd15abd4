"""IDF1 (Ristani et al., 2016): how much of the truth is found under the right identity, in one number.

Each true object is given at most one track and each track at most one object, so that together they agree at the most
places; IDF1 is twice that number over the number of true and of found places.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from argus_ray import rle
from argus_ray.rle import Rle

Seen = Mapping[int, Mapping[Hashable, Rle]]
"""By time, by identity, the mask."""


def idf1(truth: Seen, found: Seen, min_iou: float = 0.5) -> float:
    objects = sorted({one for seen in truth.values() for one in seen}, key=str)
    tracks = sorted({one for seen in found.values() for one in seen}, key=str)
    agree = np.zeros((len(objects), len(tracks)))
    for pts_us in truth.keys() & found.keys():
        ours, theirs = list(truth[pts_us]), list(found[pts_us])
        for row, column in np.argwhere(_ious(truth[pts_us], found[pts_us]) >= min_iou):
            agree[objects.index(ours[row]), tracks.index(theirs[column])] += 1
    right = agree[linear_sum_assignment(agree, maximize=True)].sum()
    return float(2 * right / (_places(truth) + _places(found)))


def _ious(one: Mapping[Hashable, Rle], other: Mapping[Hashable, Rle]) -> np.ndarray:
    return rle.iou(list(one.values()), list(other.values()))


def _places(seen: Seen) -> int:
    return sum(len(at_once) for at_once in seen.values())


def seen(rows: Sequence[tuple[int, Hashable, Rle]]) -> Seen:
    """From (time, identity, mask)."""
    by_time: dict[int, dict[Hashable, Rle]] = {}
    for pts_us, identity, mask in rows:
        by_time.setdefault(pts_us, {})[identity] = mask
    return by_time
