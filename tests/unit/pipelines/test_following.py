"""What a model says frame by frame becomes tracklets, with memory that no length of video changes."""

from __future__ import annotations

import tracemalloc
from collections import deque
from collections.abc import Iterator
from functools import cache
from uuid import UUID, uuid5

import numpy as np
import pytest

from argus_ray import rle
from argus_ray.annotations import stitching
from argus_ray.annotations.stitching import Span
from argus_ray.models.concepts import Tracked, TrackedFrame, box_of
from argus_ray.pipelines.stages.following import Followed, Pictures, crop, follow

SIZE = 36, 64
BLOCK, OVERLAP = 64, 8
LABEL = UUID(int=1)


@cache
def mask_at(x: int, y: int = 10, side: int = 12) -> rle.Rle:
    mask = np.zeros(SIZE, bool)
    mask[y : y + side, x : x + side] = True
    return rle.encode(mask)


@cache
def seen(name: int, mask: rle.Rle, *, prompt: int = 0, score: float = 0.9) -> Tracked:
    return Tracked(name, prompt, score, box_of(mask), mask)


def frames(times: range) -> Iterator[tuple[int, np.ndarray]]:
    for pts_us in times:
        yield pts_us, np.full((*SIZE, 3), pts_us % 251, np.uint8)


def answers(pictures: Pictures, objects, presence=(1.0,), lag: int = 0) -> Iterator[TrackedFrame]:
    """`objects` by time; answers come `lag` frames late."""
    held: deque[TrackedFrame] = deque()
    for pts_us, _ in pictures:
        held.append(TrackedFrame(pts_us, objects(pts_us), presence, "track-by-detection"))
        if len(held) > lag:
            yield held.popleft()
    yield from held


def squash(picture: np.ndarray) -> np.ndarray:
    return np.resize(picture, (8, 8, 3))


def followed(objects, times=range(10), *, owner=(0,), thresholds=(0.5,), lag: int = 0) -> Followed:
    pictures = Pictures(frames(times))
    return follow(pictures, answers(pictures, objects, (1.0,) * len(owner), lag), owner, thresholds, squash)


def test_an_object_is_one_tracklet_with_its_first_and_last_look():
    result = followed(lambda t: [seen(7, mask_at(t))] if 2 <= t <= 6 else [], lag=3)
    (one,) = result.tracklets
    assert sorted(one.masks) == [2, 3, 4, 5, 6]
    assert (int(one.first_look[0, 0, 0]), int(one.last_look[0, 0, 0])) == (2, 6)
    assert result.times_us == list(range(10))


def test_what_never_reached_its_labels_threshold_is_left_out():
    def objects(t):
        return [seen(1, mask_at(0), score=0.4), seen(2, mask_at(40), prompt=1, score=0.6 if t == 5 else 0.2)]

    (kept,) = followed(objects, owner=(0, 1), thresholds=(0.5, 0.5)).tracklets
    assert kept.label == 1


def test_an_object_that_two_phrases_of_a_label_follow_is_one():
    def objects(t):
        longer = [seen(1, mask_at(t))]
        return longer + ([seen(5, mask_at(t + 1), prompt=1)] if t > 4 else []) + [seen(6, mask_at(45), prompt=1)]

    assert len(followed(objects, owner=(0, 0), thresholds=(0.5,)).tracklets) == 2
    assert len(followed(objects, owner=(0, 1), thresholds=(0.5, 0.5)).tracklets) == 3, "two labels are two things"


@pytest.mark.parametrize("box", [(0.0, 0.0, 0.001, 0.001), (0.99, 0.99, 0.01, 0.01), (0.0, 0.0, 1.0, 1.0)])
def test_a_crop_is_never_empty(box):
    assert min(crop(np.zeros((*SIZE, 3), np.uint8), box).shape) >= 1


def peak_of(frames_in_all: int) -> tuple[int, int, int]:
    """Bytes of memory at most while segments are followed, while their pieces are joined, and how many pieces there are."""

    def objects(t):
        return [seen(1, mask_at(t % 50)), seen(2, mask_at(49 - t % 50, y=22))]

    step = BLOCK - OVERLAP
    starts = range(0, max(frames_in_all - OVERLAP, 1), step)
    spans = [Span(n, start, min(start + BLOCK, frames_in_all) - 1) for n, start in enumerate(starts)]
    most, pieces = 0, []
    for span in spans:
        tracemalloc.start()
        result = followed(objects, range(span.start_us, span.end_us + 1))
        most = max(most, tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        nearby = [other for other in spans if abs(other.segment - span.segment) <= 1]
        for place, one in enumerate(result.tracklets):
            whole = stitching.Tracklet(uuid5(LABEL, f"{span.segment}/{place}"), LABEL, span.segment, one.masks)
            pieces.append(stitching.ends(whole, nearby))
    tracemalloc.start()
    stitching.stitch(pieces, spans)
    joining = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most, joining, len(pieces)


def test_memory_is_the_same_for_a_thousand_frames_and_for_five_thousand():
    short, joining_short, _ = peak_of(1_000)
    long, joining_long, pieces = peak_of(5_000)
    assert long < 1.1 * short
    assert joining_long - joining_short < 20_000 * pieces, "a few shapes of each piece"
