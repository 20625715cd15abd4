"""How well what was found agrees with what was drawn: in frames one by one, and through time."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from argus_ray import rle
from argus_ray.rle import Rle
from argus_ray.synthetic.language import Query, is_true_of
from argus_ray.synthetic.scene import Scene
from argus_ray.synthetic.video import VideoTruth

SAME_IOU = 0.5
SEEN_PIXELS = 200
"""A thing of which less is seen is not asked for."""


@dataclass(frozen=True)
class Agreement:
    hits: int
    false: int
    missed: int

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(self.hits + other.hits, self.false + other.false, self.missed + other.missed)

    @property
    def f1(self) -> float:
        return 2 * self.hits / max(1, 2 * self.hits + self.false + self.missed)


def drawn_at(truth: VideoTruth, pts_us: int, query: Query) -> dict[Hashable, Rle]:
    """The masks of the things that a query means, at a time, by an identity that lasts as long as its shot."""
    shot = truth.shot_at(pts_us)
    drawing = truth.drawing_at(pts_us)
    masks = {
        (shot.start_us, thing.id): drawing.ids == thing.id
        for thing in shot.scene.things
        if is_true_of(query, Scene(shot.scene.ground, shot.scene.ground_seed, (thing,)))
    }
    return {name: rle.encode(mask) for name, mask in masks.items() if mask.sum() >= SEEN_PIXELS}


def in_frames(pairs: Iterable[tuple[Sequence[Rle], Sequence[Rle]]]) -> Agreement:
    """Of (drawn, found) masks of each frame and concept: those that share half of their union, one to one."""
    hits, false, missed = 0, 0, 0
    for drawn, found in pairs:
        alike = rle.iou(drawn, found) >= SAME_IOU
        rows, columns = linear_sum_assignment(alike, maximize=True)
        right = int(alike[rows, columns].sum())
        hits, false, missed = hits + right, false + len(found) - right, missed + len(drawn) - right
    return Agreement(hits, false, missed)


Seen = Mapping[int, Mapping[Hashable, Rle]]
"""By time, by identity, the mask."""


def through_time(drawn: Seen, found: Seen) -> Agreement:
    """The places at which things and tracks agree, each thing with one track at most (IDF1 is the F1 of these counts;
    Ristani et al., 2016).
    """
    things = list(dict.fromkeys(name for seen in drawn.values() for name in seen))
    tracks = list(dict.fromkeys(name for seen in found.values() for name in seen))
    agree: npt.NDArray[np.int64] = np.zeros((len(things), len(tracks)), np.int64)
    for pts_us in drawn.keys() & found.keys():
        theirs, ours = list(drawn[pts_us]), list(found[pts_us])
        ious = rle.iou(list(drawn[pts_us].values()), list(found[pts_us].values()))
        for row, column in np.argwhere(ious >= SAME_IOU):
            agree[things.index(theirs[row]), tracks.index(ours[column])] += 1
    right = int(agree[linear_sum_assignment(agree, maximize=True)].sum())
    return Agreement(right, _places(found) - right, _places(drawn) - right)


def _places(seen: Seen) -> int:
    return sum(len(at_once) for at_once in seen.values())
