"""Boxes: fractions and pixels, clipping, overlap, and what a turned picture does to them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from argus_ray.annotations import boxes, turning
from argus_ray.video.geometry import Orientation

TURNS = [(clockwise, mirrored) for clockwise in (0, 90, 180, 270) for mirrored in (False, True)]
EXACT = {"abs": 1e-12, "rel": 1e-12}

fractions = st.floats(0, 1, allow_nan=False)
points = hnp.arrays(np.float64, st.tuples(st.integers(1, 6), st.just(2)), elements=fractions)
inside = points.flatmap(
    lambda corner: hnp.arrays(np.float64, corner.shape, elements=fractions).map(
        lambda share: np.concatenate([corner, (1 - corner) * share], axis=1)
    )
)
picture_sizes = st.tuples(st.integers(1, 5000), st.integers(1, 5000))


@given(inside, picture_sizes)
def test_fractions_become_pixels_and_fractions_again(some, size):
    height, width = size
    pixels = boxes.to_pixels(some, size)
    assert pixels[:, 2] - pixels[:, 0] == pytest.approx(some[:, 2] * width, abs=1e-9)
    assert pixels[:, 3] == pytest.approx((some[:, 1] + some[:, 3]) * height, abs=1e-9)
    assert boxes.from_pixels(pixels, size) == pytest.approx(some, **EXACT)


def test_a_single_box_is_as_good_as_many():
    assert boxes.to_pixels((0.25, 0.5, 0.5, 0.25), (100, 200)).tolist() == [50, 50, 150, 75]
    assert boxes.from_pixels((50, 50, 150, 75), (100, 200)).tolist() == [0.25, 0.5, 0.5, 0.25]


def test_what_reaches_out_of_the_picture_is_cut_off():
    assert boxes.clip([[-0.1, 0.5, 0.4, 0.7], [1.5, 1.5, 1, 1], [0.2, 0.2, 0.1, 0.1]]) == pytest.approx(
        np.array([[0, 0.5, 0.3, 0.5], [1, 1, 0, 0], [0.2, 0.2, 0.1, 0.1]])
    )


def test_overlap_is_intersection_over_union_of_each_with_each():
    some = [[0, 0, 0.5, 0.5], [0.25, 0, 0.5, 0.5], [0.6, 0.6, 0.4, 0.4]]
    assert boxes.iou(some, some[1:]) == pytest.approx(np.array([[1 / 3, 0], [1, (0.15 * 0)], [0, 1]]), abs=1e-12)
    assert boxes.iou([[0, 0, 0, 0]], [[0, 0, 0, 0]]).tolist() == [[0]]
    assert boxes.iou(np.zeros((0, 4)), some).shape == (0, 3)


@given(inside, inside)
def test_overlap_is_the_same_both_ways_and_in_any_turned_picture(a, b):
    overlap = boxes.iou(a, b)
    assert ((overlap >= 0) & (overlap <= 1 + 1e-9)).all()
    assert pytest.approx(overlap) == boxes.iou(b, a).T
    big = (a[:, 2:] > 0.01).all() and (b[:, 2:] > 0.01).all()
    if big:
        assert boxes.iou(boxes.turn(a, 90, mirrored=True), boxes.turn(b, 90, mirrored=True)) == pytest.approx(overlap)


@pytest.mark.parametrize(("clockwise", "mirrored"), TURNS)
@given(points)
def test_points_turn_back_to_where_they_were(clockwise, mirrored, some):
    turned = turning.turn(some, clockwise, mirrored=mirrored)
    assert ((turned >= 0) & (turned <= 1)).all()
    assert turning.turn_back(turned, clockwise, mirrored=mirrored) == pytest.approx(some, **EXACT)


@pytest.mark.parametrize(("clockwise", "mirrored"), TURNS)
@given(inside)
def test_boxes_turn_back_to_where_they_were(clockwise, mirrored, some):
    turned = boxes.turn(some, clockwise, mirrored=mirrored)
    assert boxes.turn_back(turned, clockwise, mirrored=mirrored) == pytest.approx(some, **EXACT)
    expected = some[:, [2, 3]] if clockwise % 180 == 0 else some[:, [3, 2]]
    assert turned[:, 2:] == pytest.approx(expected, **EXACT)


@pytest.mark.parametrize(("clockwise", "mirrored"), TURNS)
def test_a_point_turns_as_the_pixels_of_its_video_do(clockwise, mirrored):
    coded = np.zeros((6, 10, 3), dtype=np.uint8)
    coded[1, 7] = 255
    shown = Orientation(clockwise, mirrored).apply(coded)
    x, y = turning.turn([7.5 / 10, 1.5 / 6], clockwise, mirrored=mirrored)
    assert shown[int(y * shown.shape[0]), int(x * shown.shape[1])].tolist() == [255, 255, 255]


def test_pictures_turn_by_right_angles():
    assert turning.turn([0.1, 0.2], -90).tolist() == turning.turn([0.1, 0.2], 270).tolist()
    with pytest.raises(ValueError, match="by 0, 90, 180 or 270 degrees, not by 45"):
        turning.turn([0.1, 0.2], 45)


@given(inside, st.data())
def test_between_two_boxes_is_a_straight_way_through_both(a, data):
    b = data.draw(hnp.arrays(np.float64, a.shape, elements=fractions))
    assert boxes.between(a, b, np.zeros(len(a))).tolist() == a.tolist()
    assert boxes.between(a, b, np.ones(len(a))).tolist() == b.tolist()
    share = data.draw(hnp.arrays(np.float64, len(a), elements=fractions))
    assert boxes.between(a, b, share) == pytest.approx(a + (b - a) * share[:, None], **EXACT)
    assert boxes.between(a[0], b[0], 0.5) == pytest.approx((a[0] + b[0]) / 2, **EXACT)
