import io

import numpy as np
import pytest
from PIL import Image

from argus_ray.annotations.contact_sheet import Cell, Row, lines, sheet


def a_picture(width=320, height=180, level=60):
    return np.full((height, width, 3), level, np.uint8)


def a_file(picture):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "png")
    return file.getvalue()


def test_pictures_stand_side_by_side_in_their_own_shape():
    shown = sheet(
        [Row("red car", [Cell(a_picture(), "a"), Cell(a_file(a_picture(180, 320)), "b", marked=True)])], (160, 160)
    )

    dark = (shown == 60).all(axis=2)
    columns = np.flatnonzero(dark.sum(axis=0) > 20)
    wide = np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1)
    assert [len(part) for part in wide] == [160, 90]
    assert [int(dark[:, part[0] + 5].sum()) for part in wide] == [90, 160]


def test_cells_are_broken_into_lines_and_the_first_has_the_title():
    rows = lines([Cell(a_picture(), str(n)) for n in range(7)], 3, "a video")

    assert [len(row.cells) for row in rows] == [3, 3, 1]
    assert [row.title for row in rows] == ["a video", "", ""]


@pytest.mark.parametrize(
    "rows", [[], [Row("", [])], [Row("nothing was found", [])], [Row("x" * 1000, [Cell(a_picture(3, 2), "y" * 1000)])]]
)
def test_a_sheet_of_nothing_or_of_long_words_is_a_picture_too(rows):
    shown = sheet(rows)

    assert shown.dtype == np.uint8
    assert shown.shape[2] == 3
    assert shown.shape[1] == 264
