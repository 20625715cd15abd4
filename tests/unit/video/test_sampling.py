"""A policy is a function of times alone."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from argus_ray.schemas.video import SamplingPolicy
from argus_ray.video.sampling import choose
from tests.unit.video.test_index import index_of

LIMIT = 1_000_000
times_ms = st.lists(st.integers(0, 20_000), min_size=1, max_size=60, unique=True).map(sorted)


def wanted(index, limit=LIMIT, **policy):
    return choose(SamplingPolicy(**policy), index, limit).wanted_us.tolist()


@given(times_ms, st.sampled_from([0.1, 0.5, 1, 2, 7, 29.97, 60, 240]))
def test_fps_keeps_the_picture_shown_at_each_time_of_the_grid(times, fps):
    index = index_of(times)
    shown = index.shown_us.tolist()

    expected = set()
    k = 0
    while (time := round(k * 1e6 / fps)) < max(index.end_us, shown[-1] + 1):
        expected.add(max((t for t in shown if t <= time), default=shown[0]))
        k += 1

    assert wanted(index, policy="fps", fps=fps) == sorted(expected)


def test_a_grid_as_fine_as_the_pictures_keeps_every_one():
    index = index_of(range(0, 1000, 40))

    assert len(wanted(index, policy="fps", fps=25)) == 25
    assert len(wanted(index, policy="fps", fps=240)) == 25


def test_a_time_before_the_first_picture_asks_for_the_first():
    assert wanted(index_of([600, 640, 680]), policy="fps", fps=1) == [600_000]


def test_uniform_takes_the_middles_of_equal_parts():
    index = index_of(range(0, 1000, 10))

    assert wanted(index, policy="uniform", count=4) == [120_000, 370_000, 620_000, 870_000]
    assert len(wanted(index, policy="uniform", count=1000)) == 100


def test_keyframes_are_those_of_the_stream_that_are_shown():
    index = index_of(range(0, 1000, 100), keys=(0, 4, 8), cut=(0,))

    assert wanted(index, policy="keyframes") == [400_000, 800_000]


def test_a_keyframe_within_the_tolerance_stands_for_the_wanted_time():
    index = index_of(range(0, 3000, 100), keys=(0, 9, 24))

    assert wanted(index, policy="fps", fps=1) == [0, 1_000_000, 2_000_000]
    assert wanted(index, policy="fps", fps=1, tolerance_s=0.1) == [0, 900_000, 2_000_000]
    assert wanted(index, policy="fps", fps=1, tolerance_s=0.4) == [0, 900_000, 2_400_000]


@given(st.integers(1, 500), st.integers(1, 600))
def test_max_frames_thins_evenly_over_the_whole_video(count, max_frames):
    index = index_of([n * 40 for n in range(count)])

    kept = wanted(index, policy="every_frame", max_frames=max_frames)

    assert len(kept) == min(count, max_frames)
    assert kept[0] == 0
    steps = np.diff([*kept, count * 40_000])
    assert steps.max() - steps.min() <= 40_000


def test_thinning_says_so_and_names_what_caused_it():
    index = index_of(range(0, 4000, 40))

    own = choose(SamplingPolicy(policy="every_frame", max_frames=10), index, LIMIT)
    limit = choose(SamplingPolicy(policy="every_frame", max_frames=50), index, 20)

    assert "wants 100 frames; 10 were taken" in own.warnings[0].detail
    assert "because of max_frames" in own.warnings[0].detail
    assert len(limit.wanted_us) == 20
    assert "ARGUS_MAX_FRAMES_KEPT" in limit.warnings[0].detail
    assert not choose(SamplingPolicy(policy="every_frame", max_frames=100), index, LIMIT).warnings
