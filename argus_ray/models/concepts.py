"""What a model of concepts is asked, and what it answers, whichever model it is.

Everything is in fractions of the displayed picture, origin top left; a box is (x, y, width, height). Masks leave as COCO
run lengths at the size that was asked for, (height, width) in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from argus_ray.errors import InvalidRequest
from argus_ray.rle import Rle, Size, area, bbox, check, iou

Box = tuple[float, float, float, float]
Method = Literal["sam3-video", "track-by-detection"]

MOST_IOU = 0.5
"""Two masks of one concept that overlap by more are the same thing seen twice."""
MOST_BOXES = 64
MOST_CLICKS = 256


@dataclass(frozen=True)
class Prompt:
    """One concept: a phrase in English, boxes around examples of it in this very picture, or both.

    `negative` boxes are around what it is not. Boxes without a phrase ask for whatever looks like what is in them.
    """

    text: str | None = None
    boxes: tuple[Box, ...] = ()
    negative: tuple[Box, ...] = ()

    def __post_init__(self) -> None:
        if self.text is None and not self.boxes:
            raise InvalidRequest(
                "nothing is asked for: give a phrase such as 'red car', or a box around an example; boxes around what it is "
                "not can only add to one of these"
            )
        if len(self.boxes) + len(self.negative) > MOST_BOXES:
            raise InvalidRequest(
                f"{len(self.boxes) + len(self.negative)} boxes around examples, and the limit is {MOST_BOXES}: give the best"
            )
        for box in (*self.boxes, *self.negative):
            _check_box(box)


@dataclass(frozen=True)
class Found:
    """The instances of one prompt in one picture, the surest first.

    `presence` is the model's word on whether the concept is there at all; low where `scores` is empty, it is "asked, and
    not there". `scores` float32 [N] hold it already. `boxes` float32 [N, 4].
    """

    scores: NDArray[np.float32]
    presence: float
    boxes: NDArray[np.float32]
    masks: list[Rle]


@dataclass(frozen=True)
class Click:
    """A point that belongs to the object, or does not."""

    x: float
    y: float
    positive: bool = True


@dataclass(frozen=True)
class Pointed:
    """One object, pointed at: clicks, a box around it, its mask so far to be bettered; at least one of them.

    Through a video also a mask alone, which is then taken as it is. `phrase` says what it is; only tracking by detection
    asks.
    """

    clicks: tuple[Click, ...] = ()
    box: Box | None = None
    mask: Rle | None = None
    phrase: str | None = None

    def __post_init__(self) -> None:
        if not self.clicks and self.box is None and self.mask is None:
            raise InvalidRequest("nothing is pointed at: give a click on the object, a box around it, or its mask")
        if len(self.clicks) > MOST_CLICKS:
            raise InvalidRequest(f"{len(self.clicks)} clicks on one object, and the limit is {MOST_CLICKS}: give fewer")
        if self.box is not None:
            _check_box(self.box)
        for click in self.clicks:
            if not (0 <= click.x <= 1 and 0 <= click.y <= 1):
                raise InvalidRequest(
                    f"a click at ({click.x}, {click.y}) is not in the picture: give fractions of its width and height, 0 to 1"
                )


@dataclass(frozen=True)
class Segmented:
    """What was pointed at. Where one click may mean several things, several masks, the likeliest first, each with the
    model's own guess of its IoU; `presence` is its word on whether there is an object at all.
    """

    masks: list[Rle]
    ious: list[float]
    presence: float


@dataclass(frozen=True)
class Tracked:
    """One object in one frame. `prompt` is the number of the prompt or of the given object that it answers."""

    object_id: int
    prompt: int
    score: float
    box: Box
    mask: Rle


@dataclass(frozen=True)
class TrackedFrame:
    """All that is followed, in one frame. `presence` is the model's word on each prompt, or 1 for objects that were given."""

    pts_us: int
    objects: list[Tracked]
    presence: tuple[float, ...]
    method: Method


def distinct(answers: Sequence[Found], threshold: float = 0.0) -> list[tuple[float, Rle]]:
    """Scores and masks of one concept that several phrases have found, each instance once, the surest first; those that
    score at least `threshold`.
    """
    pairs = [
        (float(score), mask)
        for answer in answers
        for score, mask in zip(answer.scores, answer.masks, strict=True)
        if score >= threshold
    ]
    pairs.sort(key=lambda pair: -pair[0])
    if len(answers) == 1:
        return pairs  # a phrase finds nothing twice
    kept: list[tuple[float, Rle]] = []
    for score, mask in pairs:
        if not kept or iou([mask], [other for _, other in kept]).max() <= MOST_IOU:
            kept.append((score, mask))
    return kept


def box_of(mask: Rle) -> Box:
    """The smallest box around a mask, in fractions."""
    x, y, width, height = bbox(mask)
    rows, columns = mask.size
    return x / columns, y / rows, width / columns, height / rows


def check_mask(mask: Rle, size: Size) -> None:
    """InvalidRequest unless it is a mask of a picture of this size, with a pixel in it."""
    check(mask, size)
    if not area(mask):
        raise InvalidRequest("the mask is empty: give one with at least one pixel, or a box or a click instead")


def _check_box(box: Box) -> None:
    x, y, width, height = box
    if not (
        0 <= x <= 1
        and 0 <= y <= 1
        and 0 < width <= 1
        and 0 < height <= 1
        and x + width <= 1 + 1e-6
        and y + height <= 1 + 1e-6
    ):
        raise InvalidRequest(
            f"a box of x {x}, y {y}, width {width}, height {height} is not in the picture: give fractions of its width and "
            "height, 0 to 1, with x + width and y + height at most 1"
        )
