"""Pictures side by side with a line of text under each: what a search found, what was kept of a video, what a model sees."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from argus_ray.annotations import lettering
from argus_ray.annotations.overlay import Drawn, draw

UInt8 = npt.NDArray[np.uint8]

_PAPER, _INK, _FAINT, _MARK = (250, 250, 248), (30, 30, 30), (105, 105, 105), (0, 114, 178)
_TITLE_PX, _TEXT_PX, _GAP, _FRAME = 17, 13, 12, 3


@dataclass(frozen=True)
class Cell:
    """`picture`: a file's bytes, or pixels uint8 [H, W, 3]; `marked` draws a frame around it.

    `items` are drawn on it once it has its size on the sheet: so their lines and letters suit it.
    """

    picture: bytes | UInt8
    text: str
    marked: bool = False
    items: Sequence[Drawn] = ()


@dataclass(frozen=True)
class Row:
    """Cells from left to right under a title, which may be empty."""

    title: str
    cells: Sequence[Cell]


def lines(cells: Sequence[Cell], columns: int, title: str = "") -> list[Row]:
    """As many rows as it takes; the first has the title."""
    return [Row("" if at else title, cells[at : at + columns]) for at in range(0, len(cells), columns)]


def sheet(rows: Sequence[Row], cell: tuple[int, int] = (240, 150)) -> UInt8:
    """The sheet, uint8 [H, W, 3]. Each picture keeps its shape and fits into `cell`, width and height.

    A row is as high as its highest picture.
    """
    wide, high = cell
    pictures = [[_shown(one, cell) for one in row.cells] for row in rows]
    heights = [max((picture.height for picture in row), default=0) for row in pictures]
    columns = max([1, *(len(row.cells) for row in rows)])
    tops = [_GAP]
    for row, height in zip(rows, heights, strict=True):
        tops.append(tops[-1] + (_title_height(row) + height + 2 * _TEXT_PX + _GAP))
    paper = Image.new("RGB", (_GAP + columns * (wide + _GAP), max(tops[-1], high)), _PAPER)
    pen = ImageDraw.Draw(paper)
    for row, shown, height, top in zip(rows, pictures, heights, tops, strict=False):
        _write(pen, (_GAP, top), row.title, _TITLE_PX, _INK, paper.width - 2 * _GAP)
        for column, (one, picture) in enumerate(zip(row.cells, shown, strict=True)):
            left, upper = _GAP + column * (wide + _GAP), top + _title_height(row)
            if one.marked:
                pen.rectangle(
                    (
                        left - _FRAME,
                        upper - _FRAME,
                        left + picture.width + _FRAME - 1,
                        upper + picture.height + _FRAME - 1,
                    ),
                    fill=_MARK,
                )
            paper.paste(picture, (left, upper))
            _write(pen, (left, upper + height + _FRAME + 2), one.text, _TEXT_PX, _FAINT, wide)
    return np.asarray(paper)


def _title_height(row: Row) -> int:
    return _TITLE_PX + _GAP if row.title else 0


def _shown(one: Cell, cell: tuple[int, int]) -> Image.Image:
    """Its picture, made smaller where it must be, with its items."""
    picture = Image.open(io.BytesIO(one.picture)) if isinstance(one.picture, bytes) else Image.fromarray(one.picture)
    picture.thumbnail(cell, Image.Resampling.LANCZOS)
    return Image.fromarray(draw(np.asarray(picture.convert("RGB")), one.items))


def _write(
    pen: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size_px: int, ink: tuple[int, int, int], room_px: int
) -> None:
    """One line, cut off with dots where it has no room."""
    written, font = lettering.fit(text, size_px)
    if font.getlength(written) > room_px:
        while written and font.getlength(f"{written}…") > room_px:
            written = written[:-1]
        written = f"{written.rstrip()}…"
    pen.text(at, written, ink, font)
