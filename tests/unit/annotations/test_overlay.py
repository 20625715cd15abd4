from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from argus_ray import rle
from argus_ray.annotations import lettering, plates
from argus_ray.annotations.contours import contours, smooth
from argus_ray.annotations.overlay import PALETTE, Drawn, draw, drawn, png, track_colour
from argus_ray.schemas.annotation import Annotation, State
from argus_ray.schemas.label import Label

SIZE = 320, 180


def a_picture(size=SIZE, level=128):
    return np.full((size[1], size[0], 3), level, np.uint8)


def a_disc(size=SIZE, x=0.5, y=0.6, radius=0.2):
    high, wide = size[::-1]
    rows, columns = np.mgrid[:high, :wide]
    return rle.encode((rows - y * high) ** 2 + (columns - x * wide) ** 2 < (radius * high) ** 2)


def changed(before, after):
    return (before != after).any(axis=2)


# -- what is shown -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "item",
    [
        Drawn("a", mask=a_disc()),
        Drawn("a", polygon=[[[(0.4, 0.4), (0.6, 0.4), (0.5, 0.8)]]]),
        Drawn("a", box=(0.4, 0.4, 0.2, 0.4)),
        Drawn("a", points=[(0.4, 0.4), (0.6, 0.8)]),
    ],
    ids=lambda item: next(name for name in ("mask", "polygon", "box", "points") if getattr(item, name)),
)
def test_an_item_is_drawn_where_it_is_and_the_rest_of_the_picture_is_as_it_was(item):
    picture = a_picture()
    picture[::2, ::3] = 90

    shown = draw(picture, [item])

    where = changed(picture, shown)
    assert where.any()
    rows, columns = np.nonzero(where)
    assert columns.min() > 0.3 * SIZE[0]
    assert columns.max() < 0.7 * SIZE[0]
    assert rows.max() < 0.9 * SIZE[1]
    assert (picture[::2, ::3] == 90).all(), "the picture that came in was written on"


def test_without_items_the_picture_is_the_same():
    assert (draw(a_picture(), []) == a_picture()).all()


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("colour", ["#000000", "#ffffff", "#808080", *PALETTE])
def test_an_outline_stands_out_on_any_ground(level, colour):
    picture = a_picture(level=level)

    shown = draw(picture, [Drawn("", mask=a_disc(), colour=colour, state=State.REJECTED)])

    edge = shown[changed(picture, shown)].astype(int)
    assert abs(edge.mean(axis=1) - level).max() > 90


def test_states_are_told_without_their_colour():
    """A solid line changes its surroundings all along, a dashed one half of it, and a cross the middle."""
    picture = a_picture()
    box = Drawn("", box=(0.25, 0.3, 0.5, 0.5))
    accepted, proposed, rejected = (
        changed(picture, draw(picture, [replace(box, state=state)]))
        for state in (State.ACCEPTED, State.PROPOSED, State.REJECTED)
    )

    side = np.s_[round(0.8 * SIZE[1]), round(0.3 * SIZE[0]) : round(0.7 * SIZE[0])]
    middle = np.s_[round(0.53 * SIZE[1]) : round(0.57 * SIZE[1]), round(0.49 * SIZE[0]) : round(0.51 * SIZE[0])]
    assert accepted[side].all()
    assert 0.3 < proposed[side].mean() < 0.8
    assert rejected[side].all()
    assert rejected[middle].any()
    assert not accepted[middle].any()


def test_what_people_accepted_is_filled_more_than_what_is_proposed_and_what_they_rejected_is_not():
    picture, middle = a_picture(), (round(0.6 * SIZE[1]), round(0.56 * SIZE[0]))

    def distance(state):
        return abs(
            draw(picture, [Drawn("", mask=a_disc(), colour="#d55e00", state=state)])[middle].astype(int) - 128
        ).sum()

    assert distance(State.ACCEPTED) > distance(State.PROPOSED) > distance(State.REJECTED) == 0


def test_a_hole_of_a_polygon_is_not_filled():
    ring, hole = [(0.2, 0.2), (0.8, 0.2), (0.8, 0.9), (0.2, 0.9)], [(0.4, 0.4), (0.6, 0.4), (0.6, 0.7), (0.4, 0.7)]

    shown = draw(a_picture(), [Drawn("", polygon=[[ring, hole]])])

    assert (shown[round(0.55 * SIZE[1]), SIZE[0] // 2] == 128).all()
    assert (shown[round(0.55 * SIZE[1]), round(0.3 * SIZE[0])] != 128).any()


@pytest.mark.parametrize("times", [0.5, 2, 3])
def test_a_mask_of_another_size_lies_where_it_belongs(times):
    other = round(SIZE[0] * times), round(SIZE[1] * times)
    picture = a_picture()

    same, scaled = (changed(picture, draw(picture, [Drawn("", mask=a_disc(size))])) for size in (SIZE, other))

    assert (same != scaled).sum() < 0.06 * same.sum()


@pytest.mark.parametrize("size", [(8, 8), (64, 64), (64, 36), (3840, 2160)])
def test_every_size_of_picture_can_be_drawn_on(size):
    items = [Drawn("person with a helmet", mask=a_disc(size), score=0.5, number=3), Drawn("a tag of the whole picture")]

    shown = draw(a_picture(size), items)

    assert shown.shape == (size[1], size[0], 3)
    assert changed(a_picture(size), shown).any()


@pytest.mark.parametrize(
    "item",
    [
        Drawn("a", mask=rle.encode(np.zeros(SIZE[::-1], bool))),
        Drawn("a", mask=rle.encode(np.ones(SIZE[::-1], bool))),
        Drawn("a", mask=rle.encode(np.eye(SIZE[1], SIZE[0], dtype=bool))),
        Drawn("a", polygon=[]),
        Drawn("a", polygon=[[[(0.5, 0.5), (0.5, 0.5), (0.5, 0.5)]]]),
        Drawn("a", box=(0.0, 0.0, 1.0, 1.0)),
        Drawn("a", box=(1.0, 1.0, 1e-9, 1e-9)),
        Drawn("a", points=[]),
        Drawn("a", points=[(0.0, 0.0), (1.0, 1.0)]),
        Drawn("", score=0.0),
        Drawn("name\nwith\x00controls" * 30),
    ],
)
@pytest.mark.parametrize("state", State)
def test_odd_items_are_drawn_or_left_out_and_break_nothing(item, state):
    shown = draw(a_picture(), [replace(item, state=state, occluded=True), Drawn("car", box=(0.4, 0.4, 0.2, 0.2))])

    assert shown.shape == a_picture().shape


def test_a_png_holds_the_very_pixels(tmp_path):
    shown = draw(a_picture(), [Drawn("car", mask=a_disc())])

    (tmp_path / "a.png").write_bytes(png(shown))

    assert (np.asarray(Image.open(tmp_path / "a.png")) == shown).all()


def test_a_track_keeps_its_colour_and_its_neighbours_have_others():
    colours = [track_colour(number) for number in range(1, 22)]

    assert len(set(colours)) == 21
    assert track_colour(1) == track_colour(22) == PALETTE[0]


def an_annotation(**shape):
    return Annotation(
        project_id=UUID(int=1), video_id=UUID(int=2), pts_us=0, label_id=UUID(int=3), source="model", state="proposed", score=0.7,
        occluded=True, **shape,
    )  # fmt: skip


def a_label():
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return Label(
        id=UUID(int=3), project_id=UUID(int=1), number=1, name="red car", colour="#0072b2", prompts=["red car"], created_at=at,
        updated_at=at,
    )  # fmt: skip


def test_an_annotation_is_drawn_by_its_own_shape_in_its_labels_colour_or_its_tracks():
    box, mask = {"x": 0.3, "y": 0.4, "w": 0.4, "h": 0.4}, a_disc()

    boxed = drawn(an_annotation(kind="box", box=box), a_label(), 3)
    masked = drawn(
        an_annotation(kind="mask", box=box, mask={"size": mask.size, "counts": mask.counts}),
        a_label(),
        3,
        by_track=True,
    )

    assert boxed == Drawn(
        "red car", box=(0.3, 0.4, 0.4, 0.4), colour="#0072b2", score=0.7, number=3, state=State.PROPOSED, occluded=True
    )
    assert masked.mask == mask
    assert masked.box is None
    assert masked.colour == track_colour(3)


# -- plates --------------------------------------------------------------------------------------


def some_plates(rng, count):
    corners = rng.uniform(0, 0.9, (count, 2)) * SIZE
    boxes = np.concatenate([corners, corners + rng.uniform(4, 30, (count, 2))], axis=1)
    return [
        plates.Plate(
            (f"label {n}  #{n}  0.5", f"#{n}"), tuple(box.tolist()), (213, 94, 0), State.ACCEPTED, occluded=False
        )
        for n, box in enumerate(boxes)
    ]


@pytest.mark.parametrize("count", [1, 5, 12, 60])
def test_plates_stay_in_the_picture_and_off_each_other(count):
    placed = plates.place(some_plates(np.random.default_rng(count), count), SIZE, 10, 2)

    assert placed
    for number, plate in enumerate(placed):
        left, top, right, bottom = plate.bounds
        assert left >= 0 <= top
        assert right <= SIZE[0]
        assert bottom <= SIZE[1]
        for other in placed[:number]:
            apart = (
                right <= other.bounds[0]
                or other.bounds[2] <= left
                or bottom <= other.bounds[1]
                or other.bounds[3] <= top
            )
            assert apart, f"{plate.text} covers {other.text}"


def test_a_crowd_has_short_plates_and_a_few_have_whole_ones():
    few, many = (plates.place(some_plates(np.random.default_rng(1), count), SIZE, 8, 2) for count in (3, 80))

    assert all(plate.text.startswith("label") for plate in few)
    assert all(plate.text.startswith("#") for plate in many)


@pytest.mark.parametrize(
    "colour", [*(track_colour(number) for number in range(1, 22)), "#000000", "#ffffff", "#777777"]
)
def test_text_is_legible_on_its_plate(colour):
    rgb = tuple(bytes.fromhex(colour[1:]))
    plate = plates.Plate(("a",), None, rgb, State.ACCEPTED, occluded=False)

    assert plates._contrast(rgb, plate.ink) >= 4.5


# -- letters -------------------------------------------------------------------------------------


def test_latin_letters_need_no_font_of_the_machine():
    text, font = lettering.fit("person with a helmet #12 0.87", 20)

    assert text == "person with a helmet #12 0.87"
    assert font.getname()[0] == "Aileron"


def test_a_character_that_no_font_has_is_written_as_its_code():
    """Of a private area: no font of a system draws it."""
    assert lettering.fit("car \U000ff123", 20)[0] == "car U+FF123"


def test_controls_are_no_letters():
    assert "\x00" not in lettering.fit("a\x00b", 20)[0]


# -- contours ------------------------------------------------------------------------------------

MASKS = hnp.arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12)))


@settings(max_examples=200, deadline=None)
@given(MASKS)
def test_contours_go_around_every_pixel_of_the_mask_and_no_other(mask):
    """The area by the shoelace formula, holes negative, is the number of pixels; and every border is walked once."""
    lines = contours(mask)

    area = sum(float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2 for x, y in (line.T for line in lines))
    padded = np.pad(mask, 1)
    borders = (padded[1:] != padded[:-1]).sum() + (padded[:, 1:] != padded[:, :-1]).sum()
    assert area == mask.sum()
    assert sum(len(line) for line in lines) == borders
    assert all((np.abs(np.roll(line, -1, axis=0) - line).sum(axis=1) == 1).all() for line in lines)


def test_pixels_that_touch_at_a_corner_have_lines_of_their_own():
    assert len(contours(np.eye(3, dtype=bool))) == 3


def test_a_smooth_line_stays_within_a_pixel_of_its_stairs():
    rows, columns = np.mgrid[:80, :80]
    [line] = contours((rows - 40) ** 2 + (columns - 40) ** 2 < 30**2)

    radii = np.hypot(*(smooth(line, 5) - 40.5).T)

    assert abs(radii - 29.8).max() < 1
