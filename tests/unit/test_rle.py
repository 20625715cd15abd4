"""Run lengths are those of pycocotools, and what they answer without pixels is what the pixels say."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco

from argus_ray import rle
from argus_ray.errors import InvalidRequest
from argus_ray.rle import Rle

HD = (1080, 1920)


sizes = st.tuples(st.integers(1, 24), st.integers(1, 24))


@st.composite
def stacks(draw, most=4, least=1):
    """Masks [N, H, W]: noise of any density, rectangles, empty and full ones."""
    shape = (draw(st.integers(least, most)), *draw(sizes))
    kind = draw(st.sampled_from(["noise", "rectangles", "free"]))
    if kind == "free":
        return draw(hnp.arrays(np.bool_, shape))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    if kind == "noise":
        return random.random(shape) < draw(st.floats(0, 1))
    masks = np.zeros(shape, dtype=bool)
    for mask in masks:
        (top, bottom), (left, right) = (sorted(random.integers(0, side + 1, 2)) for side in shape[1:])
        mask[top:bottom, left:right] = True
    return masks


def by_pycocotools(mask):
    return coco.encode(np.asfortranarray(mask.astype(np.uint8)))


def as_coco(one: Rle):
    return {"size": list(one.size), "counts": one.counts}


@given(stacks())
def test_the_counts_are_byte_for_byte_those_of_pycocotools(masks):
    encoded = rle.encode_many(masks)

    assert [one.counts.encode() for one in encoded] == [by_pycocotools(mask)["counts"] for mask in masks]
    assert encoded == [rle.encode(mask) for mask in masks]
    assert {one.size for one in encoded} == {masks.shape[1:]}


@given(stacks())
def test_what_was_encoded_is_decoded_again(masks):
    for mask, encoded in zip(masks, rle.encode_many(masks), strict=True):
        assert np.array_equal(rle.decode(encoded), mask)
        rle.check(encoded, mask.shape)


@pytest.mark.parametrize("density", [0, 0.0001, 0.02, 0.5, 1])
@pytest.mark.parametrize("size", [(700, 900), (1, 1000), (1000, 1), (300, 257)])
def test_large_masks_are_those_of_pycocotools_too(size, density):
    mask = np.random.default_rng(3).random(size) < density
    encoded = rle.encode(mask)
    assert encoded.counts.encode() == by_pycocotools(mask)["counts"]
    assert np.array_equal(rle.decode(encoded), mask)


def test_masks_of_any_layout_and_type_are_encoded_by_their_pixels():
    mask = np.random.default_rng(1).random((60, 40)) < 0.2
    expected = rle.encode(mask)
    for same in (np.asfortranarray(mask), mask.astype(np.uint8) * 255, mask.astype(np.float32), mask.T.copy().T):
        assert rle.encode(same) == expected


def test_more_masks_than_are_looked_at_at_once_stay_in_order(monkeypatch):
    masks = np.random.default_rng(2).random((25, 30, 20)) < 0.3
    expected = rle.encode_many(masks)
    monkeypatch.setattr(rle, "_AT_ONCE_PIXELS", 2 * 30 * 20)
    assert rle.encode_many(masks) == expected


def test_no_masks_are_no_runs():
    assert rle.encode_many(np.zeros((0, 5, 5), dtype=bool)) == []
    assert rle.areas([]).shape == (0,)
    assert rle.bboxes([]).shape == (0, 4)
    assert rle.iou([], [rle.encode(np.ones((5, 5)))]).shape == (0, 1)


@given(stacks())
def test_area_and_box_are_those_of_the_pixels(masks):
    encoded = rle.encode_many(masks)
    assert rle.areas(encoded).tolist() == masks.sum(axis=(1, 2)).tolist() == [rle.area(one) for one in encoded]
    assert [rle.bbox(one) for one in encoded] == [tuple(one) for one in rle.bboxes(encoded).tolist()]
    for mask, box in zip(masks, rle.bboxes(encoded).tolist(), strict=True):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not rows.size:
            assert box == [0, 0, 0, 0]
            continue
        x, y, width, height = box
        assert (x, x + width) == (columns[0], columns[-1] + 1)
        assert (y, y + height) == (rows[0], rows[-1] + 1)
        assert box == coco.toBbox(by_pycocotools(mask)).tolist()


@given(stacks(6, 6))
def test_iou_without_pixels_is_that_of_the_pixels(masks):
    encoded = rle.encode_many(masks)
    flat = masks.reshape(len(masks), -1).astype(float)
    common = flat[:4] @ flat[2:].T
    either = flat[:4].sum(1)[:, None] + flat[2:].sum(1) - common
    assert rle.iou(encoded[:4], encoded[2:]) == pytest.approx(common / np.maximum(either, 1), abs=1e-12)


@given(stacks(5))
def test_union_and_intersection_are_those_of_the_pixels(masks):
    encoded = rle.encode_many(masks)
    assert rle.union(encoded) == rle.encode(masks.any(axis=0))
    assert rle.intersection(encoded) == rle.encode(masks.all(axis=0))


@given(stacks(1), sizes)
def test_another_size_is_the_nearest_pixel_of_the_old_one(masks, size):
    (mask,) = masks
    rows, columns = (((np.arange(new) * 2 + 1) * old) // (2 * new) for new, old in zip(size, mask.shape, strict=True))
    resized = rle.resize(rle.encode(mask), size)
    assert resized == rle.encode(mask[rows][:, columns])
    assert resized.size == size


@given(stacks(1), st.data())
def test_runs_of_nothing_change_nothing(masks, data):
    (mask,) = masks
    ours = rle.encode(mask)
    plain = coco.frPyObjects({"size": list(ours.size), "counts": _counts(mask)}, *ours.size)
    assert rle.from_uncompressed(_counts(mask), ours.size) == ours
    assert plain["counts"].decode() == ours.counts
    split = _counts(mask)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(split)))
        split[at:at] = [0, 0]
    assert rle.from_uncompressed(split, ours.size) == ours
    # other tools write such runs compressed: they mean the same to all that reads them
    loose = Rle(ours.size, coco.frPyObjects({"size": list(ours.size), "counts": split}, *ours.size)["counts"].decode())
    rle.check(loose, ours.size)
    assert np.array_equal(rle.decode(loose), mask)
    assert rle.area(loose) == rle.area(ours)
    assert rle.bbox(loose) == rle.bbox(ours)
    assert rle.union([loose, loose]) == ours
    assert np.array_equal(rle.decode(rle.resize(loose, (17, 23))), rle.decode(rle.resize(ours, (17, 23))))


def _counts(mask):
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat, prepend=False))
    return np.diff(edges, prepend=0, append=flat.size).tolist()


@pytest.mark.parametrize(
    ("counts", "says"),
    [
        ("5", "the mask's counts add up to 5 pixels, and its size of 1080 x 1920 has 2073600"),
        ("", "add up to 0 pixels"),
        ("ab~", "the mask's counts have '~': compressed counts are made of the characters"),
        ("0 1", "have ' '"),
        ("é0", r"have '\\xe9'"),
        ("0\U0001f600", r"have '\\U0001f600'"),
        ("ooooooooo", "end in the middle of a number: they have been cut off"),
        ("PPPPPPPPPPPPPPPPPP1", "have a number of 19 characters: no run of a picture needs more than 7"),
        ("N", "have a run of -2 pixels: none can be less than 0"),
        ("PPPPPP7", "add up to 7516192768 pixels, and its size"),
        ("PPPPPP7" * 100_000, "the mask's counts add up to"),
        ("0" * 10_000_000, "have 10000000 characters, more than any mask of 1080 x 1920 pixels needs"),
    ],
)
def test_counts_that_are_no_mask_are_refused_in_a_sentence_and_at_once(counts, says):
    hostile = Rle(HD, counts)
    began = time.process_time()
    with pytest.raises(InvalidRequest, match=says) as refused:
        rle.check(hostile, HD)
    assert time.process_time() - began < 2
    assert len(refused.value.detail) < 300
    with pytest.raises(InvalidRequest, match=says):
        rle.decode(hostile)


def test_a_size_of_any_whole_numbers_is_one_of_plain_ones():
    made = rle.from_uncompressed(np.array([1, 3]), np.array([2, 2]))
    assert made == rle.resize(Rle((2, 2), "13"), (np.int64(2), np.int32(2))) == Rle((2, 2), "13")
    assert [type(side) for side in made.size] == [int, int]
    rle.check(made, [2, 2])


def test_one_bad_mask_among_good_ones_is_found():
    good = rle.encode(np.ones((4, 4)))
    with pytest.raises(InvalidRequest, match="add up to 5 pixels, and its size of 4 x 4 has 16"):
        rle.union([good, Rle((4, 4), "5"), good])


@given(st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=60), sizes)
def test_any_string_is_a_mask_or_a_clear_refusal(counts, size):
    try:
        mask = rle.decode(Rle(size, counts))
    except InvalidRequest:
        return
    assert mask.shape == size
    assert rle.area(Rle(size, counts)) == mask.sum()


def test_a_mask_of_another_size_than_the_picture_is_refused():
    mask = rle.encode(np.ones((720, 1280)))
    with pytest.raises(
        InvalidRequest, match=r"the mask's size is 720 x 1280 \(height x width\) and the picture's is 1080"
    ):
        rle.check(mask, HD)


@pytest.mark.parametrize("size", [(0, 5), (-1, 5), (5, 70_000), (5,), (5, 5, 5), (5.0, 5), (True, 5), (10**5000, 5)])
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(InvalidRequest, match="a mask's size is two whole numbers from 1 to 65535, height and width"):
        rle.check(Rle(size, "5"), size)


@pytest.mark.parametrize(
    "counts", [[1.5, 2.5], [-1, 5], [10**30, 5], ["a", 5], [True, 3], [[1], 3], [2**63, 6], [None]]
)
def test_run_lengths_that_are_no_numbers_are_refused(counts):
    with pytest.raises(InvalidRequest, match="the mask's counts are not whole numbers from 0 to 4"):
        rle.from_uncompressed(counts, (2, 2))


@pytest.mark.parametrize(("counts", "says"), [([1, 2], "add up to 3"), ([], "add up to 0"), ([0] * 21, "have 21 runs")])
def test_run_lengths_that_are_no_mask_are_refused(counts, says):
    with pytest.raises(InvalidRequest, match=says):
        rle.from_uncompressed(counts, (2, 2))


def test_masks_of_different_sizes_are_not_compared():
    small, large = rle.encode(np.ones((2, 2))), rle.encode(np.ones((3, 3)))
    with pytest.raises(ValueError, match="different sizes"):
        rle.iou([small], [large])
    with pytest.raises(ValueError, match="one size"):
        rle.union([small, large])
