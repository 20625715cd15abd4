"""Whether an export still says what its originals show: each is decoded again, and its pictures are made again.

A picture is the same when its bytes are (SHA-256), which needs the same settings, and the same versions of the decoder
and the JPEG encoder as made it; so what differs is told apart from what is not there at all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq

from argus_ray.datasets.archives import Source
from argus_ray.datasets.every_frame import decoder, limits_of, named_pictures, timetable
from argus_ray.errors import AnnotationsUnreadable, ArgusError
from argus_ray.schemas.common import Schema
from argus_ray.settings import Settings
from argus_ray.video.pictures import Output
from argus_ray.video.work import Stored

Word = Literal["same", "differs", "there", "no-frame", "no-original", "archive-differs"]
"""`there`: the frame exists, and the export has no hash to compare. `archive-differs`: the archive's own file is not the
one that its list names.
"""

_AT_ONCE = 5000


class Verified(Schema):
    """What was found of one picture of an export."""

    file: str
    video_id: UUID
    pts_us: int
    word: Word
    detail: str = ""


def verify(path: Path, settings: Settings, original_of: Callable[[UUID], Stored], scratch: Path) -> Iterator[Verified]:
    """Every picture that the export at `path` lists. `original_of` says where a video's original lies, or raises.

    Raises AnnotationsUnreadable where it is no export of Argus.
    """
    source = Source(path)
    try:
        if "frames.parquet" not in source.names:
            raise AnnotationsUnreadable(f"{path.name} has no frames.parquet: it is no export of Argus", file=path.name)
        listing = scratch / "frames.parquet"
        with source.open("frames.parquet") as member, listing.open("wb") as copy:
            while piece := member.read(2**20):
                copy.write(piece)
        output = _output(source, settings)
        for video_id, rows in groupby(_rows(listing), key=lambda row: row["video_id"]):
            yield from _video(source, UUID(video_id), rows, settings, output, original_of)
    finally:
        source.close()


def _rows(listing: Path) -> Iterator[dict[str, Any]]:
    try:
        with pq.ParquetFile(listing) as file:
            for batch in file.iter_batches(
                batch_size=1000, columns=["file", "video_id", "pts_us", "width", "height", "sha256"]
            ):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise AnnotationsUnreadable(f"frames.parquet cannot be read: {error}", file="frames.parquet") from error


def _output(source: Source, settings: Settings) -> Output:
    """How the pictures were made, as the report says; else as the settings do."""
    made = {"long_side": settings.frame_long_side, "jpeg_quality": settings.jpeg_quality}
    if "report.json" in source.names:
        made |= json.loads(source.read("report.json")).get("pictures_made", {})
    return Output(long_side=int(made["long_side"]), quality=int(made["jpeg_quality"]), model_size=32)


def _video(
    source: Source,
    video_id: UUID,
    rows: Iterator[dict[str, Any]],
    settings: Settings,
    output: Output,
    original_of: Callable[[UUID], Stored],
) -> Iterator[Verified]:
    members = set(source.names)
    while batch := [row for _, row in zip(range(_AT_ONCE), rows, strict=False)]:
        try:
            found = _made_again(original_of(video_id), batch, settings, output)
        except ArgusError as error:
            yield from (_said(row, "no-original", error.detail) for row in batch)
            continue
        for row in batch:
            yield _compared(source, members, row, found)


def _made_again(
    stored: Stored, rows: list[dict[str, Any]], settings: Settings, output: Output
) -> dict[int, tuple[str, int, int] | None]:
    """By time: the hash and size of the picture made again, or None where none was asked for and the frame is there."""
    limits, timeout_s, stall_s = limits_of(settings), 24 * 3600.0, settings.decode_stall_s
    hashed = frozenset(row["pts_us"] for row in rows if row["sha256"])
    found: dict[int, tuple[str, int, int] | None] = {}
    with decoder(settings) as child:
        if len(hashed) < len(rows):
            table = child.call(timetable, stored, limits, output.long_side, timeout_s=timeout_s)
            found |= dict.fromkeys({row["pts_us"] for row in rows} & set(table.shown_us.tolist()))
        if hashed:
            for one in child.run(named_pictures, stored, hashed, output, limits, timeout_s=timeout_s, stall_s=stall_s):
                found.setdefault(one.pts_us, (hashlib.sha256(one.jpeg).hexdigest(), one.width, one.height))
    return found


def _said(row: dict[str, Any], word: Word, detail: str = "") -> Verified:
    return Verified(file=row["file"], video_id=UUID(row["video_id"]), pts_us=row["pts_us"], word=word, detail=detail)


def _compared(
    source: Source, members: set[str], row: dict[str, Any], found: dict[int, tuple[str, int, int] | None]
) -> Verified:
    if row["pts_us"] not in found:
        return _said(row, "no-frame", "the original shows no picture at this time")
    if row["file"] in members and row["sha256"] and _hash(source, row["file"]) != row["sha256"]:
        return _said(row, "archive-differs", "the picture in the archive is not the one that was written")
    made = found[row["pts_us"]]
    if made is None or not row["sha256"]:
        return _said(row, "there")
    if made[0] == row["sha256"]:
        return _said(row, "same")
    is_as_large = made[1:] == (row["width"], row["height"])
    size = "" if is_as_large else f", and {made[1]} x {made[2]} pixels for {row['width']} x {row['height']}"
    return _said(row, "differs", f"made again it has other bytes{size}")


def _hash(source: Source, name: str) -> str:
    digest = hashlib.sha256()
    with source.open(name) as member:
        while piece := member.read(2**20):
            digest.update(piece)
    return digest.hexdigest()
