"""Polygons: which are none, which pixels one covers, and the way from a mask and back."""

import time

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from argus_ray import rle
from argus_ray.annotations import polygons
from argus_ray.errors import InvalidRequest
from tests.unit.test_rle import stacks

SQUARE = [(0.1, 0.1), (0.9, 0.1), (0.9, 0.9), (0.1, 0.9)]
HOLE = [(0.2, 0.2), (0.4, 0.2), (0.3, 0.4)]
NAN = float("nan")


def circle(x, y, radius, count=200):
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return [(x + radius * np.cos(a), y + radius * np.sin(a)) for a in angles.tolist()]


# -- what one may be -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "polygon",
    [
        [[SQUARE]],
        [[[*SQUARE, SQUARE[0]]]],
        [[SQUARE[::-1], HOLE]],
        [[SQUARE, HOLE, [(0.4, 0.2), (0.6, 0.2), (0.5, 0.4)]]],  # holes that touch at a corner
        [[SQUARE], [[(0, 0), (1, 0), (1, 1)]]],  # parts may overlap
        [[[(0, 0), (1, 0), (1, 1), (0, 1)]]],
        [[circle(0.5, 0.5, 0.4, 9_999)]],
    ],
)
def test_polygons_with_holes_and_several_parts_are_let_pass(polygon):
    polygons.check(polygon)


@pytest.mark.parametrize(
    ("polygon", "says"),
    [
        ([], "/polygon: it has no part"),
        ([[SQUARE], []], "/polygon/1: the part has no ring"),
        ([[[]]], "/polygon/0/0: the ring has 0 distinct points and needs at least 3"),
        ([[SQUARE[:2]]], "/polygon/0/0: the ring has 2 distinct points"),
        ([[SQUARE], [[(0, 0), (1, 1), (0, 0), (1, 1)]]], "/polygon/1/0: the ring has 2 distinct points"),
        ([[[(0, 0), (0.5, 0.5), (1, 1)]]], "/polygon/0/0: the ring covers nothing: all its points lie on one line"),
        ([[[(0, 0), (1, 1), (1, 0), (0, 1)]]], r"/polygon/0/0: the ring crosses or touches itself near \(0.5, 0.5\)"),
        (
            [[[(0, 0), (1, 0), (0.5, 0.5), (1, 1), (0, 1), (0.5, 0.5)]]],
            "/polygon/0/0: the ring crosses or touches itself",
        ),
        ([[[(0, 0), (1.01, 0), (1, 1)]]], r"/polygon/0/0/1: it lies outside of the picture.*: \(1.01, 0\)"),
        ([[SQUARE, [(0.2, 0.2), (0.4, 0.2), (0.3, -0.1)]]], "/polygon/0/1/2: it lies outside of the picture"),
        ([[[(0, 0), (1, 0), (1, NAN)]]], r"/polygon/0/0/2: a coordinate is no finite number: \(1, nan\)"),
        ([[[(0, 0), (float("inf"), 0), (1, 1)]]], "/polygon/0/0/1: a coordinate is no finite number"),
        ([[[(0, 0, 0), (1, 0), (1, 1)]]], "/polygon/0/0: a ring is a list of points, each two numbers"),
        ([[[("a", 0), (1, 0), (1, 1)]]], "/polygon/0/0: a ring is a list of points, each two numbers"),
        ([[SQUARE, HOLE, [(0, 0), (0.05, 0), (0, 0.05)]]], "/polygon/0/2: the hole lies outside of its outline, as at"),
        (
            [[SQUARE, [(0.8, 0.2), (0.95, 0.2), (0.8, 0.3)]]],
            "/polygon/0/1: the hole lies outside of its outline, as at",
        ),
        ([[SQUARE, HOLE, HOLE]], "/polygon/0: its rings meet near .*: a hole must not overlap another hole"),
        ([[SQUARE, HOLE, [(0.3, 0.3), (0.5, 0.3), (0.4, 0.5)]]], "/polygon/0: its rings meet near"),
        ([[SQUARE, [(0.1, 0.2), (0.1, 0.4), (0.3, 0.3)]]], "/polygon/0: its rings meet near .*share a border"),
        ([[[(0.5, i / 1e6) for i in range(1_000_000)]]], "/polygon: it has 1000000 points and at most 10000 are kept"),
    ],
)
def test_what_is_no_polygon_is_refused_with_its_place(polygon, says):
    began = time.process_time()
    with pytest.raises(InvalidRequest, match=says) as refused:
        polygons.check(polygon)
    assert time.process_time() - began < 2
    assert len(refused.value.detail) < 250


def test_ten_thousand_points_that_cross_everywhere_are_refused_soon():
    tangle = np.random.default_rng(5).random((polygons.MOST_POINTS, 2)).tolist()
    began = time.process_time()
    with pytest.raises(InvalidRequest, match="crosses or touches itself"):
        polygons.check([[tangle]])
    assert time.process_time() - began < 5


# -- pixels ----------------------------------------------------------------------------------------


@st.composite
def stars(draw):
    """A ring around a middle, at any distance in each direction: it never crosses itself."""
    count = draw(st.integers(3, 12))
    radii = np.array(draw(st.lists(st.floats(0.05, 0.45), min_size=count, max_size=count)))
    angles = np.arange(count) / count * 2 * np.pi + draw(st.floats(0, 1))
    return [(0.5 + r * np.cos(a), 0.5 + r * np.sin(a)) for r, a in zip(radii.tolist(), angles.tolist(), strict=True)]


@given(stars(), st.integers(1, 60), st.integers(1, 60))
def test_a_pixel_is_covered_where_its_centre_lies_inside(star, height, width):
    mask = rle.decode(polygons.to_rle([[star]], (height, width)))
    y, x = np.mgrid[:height, :width] + 0.5
    shape = shapely.Polygon([(px * width, py * height) for px, py in star])
    centres = shapely.points(x, y)
    clear = shapely.distance(shapely.boundary(shape), centres) > 1e-9
    assert (mask == shapely.contains(shape, centres))[clear].all()


@given(st.floats(0.1, 0.9), st.floats(0.1, 0.9), st.integers(1, 50), st.integers(1, 50))
def test_polygons_that_share_borders_share_no_pixel_and_leave_none_out(x, y, height, width):
    corners = [(0, 0), (1, 0), (1, 1), (0, 1)]
    masks = [
        rle.decode(polygons.to_rle([[[a, b, (x, y)]]], (height, width)))
        for a, b in zip(corners, [*corners[1:], corners[0]], strict=True)
    ]
    assert (np.sum(masks, axis=0) == 1).all()


def test_holes_are_left_free_and_parts_are_put_together():
    hole = [(0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75)]
    whole = [(0, 0), (1, 0), (1, 1), (0, 1)]
    for ring in (hole, hole[::-1]):
        mask = rle.decode(polygons.to_rle([[whole, ring]], (8, 8)))
        assert not mask[2:6, 2:6].any()
        assert mask.sum() == 64 - 16
    island = [[whole, hole], [[(0.4, 0.4), (0.6, 0.4), (0.6, 0.6), (0.4, 0.6)]]]
    assert rle.area(polygons.to_rle(island, (10, 10))) == 100 - 25 + 4 + (25 - 5 * 5)
    twice = [[whole], [whole]]
    assert rle.area(polygons.to_rle(twice, (10, 10))) == 100


def test_what_reaches_out_of_the_picture_is_left_out():
    assert rle.area(polygons.to_rle([[[(-1, -1), (0.5, -1), (0.5, 2), (-1, 2)]]], (10, 10))) == 50
    assert rle.area(polygons.to_rle([[[(2, 2), (3, 2), (3, 3)]]], (10, 10))) == 0


def test_pixels_are_about_those_of_pycocotools():
    ring = circle(0.45, 0.55, 0.3, 40)
    size = (480, 640)
    flat = [value for x, y in ring for value in (x * size[1], y * size[0])]
    theirs = coco.frPyObjects([flat], *size)[0]
    ours = polygons.to_rle([[ring]], size)
    assert rle.iou([ours], [rle.Rle(size, theirs["counts"].decode())])[0, 0] > 0.98


@given(stacks(1))
def test_the_polygon_around_a_mask_covers_that_mask_exactly(masks):
    mask = rle.encode(masks[0])
    polygon = polygons.from_rle(mask, 0)
    if not masks[0].any():
        assert polygon == []
        return
    polygons.check(polygon)
    assert polygons.to_rle(polygon, mask.size) == mask
    height, width = mask.size
    assert np.array(polygons.bbox(polygon)) * (width, height, width, height) == pytest.approx(np.array(rle.bbox(mask)))


@given(stacks(1), st.floats(0.5, 3))
def test_a_simpler_polygon_around_any_mask_is_one_still(masks, tolerance_px):
    polygon = polygons.from_rle(rle.encode(masks[0]), tolerance_px)
    if polygon:
        polygons.check(polygon)


@settings(max_examples=40)
@given(stars(), stars(), st.floats(1, 2))
def test_a_polygon_comes_back_from_its_mask_as_near_as_was_asked(star, hole, tolerance_px):
    size = (300, 400)
    inner = [(0.5 + (x - 0.5) / 12, 0.5 + (y - 0.5) / 12) for x, y in hole]
    holds = shapely.Polygon(star).contains_properly(shapely.Polygon(inner))
    mask = polygons.to_rle([[star, inner] if holds else [star]], size)
    polygon = polygons.from_rle(mask, tolerance_px)
    again = polygons.to_rle(polygon, size)
    outline_px = shapely.Polygon([(x * 400, y * 300) for x, y in star]).length
    differ = rle.area(rle.union([mask, again])) - rle.area(rle.intersection([mask, again]))
    assert differ <= outline_px * 1.5 * (tolerance_px + 0.5)
    corners = sum(len(ring) for part in polygons.from_rle(mask, 0) for ring in part)
    assert sum(len(ring) for part in polygon for ring in part) <= max(corners / 2, 40)


def test_a_mask_of_specks_has_too_many_points_for_a_polygon():
    specks = rle.encode(np.random.default_rng(1).random((160, 200)) < 0.5)
    with pytest.raises(
        InvalidRequest, match="at a tolerance of 1 pixels and a polygon has at most 10000: use a larger"
    ):
        polygons.from_rle(specks)


# -- geometry --------------------------------------------------------------------------------------


@pytest.mark.parametrize("clockwise", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_polygon_turns_as_the_mask_of_its_pixels_does(clockwise, mirrored):
    polygon = [[circle(0.4, 0.3, 0.25, 17), circle(0.42, 0.31, 0.1, 9)]]
    mask = rle.decode(polygons.to_rle(polygon, (90, 120)))
    turned = np.rot90(mask[::-1] if mirrored else mask, -clockwise // 90)
    there = polygons.turn(polygon, clockwise, mirrored=mirrored)
    assert np.array_equal(rle.decode(polygons.to_rle(there, turned.shape)), turned)
    back = polygons.turn_back(there, clockwise, mirrored=mirrored)
    for ring, expected in zip(back[0], polygon[0], strict=True):
        assert np.array(ring) == pytest.approx(np.array(expected))
