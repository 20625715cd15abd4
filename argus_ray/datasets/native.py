"""Parquet, out and in: all that a version says, one row an annotation, one file a video.

annotations/<split>/<video>.parquet   sorted by time; row groups of some ten thousand
verdicts.parquet                      what people have said of labels in pictures
dataset.json                          the labels, the schema's version, the hash of the version
frames.parquet                        the pictures, as beside every export
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from argus_ray import rle
from argus_ray.datasets import losses, pixels
from argus_ray.datasets.archives import Source, ZipWriter
from argus_ray.datasets.manifest import Table
from argus_ray.datasets.pixels import Place
from argus_ray.datasets.records import Category, Contents, Frame, Instance, Picture
from argus_ray.datasets.report import Report
from argus_ray.errors import AnnotationsUnreadable
from argus_ray.rle import Rle
from argus_ray.schemas.annotation import Kind

SCHEMA_VERSION = 1
_point = pa.list_(pa.float64(), 2)
_PICTURE = [
    ("file", pa.string()),
    ("video", pa.string()),
    ("index", pa.int32()),
    ("pts_us", pa.int64()),
    ("width", pa.int32()),
    ("height", pa.int32()),
    ("split", pa.string()),
]
ANNOTATIONS = pa.schema(
    [
        *_PICTURE,
        ("id", pa.string()),
        ("label", pa.string()),
        ("kind", pa.string()),
        ("box", pa.list_(pa.float64(), 4)),
        ("polygon", pa.list_(pa.list_(pa.list_(_point)))),
        ("points", pa.list_(_point)),
        ("rle_size", pa.list_(pa.int32(), 2)),
        ("rle", pa.string()),
        ("track", pa.int32()),
        ("keyframe", pa.bool_()),
        ("outside", pa.bool_()),
        ("occluded", pa.bool_()),
        ("crowd", pa.bool_()),
        ("attributes", pa.string()),
        ("score", pa.float32()),
        ("state", pa.string()),
        ("source", pa.string()),
        ("model", pa.string()),
    ],
    metadata={"argus.export_version": str(SCHEMA_VERSION)},
)
VERDICTS = pa.schema([*_PICTURE, ("label", pa.string()), ("verdict", pa.string())])


def picture_path(picture: Picture) -> str:
    return f"images/{picture.split}/{picture.file}"


def write(contents: Contents, out: ZipWriter, report: Report, scratch: Path) -> None:
    """Each file is finished in `scratch` before it goes into the archive: Parquet's end says where its parts lie."""
    out.put("dataset.json", json.dumps(_about(contents), indent=1, ensure_ascii=False))
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        words = Table(Path(folder) / "verdicts.parquet", VERDICTS)
        for video, frames in groupby(contents.frames(), key=lambda frame: frame.picture.video):
            table, split = Table(Path(folder) / "video.parquet", ANNOTATIONS), "train"
            for frame in frames:
                split = frame.picture.split
                picture = _picture(frame.picture)
                for instance in losses.told(frame, "parquet", report):
                    table.add({**picture, **_row(instance)})
                for label, word in frame.verdicts.items():
                    words.add({**picture, "label": label, "verdict": word})
            table.close()
            _put(out, f"annotations/{split}/{video}.parquet", table.path)
        words.close()
        _put(out, "verdicts.parquet", words.path)


def _about(contents: Contents) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        **contents.about,
        "labels": [
            {
                "number": one.number,
                "name": one.name,
                "colour": one.colour,
                "prompts": list(one.prompts),
                "attributes": list(one.attributes),
            }
            for one in contents.categories
        ],
    }


def _put(out: ZipWriter, name: str, file: Path) -> None:
    with out.open(name) as member, file.open("rb") as content:
        while piece := content.read(2**20):
            member.write(piece)


def _picture(picture: Picture) -> dict[str, Any]:
    return {name: getattr(picture, name) for name, _ in _PICTURE}


def _row(one: Instance) -> dict[str, Any]:
    return {
        **{name: getattr(one, name) for name in ("label", "kind", "box", "polygon", "points", "track", "keyframe", "outside", "occluded", "crowd", "score", "state", "source", "model")},
        "id": one.id or None,
        "rle_size": None if one.mask is None else list(one.mask.size),
        "rle": None if one.mask is None else one.mask.counts,
        "attributes": json.dumps(dict(one.attributes), sort_keys=True),
    }  # fmt: skip


# -- in ------------------------------------------------------------------------------------------


def read(source: Source, report: Report, scratch: Path) -> Contents:
    """What `write` has written. Raises AnnotationsUnreadable."""
    names = [name for name in source.ending(".parquet") if "annotations/" in name]
    index = next((name for name in source.names if name.endswith("dataset.json")), None)
    if index is None:
        raise AnnotationsUnreadable("there is no dataset.json: give the archive that an export to Parquet has made")
    try:
        about = json.loads(source.read(index))
        labels = tuple(
            Category(
                int(one["number"]),
                str(one["name"]),
                str(one["colour"]),
                tuple(one["prompts"]),
                tuple(one["attributes"]),
            )
            for one in about["labels"]
        )
    except (ValueError, TypeError, KeyError) as error:
        raise AnnotationsUnreadable(f"{index} does not list the labels ({error!r})", file=index) from error
    known = {one.name for one in labels}

    def frames() -> Iterator[Frame]:
        for row, place in _rows(source, [n for n in source.names if n.endswith("frames.parquet")], report, scratch):
            picture = _read_picture(row, place)
            if picture is not None:
                yield Frame(picture)
        for row, place in _rows(source, names, report, scratch):
            picture = _read_picture(row, place)
            if picture is not None and (instance := _read_row(row, known, place)) is not None:
                yield Frame(picture, (instance,))
        for row, place in _rows(source, [n for n in source.names if n.endswith("verdicts.parquet")], report, scratch):
            picture = _read_picture(row, place)
            if picture is not None:
                yield Frame(picture, verdicts={str(row.get("label")): str(row.get("verdict"))})

    return Contents(labels, frames)


def _rows(source: Source, names: list[str], report: Report, scratch: Path) -> Iterator[tuple[dict[str, Any], Place]]:
    for name in names:
        with tempfile.NamedTemporaryFile(dir=scratch) as copy:
            with source.open(name) as member:
                while piece := member.read(2**20):
                    copy.write(piece)
            copy.flush()
            try:
                with pq.ParquetFile(copy.name) as file:
                    number = 0
                    for batch in file.iter_batches(batch_size=1000):
                        for row in batch.to_pylist():
                            number += 1
                            yield row, Place(report, name, f"row {number}")
            except (pa.ArrowException, OSError) as error:
                raise AnnotationsUnreadable(f"{name} cannot be read as Parquet: {error}", file=name) from error


def _read_picture(row: dict[str, Any], place: Place) -> Picture | None:
    width, height = row.get("width"), row.get("height")
    if (
        type(width) is not int
        or type(height) is not int
        or not (0 < width <= rle.MAX_SIDE and 0 < height <= rle.MAX_SIDE)
    ):
        place.say("wrong-size", "the row has no width and height of its picture: it was left out")
        return None
    index, pts_us = row.get("index"), row.get("pts_us")
    return Picture(
        str(row.get("file") or ""),
        width,
        height,
        video=str(row.get("video") or ""),
        index=index if type(index) is int else None,
        pts_us=pts_us if type(pts_us) is int else None,
        split=str(row.get("split") or "train"),
    )


def _read_row(row: dict[str, Any], known: set[str], place: Place) -> Instance | None:
    try:
        if row["label"] not in known:
            place.say("unknown-category", f"the label {row['label']!r} is not listed: the row was left out")
            return None
        shape = _read_shape(row, place)
        return None if shape is None else Instance(
            row["label"],
            **shape,
            **{name: row[name] for name in ("track", "keyframe", "outside", "occluded", "crowd", "score", "state", "source", "model")},
            id=row["id"] or "",
            attributes=json.loads(row["attributes"] or "{}"),
        )  # fmt: skip
    except (KeyError, ValueError, TypeError) as error:
        place.say("wrong-row", f"the row is not one of an export ({error!r}): it was left out")
        return None


def _read_shape(row: dict[str, Any], place: Place) -> dict[str, Any] | None:
    kind = Kind(row["kind"])
    if kind is Kind.TAG:
        return {"kind": kind}
    if kind is Kind.MASK:
        mask = Rle((row["rle_size"][0], row["rle_size"][1]), row["rle"])
        found = pixels.mask_in(mask, *mask.size, place)
        return None if found is None else {"kind": kind, "mask": found[0], "box": found[1]}
    if kind is Kind.POLYGON:
        parts = [
            [pixels.ring_in([v for point in ring for v in point], 1, 1, place) for ring in part]
            for part in row["polygon"]
        ]
        polygon = [[ring for ring in part if ring is not None] for part in parts if part and part[0] is not None]
        return {"kind": kind, "polygon": polygon, "box": pixels.polygon_box(polygon)} if polygon else None
    if kind is Kind.POINTS:
        points = tuple((float(x), float(y)) for x, y in row["points"])
        return {"kind": kind, "points": points, "box": pixels.points_box(points)}
    x, y, w, h = row["box"]
    box = pixels.box_in(x, y, w, h, 1, 1, place)
    return None if box is None else {"kind": kind, "box": box}
