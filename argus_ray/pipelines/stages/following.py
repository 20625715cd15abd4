"""Following: what a model says frame by frame, gathered into the tracklets of one segment.

Memory is that of the objects seen, and of the few pictures by which answers may lag behind the frames; masks are text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID, uuid5

import numpy as np
from numpy.typing import NDArray

from argus_ray import rle
from argus_ray.models.concepts import MOST_IOU, Box, Tracked, TrackedFrame
from argus_ray.rle import Rle

Picture = NDArray[np.uint8]
MARGIN = 0.1
"""By so much of its size a crop is larger than the box, on each side."""


@dataclass
class Tracklet:
    """One object of one segment: what was seen of it by time, and what it looked like first and last.

    `first_look` and `last_look` are crops of one size, uint8 [S, S, 3].
    """

    label: int
    masks: dict[int, Rle] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)
    first_look: Picture | None = None
    last_look: Picture | None = None

    @property
    def best(self) -> float:
        return max(self.scores.values())

    def add(self, pts_us: int, seen: Tracked, look: Picture | None) -> None:
        self.masks[pts_us], self.scores[pts_us] = seen.mask, min(max(seen.score, 0.0), 1.0)
        if look is not None:
            self.first_look = look if self.first_look is None else self.first_look
            self.last_look = look


@dataclass
class Followed:
    """A segment as it was followed. `times_us` were looked at; `presence` by time and label."""

    times_us: list[int] = field(default_factory=list)
    presence: dict[int, list[float]] = field(default_factory=dict)
    tracklets: list[Tracklet] = field(default_factory=list)
    method: str = ""


class Pictures:
    """Frames on their way into the model, of which those stay at hand that it has not answered yet."""

    def __init__(self, frames: Iterable[tuple[int, Picture]]) -> None:
        self._frames = frames
        self._kept: dict[int, Picture] = {}

    def __iter__(self) -> Iterator[tuple[int, Picture]]:
        for pts_us, picture in self._frames:
            self._kept[pts_us] = picture
            yield pts_us, picture

    def take(self, pts_us: int) -> Picture:
        return self._kept.pop(pts_us)


def follow(
    pictures: Pictures,
    answers: Iterable[TrackedFrame],
    owner: Sequence[int],
    thresholds: Sequence[float],
    squash: Callable[[Picture], Picture],
) -> Followed:
    """Gather what the model answers. `owner` says which label each phrase is of; `squash` makes a crop's size [S, S, 3].

    A tracklet that never reached its label's threshold is left out, and so is one that another phrase of the same label
    has followed better.
    """
    followed, by_object = Followed(), dict[tuple[int, int], Tracklet]()
    for frame in answers:
        picture = pictures.take(frame.pts_us)
        followed.method = frame.method
        followed.times_us.append(frame.pts_us)
        followed.presence[frame.pts_us] = _by_label(frame.presence, owner, len(thresholds))
        for seen in frame.objects:
            if seen.box[2] <= 0:  # an empty mask
                continue
            key = seen.prompt, seen.object_id
            tracklet = by_object.setdefault(key, Tracklet(owner[seen.prompt]))
            tracklet.add(frame.pts_us, seen, squash(crop(picture, seen.box)))
    good = [one for one in by_object.values() if one.best >= thresholds[one.label]]
    several = len(owner) > len(thresholds)
    followed.tracklets = _distinct(good) if several else good
    return followed


def crop(picture: Picture, box: Box) -> Picture:
    """What is in the box and a little around it, at least one pixel: uint8 [h, w, 3]."""
    high, wide = picture.shape[:2]
    x, y, w, h = box
    left, right = int((x - MARGIN * w) * wide), int(np.ceil((x + w + MARGIN * w) * wide))
    top, bottom = int((y - MARGIN * h) * high), int(np.ceil((y + h + MARGIN * h) * high))
    left, top = min(max(left, 0), wide - 1), min(max(top, 0), high - 1)
    return picture[top : max(min(bottom, high), top + 1), left : max(min(right, wide), left + 1)]


def tracklet_id(job_id: UUID, video_id: UUID, segment: int, place: int) -> UUID:
    """The same for whoever follows the segment again."""
    return uuid5(job_id, f"{video_id}/{segment}/{place}")


def _by_label(presence: Sequence[float], owner: Sequence[int], labels: int) -> list[float]:
    best = [0.0] * labels
    for place, one in zip(owner, presence, strict=True):
        best[place] = max(best[place], one)
    return best


def _distinct(tracklets: Sequence[Tracklet]) -> list[Tracklet]:
    """Each object once for its label: the longer and surer one stays of two that cover each other where both were seen."""
    kept: list[Tracklet] = []
    for one in sorted(tracklets, key=lambda one: -sum(one.scores.values())):
        if not any(other.label == one.label and _same(one, other) for other in kept):
            kept.append(one)
    return sorted(kept, key=lambda one: (min(one.masks), one.label))


def _same(one: Tracklet, other: Tracklet) -> bool:
    common = one.masks.keys() & other.masks.keys()
    if 2 * len(common) <= len(one.masks):
        return False
    ious = [float(rle.iou([one.masks[pts_us]], [other.masks[pts_us]])[0, 0]) for pts_us in common]
    return float(np.mean(ious)) > MOST_IOU
