"""Thresholds that are learnt keep what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binom

from argus_ray.thresholds import learn, least

TARGET = 0.95
GRID = np.linspace(0, 1, 1001)

PRECISIONS = {
    "just under the target everywhere": lambda s: np.full_like(s, 0.949),
    "just under the target at the top": lambda s: 0.5 + 0.449 * s,
    "rising": lambda s: 0.2 + 0.8 * s**0.5,
    "a step": lambda s: np.where(s > 0.7, 0.99, 0.6),
    "falling at the very top": lambda s: np.where(s > 0.9, 0.9, 0.98),
    "good everywhere": lambda s: np.full_like(s, 0.99),
}


def precision_from(curve, threshold: float) -> float:
    """The true precision of all scores from there on; scores are spread evenly."""
    return float(np.mean(curve(np.linspace(threshold, 1, 501))))


@pytest.mark.parametrize("name", PRECISIONS)
@pytest.mark.parametrize("trials", [80, 400, 3000])
def test_above_a_learnt_threshold_the_precision_is_what_was_asked_in_95_of_100_cases(name, trials):
    curve = PRECISIONS[name]
    random = np.random.default_rng(trials)
    datasets, broken = 400, 0
    for _ in range(datasets):
        scores = random.random(trials)
        learnt = learn(scores, random.random(trials) < curve(scores), TARGET)
        broken += learnt.threshold is not None and precision_from(curve, learnt.threshold) < TARGET

    # more than this would have a chance of one in ten thousand if 5 % were true
    assert broken <= binom.ppf(0.9999, datasets, 0.05)


@pytest.mark.parametrize(("name", "highest"), [("a step", 0.8), ("good everywhere", 0.1)])
def test_with_enough_reviews_a_threshold_is_found_where_there_is_one(name, highest):
    random = np.random.default_rng(1)
    found = []
    for _ in range(50):
        scores = random.random(3000)
        found.append(learn(scores, random.random(3000) < PRECISIONS[name](scores), TARGET).threshold)

    assert all(threshold is not None and threshold <= highest for threshold in found)


def test_the_bound_is_that_of_clopper_and_pearson():
    learnt = learn([0.5] * 100, [True] * 98 + [False] * 2, 0.9)

    assert learnt.bound == pytest.approx(beta.ppf(0.05, 98, 3))
    assert (learnt.threshold, learnt.precision) == (0.5, 0.98)


@pytest.mark.parametrize(("target", "needed"), [(0.5, 5), (0.9, 29), (0.95, 59), (0.99, 299)])
def test_with_too_few_it_says_how_many_are_missing(target, needed):
    assert least(target) == needed
    assert learn([0.9] * (needed - 1), [True] * (needed - 1), target).missing == 1
    assert learn([0.9] * (needed - 1), [True] * (needed - 1), target).threshold is None
    assert learn([0.9] * needed, [True] * needed, target).threshold == 0.9
    assert learn([], [], target).missing == needed


def test_where_too_many_were_rejected_there_is_no_threshold_and_nothing_is_missing():
    learnt = learn(np.linspace(0, 1, 200), [False] * 200, TARGET)

    assert (learnt.threshold, learnt.missing, learnt.bound, learnt.rejected) == (None, 0, 0, 200)


def test_equal_scores_are_on_one_side():
    # the better half of equal scores may not be picked out by the order in which they come
    learnt = learn([0.8] * 200, [True] * 100 + [False] * 100, TARGET)

    assert learnt.threshold is None


@given(
    st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=300),
    st.randoms(use_true_random=False),
    st.sampled_from([0.6, 0.9]),
)
def test_the_order_of_the_trials_says_nothing_and_the_counts_are_those_of_all(trials, random, target):
    shuffled = list(trials)
    random.shuffle(shuffled)
    one, other = (learn([s / 20 for s, _ in order], [a for _, a in order], target) for order in (trials, shuffled))

    assert one == other
    assert one.accepted + one.rejected == len(trials)
    assert one.threshold is None or one.bound > target
