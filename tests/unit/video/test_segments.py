"""Cuts spread the work and change nothing about what is wanted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argus_ray.schemas.video import SamplingPolicy
from argus_ray.video.limits import Limits
from argus_ray.video.probe import examine
from argus_ray.video.segments import BLOCK, SegmentPlan, plan_segments
from tests.clips import make
from tests.unit.video.test_index import index_of


@pytest.fixture(scope="module")
def a_probe(tmp_path_factory):
    clip = make(tmp_path_factory.mktemp("clips") / "a.mp4", seconds=0.2)
    return examine(str(clip.path), "a.mp4", Limits())[0]


def plans_of(probe, index, budget, **policy):
    probe = probe.model_copy(update={"video_end_us": index.end_us})
    return plan_segments(probe, index, SamplingPolicy(**policy), budget)


@given(st.integers(1, 5000), st.sampled_from([10, 50, 250]), st.sampled_from([True, False]), st.sampled_from([1, 5]))
def test_segments_of_any_budget_want_the_same_pictures_in_order(a_probe, budget, gop, dedupe, fps):
    index = index_of([n * 40 for n in range(3000)], keys=range(0, 3000, gop))
    whole = plans_of(a_probe, index, 10**9, policy="fps", fps=fps, dedupe=dedupe)
    plans = plans_of(a_probe, index, budget, policy="fps", fps=fps, dedupe=dedupe)

    def own(plan):
        listed = [t for run in plan.runs for t in run.wanted_us or ()]
        return [t for t in listed if plan.before_us is None or t > plan.before_us]

    assert len(whole) == 1
    assert [t for plan in plans for t in own(plan)] == own(whole[0])
    assert [t for plan in plans for t in plan.fresh_us] == list(whole[0].fresh_us)
    assert [plan.ordinal for plan in plans] == list(range(len(plans)))
    assert [plan.end_us for plan in plans[:-1]] == [plan.start_us for plan in plans[1:]]
    assert [plan.is_last for plan in plans] == [False] * (len(plans) - 1) + [True]


def test_a_segment_decodes_about_its_budget(a_probe):
    index = index_of([n * 40 for n in range(30_000)], keys=range(0, 30_000, 50))

    plans = plans_of(a_probe, index, 3000, policy="every_frame", dedupe=False)

    assert len(plans) == 11
    assert all(2900 <= plan.frames_to_decode <= 3100 for plan in plans[:-1])


def test_only_groups_that_hold_a_wanted_picture_are_decoded(a_probe):
    index = index_of([n * 40 for n in range(3000)], keys=range(0, 3000, 25))  # a keyframe a second

    (plan,) = plans_of(a_probe, index, 10**6, policy="fps", fps=0.1, dedupe=False)

    assert plan.wanted == 12
    assert plan.frames_to_decode == 12
    assert [run.seek_pts for run in plan.runs] == [None, *range(10_000, 120_000, 10_000)]


def test_a_video_with_a_single_keyframe_is_not_cut(a_probe):
    index = index_of([n * 40 for n in range(30_000)])

    assert len(plans_of(a_probe, index, 100, policy="fps", fps=25)) == 1


def test_cuts_lie_where_the_judgement_of_duplicates_starts_afresh(a_probe):
    index = index_of([n * 40 for n in range(3000)], keys=range(0, 3000, 10))

    plans = plans_of(a_probe, index, 200, policy="every_frame")

    assert len(plans) > 10
    assert all((plan.start_us // 40_000) % BLOCK == 0 for plan in plans)


def test_scenes_with_max_frames_are_cut_between_slots(a_probe):
    index = index_of([n * 40 for n in range(3000)], keys=range(0, 3000, 10))

    plans = plans_of(a_probe, index, 100, policy="scenes", max_frames=5)

    slots = [plan.start_us // plan.slot_us for plan in plans]
    assert len(slots) == len(set(slots)) > 1


def test_a_plan_is_small_and_survives_json(a_probe):
    index = index_of([n * 40 for n in range(90_000)], keys=range(0, 90_000, 250))

    plans = plans_of(a_probe, index, 3000, policy="fps", fps=1)

    texts = [plan.model_dump_json() for plan in plans]
    assert [SegmentPlan.model_validate_json(text) for text in texts] == plans
    assert max(len(text) for text in texts) < 10_000
    assert np.isclose(sum(plan.share for plan in plans), 1, atol=0.2)
