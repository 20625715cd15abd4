import pytest
from hypothesis import given
from hypothesis import strategies as st

from argus_ray.annotations.retrack import Keyframe, keyframes_of, replaced, windows
from argus_ray.errors import InvalidRequest


def a_track(pattern):
    """One keyframe a letter, a microsecond apart: P a person's, m the model's, O a person's `outside`, o the model's."""
    return [Keyframe(at, letter in "PO", letter in "Oo") for at, letter in enumerate(pattern) if letter != "."]


def spans(keyframes, corrected_us, last_us=9, **kwargs):
    found = windows(keyframes, corrected_us, 0, last_us, **kwargs)
    return {way.direction: (way.from_us, way.to_us, way.meets_human) for way in found}


def test_a_correction_is_tracked_both_ways_as_far_as_the_next_human_keyframe():
    assert spans(a_track("mPmmPmmmPm"), 4) == {"backward": (4, 1, True), "forward": (4, 8, True)}


def test_without_another_human_keyframe_it_goes_to_the_ends_of_the_video():
    assert spans(a_track("mmmmPmm"), 4) == {"backward": (4, 0, False), "forward": (4, 9, False)}


def test_a_reach_bounds_each_way_and_a_human_keyframe_beyond_it_is_not_met():
    assert spans(a_track("PmmmPmmmPm"), 4, reach_us=2) == {"backward": (4, 2, False), "forward": (4, 6, False)}


def test_at_the_end_of_the_video_there_is_one_way_only():
    assert spans(a_track("mmmP"), 3, last_us=3) == {"backward": (3, 0, False)}


def test_the_models_keyframes_between_go_and_people_s_stay():
    track = a_track("mPmmPmmmPm")
    backward, forward = windows(track, 4, 0, 9)

    assert replaced(backward, track) == [2, 3]
    assert replaced(forward, track) == [5, 6, 7]


def test_the_end_of_the_video_is_replaced_too():
    track = a_track("mmPmm")
    backward, forward = windows(track, 2, 0, 4)

    assert replaced(backward, track) == [0, 1]
    assert replaced(forward, track) == [3, 4]


def test_a_lost_object_is_outside_once_from_the_first_time_at_which_it_is_not_found():
    [_, forward] = windows(a_track("mPmmmmmmmm"), 1, 0, 9)

    assert keyframes_of(forward, range(10), {2: "a", 3: "b", 7: "c"}) == [
        (2, "a"), (3, "b"), (4, None), (7, "c"), (8, None),
    ]  # fmt: skip


def test_going_back_a_lost_object_is_outside_right_after_the_human_keyframe_that_shows_it():
    backward, _ = windows(a_track("P....P...."), 5, 0, 9)

    assert keyframes_of(backward, range(10), {3: "a", 4: "b"}) == [(1, None), (3, "a"), (4, "b")]


def test_going_back_to_a_human_keyframe_that_says_outside_nothing_more_is_said():
    backward, _ = windows(a_track("O....P...."), 5, 0, 9)

    assert keyframes_of(backward, range(10), {3: "a", 4: "b"}) == [(3, "a"), (4, "b")]


def test_before_the_first_keyframe_of_a_track_it_is_not_seen_anyway():
    backward, _ = windows(a_track("..mmmP...."), 5, 0, 9)

    assert keyframes_of(backward, range(10), {4: "b"}) == [(4, "b")]


def test_a_bounded_way_back_ends_what_the_model_s_older_keyframes_showed():
    backward, _ = windows(a_track("mmmmmmP..."), 6, 0, 9, reach_us=3)

    assert keyframes_of(backward, range(10), {5: "b"}) == [(3, None), (5, "b")]


def test_a_track_ended_by_a_person_is_not_tracked_on_and_the_model_s_keyframes_go():
    track = a_track("PmmOmmmPm")

    [forward] = windows(track, 3, 0, 9)

    assert forward.is_gone
    assert replaced(forward, track) == [4, 5, 6]
    assert keyframes_of(forward, range(10), {5: "a"}) == []


@pytest.mark.parametrize("pts_us", [2, 5])
def test_a_time_without_a_correction_is_refused(pts_us):
    with pytest.raises(InvalidRequest, match="no corrected keyframe"):
        windows(a_track("mPm"), pts_us, 0, 9)


@given(st.text("PmOo.", min_size=1, max_size=30), st.data())
def test_whatever_the_model_finds_people_s_keyframes_stay_and_every_time_is_told(pattern, data):
    """Afterwards the object is seen at a sampled time in a window where the model has found it, and nowhere else."""
    track = a_track(pattern)
    human = [one.pts_us for one in track if one.is_human]
    if not human:
        return
    corrected_us = data.draw(st.sampled_from(human))
    found = dict.fromkeys(data.draw(st.sets(st.integers(0, len(pattern) - 1))), "x")
    reach_us = data.draw(st.none() | st.integers(1, 10))

    after = {one.pts_us: not one.outside for one in track}
    ways = windows(track, corrected_us, 0, len(pattern) - 1, reach_us)
    for way in ways:
        for pts_us in replaced(way, track):
            del after[pts_us]
        after |= {pts_us: shape is not None for pts_us, shape in keyframes_of(way, range(len(pattern)), found)}

    assert all(after[one.pts_us] is not one.outside for one in track if one.is_human)
    for way in ways:
        for pts_us in range(len(pattern)):
            if pts_us in way:
                is_seen = after[max(at for at in after if at <= pts_us)] if min(after) <= pts_us else False
                assert is_seen == (pts_us in found and not way.is_gone)
