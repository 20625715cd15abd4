"""Tracks: where an object is between its keyframes, and where it is not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argus_ray import rle
from argus_ray.annotations import boxes, tracks
from argus_ray.annotations.tracks import Keyframe
from argus_ray.errors import InvalidRequest
from argus_ray.schemas.annotation import Kind

SECOND = 1_000_000
SQUARE = [[[(0.0, 0.0), (0.2, 0.0), (0.2, 0.2), (0.0, 0.2)]]]
A, B, C = (0.0, 0.0, 0.2, 0.2), (0.4, 0.2, 0.2, 0.4), (0.6, 0.6, 0.4, 0.4)


def box(second, shape, **more):
    return Keyframe(second * SECOND, Kind.BOX, shape, **more)


def at(keyframes, second):
    seen = tracks.at(keyframes, round(second * SECOND))
    return seen and seen.shape


fractions = st.floats(0, 1, allow_nan=False)


@st.composite
def box_tracks(draw):
    times = sorted(draw(st.sets(st.integers(-100, 10_000), min_size=1, max_size=8)))
    shapes = st.tuples(fractions, fractions, fractions, fractions)
    return [Keyframe(time, Kind.BOX, draw(shapes), outside=draw(st.booleans())) for time in times]


def test_a_box_moves_in_a_straight_line_from_keyframe_to_keyframe():
    track = [box(0, A), box(2, B), box(3, C)]
    assert at(track, 1) == pytest.approx((0.2, 0.1, 0.2, 0.3))
    assert at(track, 2.5) == pytest.approx((0.5, 0.4, 0.3, 0.4))


def test_a_track_is_nowhere_before_its_first_keyframe_and_after_its_last():
    track = [box(1, A), box(2, B)]
    assert [at(track, second) is None for second in (0.999999, 1, 2, 2.000001)] == [True, False, False, True]
    assert tracks.at([], 0) is None


def test_outside_ends_it_until_the_next_keyframe_that_is_to_be_seen():
    track = [box(0, A), box(2, B), box(3, B, outside=True), box(4, C, outside=True), box(5, C), box(6, A)]
    assert [at(track, second) is None for second in (2, 2.9, 3, 3.5, 4, 4.9, 5, 5.5, 6)] == [
        False, False, True, True, True, True, False, False, False,
    ]  # fmt: skip
    assert at(track, 5) == C


def test_on_its_way_out_it_moves_to_where_it_was_going():
    track = [box(0, A), box(2, B, outside=True)]
    assert at(track, 1) == pytest.approx((0.2, 0.1, 0.2, 0.3))


@pytest.mark.parametrize(
    ("kind", "first", "last"),
    [
        (Kind.MASK, rle.encode(np.eye(4)), rle.encode(np.ones((4, 4)))),
        (Kind.POINTS, [(0.1, 0.1)], [(0.9, 0.9)]),
        (Kind.TAG, None, None),
    ],
)
def test_masks_points_and_tags_hold_until_the_next_keyframe(kind, first, last):
    track = [Keyframe(0, kind, first), Keyframe(10, kind, last)]
    assert [seen.shape for seen in tracks.over(track, [0, 5, 9, 10])] == [first, first, first, last]


def test_a_shape_before_one_of_another_kind_holds():
    track = [box(0, A), Keyframe(2 * SECOND, Kind.POLYGON, SQUARE)]
    assert at(track, 1.9) == A
    assert at(track, 2) == SQUARE


def test_a_polygon_moves_with_its_points():
    moved = [[[(x + 0.4, y + 0.2) for x, y in SQUARE[0][0]]]]
    track = [Keyframe(0, Kind.POLYGON, SQUARE), Keyframe(4, Kind.POLYGON, moved)]
    (x, y), *_ = at(track, 1 / SECOND)[0][0]
    assert (x, y) == pytest.approx((0.1, 0.05))
    assert at(track, 0) == SQUARE
    assert at(track, 4 / SECOND) == moved


def test_occlusion_and_attributes_are_those_of_the_keyframe_before():
    track = [box(0, A, attributes={"speed": 1}), box(1, B, occluded=True, attributes={"speed": 2}), box(2, C)]
    seen = tracks.over(track, [0, SECOND // 2, SECOND, 3 * SECOND // 2, 2 * SECOND])
    assert [(one.keyframe.occluded, one.keyframe.attributes, one.interpolated) for one in seen] == [
        (False, {"speed": 1}, False),
        (False, {"speed": 1}, True),
        (True, {"speed": 2}, False),
        (True, {"speed": 2}, True),
        (False, {}, False),
    ]


def test_two_keyframes_at_one_time_are_refused():
    with pytest.raises(InvalidRequest, match="the track has two keyframes at 1000000 us: keep one of them"):
        tracks.ordered([box(1, A), box(0, B), box(1, C)])
    assert [one.pts_us for one in tracks.ordered([box(2, A), box(0, B), box(1, C)])] == [0, SECOND, 2 * SECOND]


@given(box_tracks())
def test_a_track_passes_exactly_through_its_keyframes(track):
    for keyframe in track:
        seen = tracks.at(track, keyframe.pts_us)
        assert (seen is None) == keyframe.outside
        assert seen is None or (seen.shape == keyframe.shape and not seen.interpolated)


@given(box_tracks(), st.lists(st.integers(-200, 10_100), max_size=30).map(sorted))
def test_many_times_at_once_are_as_one_by_one(track, times_us):
    one_by_one = [tracks.at(track, time) for time in times_us]
    assert tracks.over(track, times_us) == [seen for seen in one_by_one if seen is not None]


@given(box_tracks(), st.integers(-200, 10_100))
def test_between_two_keyframes_a_box_lies_within_their_bounds(track, time_us):
    seen = tracks.at(track, time_us)
    before = [one for one in track if one.pts_us <= time_us]
    after = [one for one in track if one.pts_us >= time_us]
    assert (seen is not None) == bool(before and after and not before[-1].outside)
    if seen is not None:
        ends = np.array([before[-1].shape, after[0].shape])
        assert (np.array(seen.shape) >= ends.min(axis=0) - 1e-12).all()
        assert (np.array(seen.shape) <= ends.max(axis=0) + 1e-12).all()


# -- fewer keyframes -------------------------------------------------------------------------------


@given(st.integers(0, 2**32), st.integers(1, 60), st.sampled_from([0, 0.002, 0.02, 0.3]))
def test_the_keyframes_that_are_left_tell_every_box_within_the_tolerance(seed, count, tolerance):
    random = np.random.default_rng(seed)
    times = np.cumsum(random.integers(1, 50_000, count)).tolist()
    dense = np.abs(np.cumsum(random.normal(0, 0.01, (count, 4)), axis=0))
    kept = tracks.simplify(times, dense, tolerance)
    assert (kept[0], kept[-1]) == (0, count - 1)
    track = [Keyframe(times[place], Kind.BOX, tuple(dense[place].tolist())) for place in kept]
    seen = np.array([one.shape for one in tracks.over(track, times)])
    assert np.abs(boxes.corners(seen) - boxes.corners(dense)).max() <= tolerance + 1e-9


def test_of_steady_motion_the_two_ends_are_left():
    times = [0, 10, 30, 70, 100]
    dense = boxes.between(A, B, np.array(times) / 100)
    assert tracks.simplify(times, dense, 1e-9) == [0, 4]
    assert tracks.simplify([], np.zeros((0, 4)), 0.1) == []
    assert tracks.simplify([5], [A], 0.1) == [0]
