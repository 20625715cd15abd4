"""Between two polygons the way begins at the first and ends at the last, whatever their points."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from argus_ray.annotations.interpolation import between
from tests.unit.annotations.test_polygons import circle, stars

SQUARE = [(0.2, 0.2), (0.4, 0.2), (0.4, 0.4), (0.2, 0.4)]


def moved(ring, x=0.0, y=0.0):
    return [(px + x, py + y) for px, py in ring]


def shape(polygon):
    return shapely.MultiPolygon([(part[0], part[1:]) for part in polygon])


def differ(a, b):
    """Area that only one of them covers."""
    return shape(a).symmetric_difference(shape(b)).area


def test_with_as_many_points_each_moves_straight_to_its_counterpart():
    (half,) = between([[SQUARE]], [[moved(SQUARE, 0.4, 0.2)]], [0.5])
    assert np.array(half[0][0]) == pytest.approx(np.array(moved(SQUARE, 0.2, 0.1)))


@pytest.mark.parametrize("begins", range(4))
@pytest.mark.parametrize("way", [1, -1])
def test_where_a_ring_begins_and_which_way_it_goes_does_not_matter(begins, way):
    other = moved(SQUARE, 0.3)
    other = (other[begins:] + other[:begins])[::way]
    (half,) = between([[SQUARE]], [[other]], [0.5])
    assert differ([half[0]], [[moved(SQUARE, 0.15)]]) == pytest.approx(0, abs=1e-9)


def test_a_last_point_that_repeats_the_first_is_none_of_its_own():
    (half,) = between([[[*SQUARE, SQUARE[0]]]], [[moved(SQUARE, 0.2)]], [0.5])
    assert np.array(half[0][0]) == pytest.approx(np.array(moved(SQUARE, 0.1)))


@given(stars(), stars())
def test_the_way_begins_exactly_at_the_first_and_ends_exactly_at_the_last(first, last):
    start, early, late, end = between([[first]], [[last]], [0, 1e-9, 1 - 1e-9, 1])
    assert start == [[first]]
    assert end == [[last]]
    for found, expected in ((early, [[first]]), (late, [[last]])):
        outline = shapely.LinearRing(found[0][0])
        assert outline.hausdorff_distance(shapely.LinearRing(expected[0][0])) < 1e-6


@given(stars(), stars(), st.floats(0, 1))
def test_the_way_stays_where_its_ends_are(first, last, share):
    (found,) = between([[first]], [[last]], [share])
    around = shapely.MultiPoint([*first, *last]).convex_hull.buffer(1e-9)
    assert around.covers(shapely.MultiPoint(found[0][0]))


@given(st.integers(3, 40), st.integers(3, 40), st.floats(0.1, 0.9))
def test_a_circle_that_moves_stays_round_however_many_points_it_has(few, many, share):
    start, end = circle(0.3, 0.3, 0.1, 10 * few), circle(0.6, 0.5, 0.2, 10 * many)[::-1]
    (found,) = between([[start]], [[end]], [share])
    expected = circle(0.3 + 0.3 * share, 0.3 + 0.2 * share, 0.1 + 0.1 * share, 400)
    assert differ(found, [[expected]]) < 0.06 * shape([[expected]]).area


def test_parts_and_holes_find_their_nearest_counterparts():
    left, right = circle(0.25, 0.5, 0.2), circle(0.75, 0.5, 0.2)
    up, down = circle(0.25, 0.4, 0.05), circle(0.25, 0.6, 0.05)
    (half,) = between([[left, up, down], [right]], [[moved(right, 0, 0.1)], [left, moved(down, 0.02), up]], [0.5])
    assert differ(half, [[left, up, moved(down, 0.01)], [moved(right, 0, 0.05)]]) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    "other", [[[SQUARE], [moved(SQUARE, 0.4)]], [[SQUARE, [(0.25, 0.25), (0.3, 0.25), (0.3, 0.3)]]]]
)
def test_without_counterparts_the_first_holds_until_the_last(other):
    one = [[moved(SQUARE, 0.1)]]
    assert between(one, other, [0, 0.5, 0.99, 1]) == [one, one, one, other]
    assert between(other, one, [0, 0.5, 0.99, 1]) == [other, other, other, one]
