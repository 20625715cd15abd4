"""Concepts or objects through video, by SAM 3's tracker where it has learnt to follow, by detection in every frame where
it has not; the answers have one form, and say which it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from argus_ray.models.concepts import Box, Pointed, Prompt, Tracked, TrackedFrame, box_of, check_mask
from argus_ray.models.sam3_video import ConceptStream, ObjectStream
from argus_ray.models.track_by_detection import Tracks
from argus_ray.rle import Rle, Size, encode, iou, resize

if TYPE_CHECKING:
    from argus_ray.models.sam3 import Features, Sam3

Frames = Iterable[tuple[int, NDArray[np.uint8]]]
"""Time in microseconds and RGB picture uint8 [H, W, 3], all of one size, in the order of their times or the reverse."""

_WEAK = 0.5
"""A track is carried on by what scores half of what begins one."""


def concepts(
    model: Sam3, frames: Frames, prompts: Sequence[Prompt], *, size: Size | None, threshold: float
) -> Iterator[TrackedFrame]:
    """What the phrases name, from when it comes until it leaves. Answers may lag behind the frames."""
    if model.has_video_tracker:
        stream = ConceptStream(
            model.video, model.device, model.dtype, model.detector_of(prompts, threshold), len(prompts)
        )
        for pts_us, picture in frames:
            yield from stream.step(pts_us, model.pixel_values([picture])[0], size or _size(picture))
        yield from stream.rest()
        return
    numbers = count()
    tracks = [Tracks(threshold, numbers=numbers) for _ in prompts]
    for pts_us, picture in frames:
        found = model.find(model.features([picture])[0], prompts, size=size, threshold=_WEAK * threshold)
        yield TrackedFrame(
            pts_us=pts_us,
            objects=[
                Tracked(name, prompt, float(answer.scores[place]), box_of(answer.masks[place]), answer.masks[place])
                for prompt, (answer, followed) in enumerate(zip(found, tracks, strict=True))
                for place, name in enumerate(followed.step(pts_us, answer.masks, answer.scores.tolist()))
                if name is not None
            ],
            presence=tuple(answer.presence for answer in found),
            method="track-by-detection",
        )


def objects(model: Sam3, frames: Frames, given: Sequence[Pointed], *, size: Size | None) -> Iterator[TrackedFrame]:
    """Objects pointed at in the first of the frames, through all of them; each has its place in `given` as its id."""
    if model.has_video_tracker:
        stream = ObjectStream(model.video, model.device, model.dtype, given)
        for pts_us, picture in frames:
            for thing in given:
                if stream.session.frames_seen == 0 and thing.mask is not None:
                    check_mask(thing.mask, _size(picture))
            features = model.features([picture])[0]
            with torch.inference_mode():
                answer = stream.step(pts_us, features.tokens, size or features.size)
            yield answer
        return
    followed: list[_Alike] = []
    for pts_us, picture in frames:
        features = model.features([picture])[0]
        if followed:
            shown = _again(model, features, followed, pts_us)
        else:
            first = _at_first(model, features, given)
            followed = _alike(model, given, [mask for mask, _ in first], pts_us)
            shown = dict(enumerate(first))
        yield TrackedFrame(
            pts_us=pts_us,
            objects=[
                Tracked(number, number, score, box_of(mask), mask if size is None else resize(mask, size))
                for number, (mask, score) in sorted(shown.items())
            ],
            presence=(1.0,) * len(given),
            method="track-by-detection",
        )


@dataclass(frozen=True)
class _Alike:
    """Objects of one phrase, among which one assignment decides; or one without a phrase. `who` by the track's number."""

    phrase: str | None
    tracks: Tracks
    who: dict[int, int]


def _alike(model: Sam3, given: Sequence[Pointed], masks: Sequence[Rle], pts_us: int) -> list[_Alike]:
    groups: dict[str | int, _Alike] = {}
    for number, (thing, mask) in enumerate(zip(given, masks, strict=True)):
        group = groups.setdefault(thing.phrase or number, _Alike(thing.phrase, Tracks(model.score_threshold), {}))
        group.who[group.tracks.begin(pts_us, mask)] = number
    return list(groups.values())


def _at_first(model: Sam3, features: Features, given: Sequence[Pointed]) -> list[tuple[Rle, float]]:
    """Each object's mask in the frame in which it was pointed at, with a score."""
    answers = []
    for thing in given:
        if thing.mask is not None:
            check_mask(thing.mask, features.size)
            answers.append((thing.mask, 1.0))
        elif model.tracker == "pictures" and model.video is not None:
            best = model.segment(features, [thing])[0]
            answers.append((best.masks[0], best.ious[0]))
        else:
            answers.append(_by_example(model, features, thing))
    return answers


def _by_example(model: Sam3, features: Features, thing: Pointed) -> tuple[Rle, float]:
    """The instance that fits what was pointed at best, or else what was pointed at itself."""
    box = thing.box or _around(thing)
    pointed = _filled(box, features.size)
    found = model.find(features, [Prompt(thing.phrase, boxes=(box,))], threshold=_WEAK * model.score_threshold)[0]
    if not found.masks:
        return pointed, 0.0
    best = int(np.argmax(iou([pointed], found.masks)[0]))
    return found.masks[best], float(found.scores[best])


def _again(model: Sam3, features: Features, followed: Sequence[_Alike], pts_us: int) -> dict[int, tuple[Rle, float]]:
    """The objects in a later frame: what their phrase finds, or what looks like what is expected at their place."""
    asked = [(group, prompt) for group in followed if (prompt := _prompt(group, pts_us)) is not None]
    found = model.find(features, [prompt for _, prompt in asked], threshold=_WEAK * model.score_threshold)
    shown: dict[int, tuple[Rle, float]] = {}
    for (group, _), answer in zip(asked, found, strict=True):
        names = group.tracks.step(pts_us, answer.masks, answer.scores.tolist(), births=False)
        for place, name in enumerate(names):
            if name is not None:
                shown[group.who[name]] = answer.masks[place], float(answer.scores[place])
    return shown


def _prompt(group: _Alike, pts_us: int) -> Prompt | None:
    if group.phrase:
        return Prompt(group.phrase)
    expected = group.tracks.expected(next(iter(group.who)), pts_us)
    return Prompt(boxes=(expected,)) if expected else None


def _around(thing: Pointed, half: float = 0.05) -> Box:
    """A small box around the clicks on the object."""
    clicks = [click for click in thing.clicks if click.positive] or list(thing.clicks)
    left, right = min(click.x for click in clicks) - half, max(click.x for click in clicks) + half
    top, bottom = min(click.y for click in clicks) - half, max(click.y for click in clicks) + half
    left, top, right, bottom = max(left, 0.0), max(top, 0.0), min(right, 1.0), min(bottom, 1.0)
    return left, top, right - left, bottom - top


def _filled(box: Box, size: Size) -> Rle:
    height, width = size
    x, y, w, h = box
    mask = np.zeros(size, np.bool_)
    mask[
        int(y * height) : max(int(y * height) + 1, round((y + h) * height)),
        int(x * width) : max(int(x * width) + 1, round((x + w) * width)),
    ] = True
    return encode(mask)


def _size(picture: NDArray[np.uint8]) -> Size:
    return picture.shape[0], picture.shape[1]
