"""Tracks from masks whose truth is known, with the faults that detections have."""

from collections import Counter, defaultdict
from itertools import count, pairwise

import numpy as np
import pytest

from argus_ray import rle
from argus_ray.models.track_by_detection import Tracks
from argus_ray.synthetic.video import draw_frames, plan_video

STEP_US = 100_000
HEIGHT, WIDTH = 180, 320


def disc(x: float, y: float, radius: float = 20) -> np.ndarray:
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    return (columns - x) ** 2 + (rows - y) ** 2 < radius**2


def follow(
    frames: list[dict[int, np.ndarray]], tracks: Tracks | None = None, step_us: int = STEP_US
) -> list[dict[int, int]]:
    """Per frame, which track each object got; the order of the detections tells nothing."""
    tracks = tracks or Tracks(birth=0.5)
    rng = np.random.default_rng(1)
    answers = []
    for number, shown in enumerate(frames):
        order = [int(name) for name in rng.permutation(sorted(shown))]
        named = tracks.step(number * step_us, [rle.encode(shown[name]) for name in order], [0.9] * len(order))
        answers.append({name: it for name, it in zip(order, named, strict=True) if it is not None})
    return answers


def switches(answers: list[dict[int, int]]) -> int:
    """How often an object's track is another than when it was last seen."""
    history = defaultdict(list)
    for answer in answers:
        for name, it in answer.items():
            history[name].append(it)
    return sum(one != other for its in history.values() for one, other in pairwise(its))


def test_things_keep_their_numbers_while_they_move():
    frames = [{n: disc(30 + 60 * n + 3 * t, 60 + 20 * (n % 2) + 2 * t) for n in range(4)} for t in range(30)]
    answers = follow(frames)
    assert switches(answers) == 0
    assert sorted(answers[0].values()) == [0, 1, 2, 3]


def test_two_that_cross_keep_their_numbers():
    frames = [{0: disc(40 + 8 * t, 90), 1: disc(280 - 8 * t, 96)} for t in range(30)]
    for shown in frames:  # the nearer one hides what is behind it
        shown[1] &= ~shown[0]
    assert switches(follow([{name: mask for name, mask in shown.items() if mask.any()} for shown in frames])) == 0


def test_one_that_is_hidden_for_some_frames_comes_back_as_itself_and_later_as_another():
    def passing(gap: int) -> list[dict[int, np.ndarray]]:
        return [{} if 10 <= t < 10 + gap else {0: disc(30 + 6 * t, 90)} for t in range(30)]

    assert switches(follow(passing(gap=4))) == 0
    assert switches(follow(passing(gap=4), Tracks(birth=0.5, patience=2))) == 1


def test_one_that_moves_by_more_than_itself_is_followed():
    frames = [{0: disc(10 + 24 * t, 30 + 10 * t, radius=6)} for t in range(12)]
    assert switches(follow(frames)) == 0


def test_what_appears_far_away_is_new_and_what_left_is_over():
    frames = [{0: disc(30 + t, 40)} for t in range(5)] + [{1: disc(280, 150)} for _ in range(10)]
    answers = follow(frames)
    assert {it for answer in answers for it in answer.values()} == {0, 1}
    assert answers[5] == {1: 1}


def test_a_weak_detection_carries_a_track_on_and_begins_none():
    tracks = Tracks(birth=0.5)
    masks = [rle.encode(disc(60 + 3 * t, 90)) for t in range(4)]
    stray = rle.encode(disc(250, 40))
    assert tracks.step(0, [masks[0]], [0.9]) == [0]
    assert tracks.step(STEP_US, [masks[1], stray], [0.3, 0.3]) == [0, None]
    assert tracks.step(2 * STEP_US, [stray, masks[2]], [0.6, 0.3]) == [1, 0]


def test_time_may_run_backwards():
    frames = [{0: disc(40 + 8 * t, 90), 1: disc(280 - 8 * t, 98)} for t in range(30)]
    assert switches(follow(frames[::-1], step_us=-STEP_US)) == 0


def test_frames_far_apart_and_near_are_followed_by_their_times():
    times = np.cumsum([0, 1, 1, 4, 1, 1, 5, 1, 1, 1])
    tracks, seen = Tracks(birth=0.5), []
    for t in times:
        seen += tracks.step(int(t) * STEP_US, [rle.encode(disc(30 + 15 * t, 90, radius=12))], [0.9])
    assert set(seen) == {0}


def test_the_answer_does_not_depend_on_the_pictures_size():
    frames = [{n: disc(30 + 60 * n + 3 * t, 60 + 2 * t) for n in range(3)} for t in range(10)]
    large = [{n: np.kron(mask, np.ones((6, 6), bool)) for n, mask in shown.items()} for shown in frames]
    assert follow(frames) == follow(large)


def test_concepts_may_share_their_numbers():
    numbers = count()
    cars, dogs = Tracks(birth=0.5, numbers=numbers), Tracks(birth=0.5, numbers=numbers)
    mask = rle.encode(disc(60, 60))
    assert (cars.step(0, [mask], [0.9]), dogs.step(0, [mask], [0.9])) == ([0], [1])


def test_nothing_and_specks_are_taken():
    tracks = Tracks(birth=0.5)
    speck = np.zeros((1080, 1920), np.bool_)
    speck[500, 700] = True
    assert tracks.step(0, [], []) == []
    assert tracks.step(1, [rle.encode(speck)], [0.9]) in ([0], [None])
    assert tracks.step(2, [], []) == []


@pytest.mark.parametrize("seed", range(6))
def test_drawn_videos_with_noise_and_gaps_are_followed(seed):
    rng = np.random.default_rng(seed)
    truth = plan_video(rng, 4, scenes=1, size=(WIDTH, HEIGHT), fps=10)
    frames = []
    for _, drawing in draw_frames(truth):
        masks = {name: drawing.ids == name for name in range(1, drawing.ids.max() + 1)}
        frames.append(
            {
                name: np.roll(mask, rng.integers(-2, 3, 2), (0, 1))
                for name, mask in masks.items()
                if mask.sum() > 30 and rng.random() > 0.1  # a tenth is not detected
            }
        )
    pairs = Counter((name, it) for answer in follow(frames) for name, it in answer.items())
    kept = sum(max(times for (name, _), times in pairs.items() if name == one) for one in {name for name, _ in pairs})
    assert kept / pairs.total() > 0.95
