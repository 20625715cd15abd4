"""Pictures side by side with a line of text under each: what a demo found, or what was kept of a video."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

CELL_WIDTH, CELL_HEIGHT, TEXT_HEIGHT, TITLE_HEIGHT, GAP = 240, 150, 18, 28, 10
PAPER, INK, FAINT, MARK = (250, 250, 248), (30, 30, 30), (120, 120, 120), (30, 140, 70)


@dataclass(frozen=True)
class Cell:
    """`jpeg` as it is kept; `marked` draws a frame around it."""

    jpeg: bytes
    text: str
    marked: bool = False


@dataclass(frozen=True)
class Row:
    title: str
    cells: Sequence[Cell]


def draw(path: Path, rows: Sequence[Row]) -> None:
    """Write a PNG; a row's cells keep their shape within a cell's bounds."""
    columns = max((len(row.cells) for row in rows), default=1)
    row_height = TITLE_HEIGHT + CELL_HEIGHT + TEXT_HEIGHT + GAP
    sheet = Image.new("RGB", (GAP + columns * (CELL_WIDTH + GAP), GAP + max(1, len(rows)) * row_height), PAPER)
    pen = ImageDraw.Draw(sheet)
    title, small = ImageFont.load_default(16), ImageFont.load_default(12)
    for place, row in enumerate(rows):
        top = GAP + place * row_height
        pen.text((GAP, top), row.title, INK, title)
        for column, cell in enumerate(row.cells):
            left = GAP + column * (CELL_WIDTH + GAP)
            picture = Image.open(io.BytesIO(cell.jpeg))
            picture.thumbnail((CELL_WIDTH, CELL_HEIGHT))
            at = left, top + TITLE_HEIGHT
            sheet.paste(picture, at)
            if cell.marked:
                pen.rectangle(
                    (at[0], at[1], at[0] + picture.width - 1, at[1] + picture.height - 1), outline=MARK, width=3
                )
            pen.text((left, top + TITLE_HEIGHT + CELL_HEIGHT + 2), cell.text, FAINT, small)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
