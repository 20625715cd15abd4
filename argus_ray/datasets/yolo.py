"""YOLO, out and in: boxes (detect), polygons (segment), boxes with a track's number (track).

Out: `images/<split>/…`, `labels/<split>/…` and `data.yaml`. A class is its label's number less one, and keeps it when
others go: what lies between has a name that says that it is unused. A picture without objects has an empty file.
Polygons have no holes and no parts here: such a shape is cut open along the shortest line between its rings.

In: the layouts of Ultralytics (`images/train` and `train/images`) and of darknet (`obj.data`, labels beside pictures).
Widths and heights come from the pictures' headers, where they are in the archive: fractions need none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import yaml
from PIL import Image, UnidentifiedImageError

from argus_ray.datasets import losses, pixels
from argus_ray.datasets.archives import Source, ZipWriter
from argus_ray.datasets.pixels import Place
from argus_ray.datasets.records import SPLITS, Category, Contents, Frame, Instance, Picture, Point, Polygon
from argus_ray.datasets.report import Report
from argus_ray.errors import AnnotationsUnreadable
from argus_ray.schemas.annotation import Kind

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
_NOT_LABELS = {
    "classes.txt",
    "train.txt",
    "val.txt",
    "test.txt",
    "valid.txt",
    "readme.txt",
    "readme.dataset.txt",
    "readme.roboflow.txt",
}
_SPLIT_OF = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test", "obj_train_data": "train", "obj_valid_data": "val", "obj_val_data": "val", "obj_test_data": "test"}  # fmt: skip

# -- out -----------------------------------------------------------------------------------------


def picture_path(picture: Picture) -> str:
    """Without folders of videos: some readers take these for splits."""
    return f"images/{picture.split}/{_flat(picture)}"


def _flat(picture: Picture) -> str:
    return picture.file.replace("/", "_")


def write(contents: Contents, out: ZipWriter, report: Report, *, format_: str) -> None:
    number = {one.name: one.number - 1 for one in contents.categories}
    for frame in contents.frames():
        picture = frame.picture
        rows = (
            row
            for instance in losses.told(frame, format_, report)
            if not instance.outside
            for row in [_row(number[instance.label], instance, picture, report, format_)]
        )
        label_path = PurePosixPath("labels", picture.split, _flat(picture)).with_suffix(".txt")
        out.put(str(label_path), "".join(row + "\n" for row in rows if row))
    out.put("data.yaml", _index(contents, report))


def _index(contents: Contents, report: Report) -> str:
    """`data.yaml`."""
    splits = [split for split in SPLITS if any(clip.split == split for clip in contents.clips)]
    names = numbered_names(contents.categories, report)
    index = {
        "path": ".",
        **{split: f"images/{split}" for split in splits},
        **({"val": "images/train"} if "val" not in splits and splits else {}),  # Ultralytics demands one
        "names": dict(enumerate(names)),
    }
    return str(yaml.safe_dump(index, sort_keys=False, allow_unicode=True))


def numbered_names(categories: Sequence[Category], report: Report) -> list[str]:
    """The names by their numbers from 1 on, and for numbers that no label has here a name that says so."""
    by_number = {one.number: one.name for one in categories}
    most = max(by_number, default=0)
    if len(by_number) < most:
        report.say(
            "unused-classes",
            f"{most - len(by_number)} classes have no label in this version: they hold the numbers of the others",
        )
    return [by_number.get(number, f"unused {number}") for number in range(1, most + 1)]


def _row(number: int, instance: Instance, picture: Picture, report: Report, format_: str) -> str:
    if format_ == "yolo-segment":
        polygon = pixels.rings(instance, picture)
        if not polygon:
            report.say(
                "too-small",
                f"a shape of {instance.label!r} covers no pixel of its picture: it is left out",
                picture.file,
            )
            return ""
        if len(polygon) > 1 or len(polygon[0]) > 1:
            report.once(
                "cut-open", f"{format_} has neither holes nor parts: such shapes are joined by lines without width"
            )
        return " ".join([str(number), *(_number(value) for point in bridged(polygon) for value in point)])
    assert instance.box is not None
    x, y, w, h = instance.box
    left, top, right, bottom = max(x, 0.0), max(y, 0.0), min(x + w, 1.0), min(y + h, 1.0)
    values = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
    row = " ".join([str(number), *map(_number, values)])
    return f"{row} {instance.track}" if format_ == "yolo-track" and instance.track is not None else row


def _number(value: float) -> str:
    return f"{min(max(value, 0.0), 1.0):.10g}"


def bridged(polygon: Polygon) -> list[Point]:
    """All rings as one line: each other ring is entered and left at the points nearest to what there is already."""
    rings = [ring for part in polygon for ring in part]
    line = list(rings[0])
    for ring in rings[1:]:
        distances = np.linalg.norm(np.asarray(line)[:, None] - np.asarray(ring)[None], axis=2)
        here, there = (int(place) for place in np.unravel_index(int(distances.argmin()), distances.shape))
        line = [*line[: here + 1], *ring[there:], *ring[: there + 1], *line[here:]]
    return line


# -- in ------------------------------------------------------------------------------------------


def read(source: Source, report: Report, *, tracks: bool = False) -> Contents:
    """`tracks`: a sixth number of a box, and an odd one at the end of a polygon, is a track's. Raises AnnotationsUnreadable."""
    names, poses = _names(source, report)
    labels = [name for name in source.ending(".txt") if _is_label(name)]
    pictures = {str(PurePosixPath(name).with_suffix("")): name for name in source.ending(*PICTURES)}
    if source.is_alone or (not labels and not pictures):
        raise AnnotationsUnreadable("there are no label files (.txt): give the folder of a YOLO dataset as an archive")

    def frames() -> Iterator[Frame]:
        left = dict(pictures)
        for label in labels:
            stem = _picture_stem(label, pictures)
            picture = _picture(source, stem, left.pop(stem, None), report)
            yield Frame(picture, tuple(_read_rows(source, label, names, report, tracks=tracks, poses=poses)))
        for stem, name in left.items():
            yield Frame(_picture(source, stem, name, report))

    return Contents(tuple(Category(number, name) for number, name in enumerate(names.values(), 1)), frames)


def _names(source: Source, report: Report) -> tuple[dict[int, str], bool]:
    """The classes by number, and whether rows have keypoints."""
    for name in source.ending(".yaml", ".yml"):
        try:
            index = yaml.safe_load(source.read(name, most_bytes=2**22))
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
            raise AnnotationsUnreadable(f"{name} is not YAML ({str(error).splitlines()[0]})", file=name) from error
        given = index.get("names") if isinstance(index, dict) else None
        if isinstance(given, list):
            given = dict(enumerate(given))
        if isinstance(given, dict) and all(type(number) is int for number in given):
            if "kpt_shape" in index:
                report.say("keypoints-lost", "keypoints are not read: the boxes are kept", name, "kpt_shape")
            return {number: str(label) for number, label in given.items()}, "kpt_shape" in index
    for name in source.ending(".names", "classes.txt"):
        lines = source.read(name, most_bytes=2**22).decode("utf-8", "replace").splitlines()
        return {number: line.strip() for number, line in enumerate(lines) if line.strip()}, False
    raise AnnotationsUnreadable("the classes have no names: put data.yaml, obj.names or classes.txt into the archive")


def _is_label(name: str) -> bool:
    path = PurePosixPath(name)
    return path.name.lower() not in _NOT_LABELS and not path.name.startswith(".")


def _picture_stem(label: str, pictures: dict[str, str]) -> str:
    """The picture's path without its ending: beside the label, or under `images` where the label is under `labels`."""
    path = PurePosixPath(label).with_suffix("")
    if str(path) in pictures or "labels" not in path.parts:
        return str(path)
    at = len(path.parts) - 1 - path.parts[::-1].index("labels")
    return str(PurePosixPath(*path.parts[:at], "images", *path.parts[at + 1 :]))


def _picture(source: Source, stem: str, name: str | None, report: Report) -> Picture:
    width = height = 0
    if name is not None:
        with source.open(name) as file:
            try:
                with Image.open(file) as image:
                    width, height = image.size
            except (UnidentifiedImageError, OSError, Image.DecompressionBombError, ValueError) as error:
                report.say("picture-unreadable", f"the picture's size cannot be read ({error})", name)
    split = next((_SPLIT_OF[part] for part in PurePosixPath(stem).parts if part in _SPLIT_OF), "train")
    return Picture(name or f"{stem}.jpg", width, height, split=split)


def _read_rows(
    source: Source, label: str, names: dict[int, str], report: Report, *, tracks: bool, poses: bool
) -> Iterator[Instance]:
    with source.open(label) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                place = Place(report, label, f"line {number}")
                found = _read_row(line, names, place, tracks=tracks, poses=poses)
                if found is not None:
                    yield found


def _read_row(line: bytes, names: dict[int, str], place: Place, *, tracks: bool, poses: bool) -> Instance | None:
    try:
        values = [float(value) for value in line.split()]
    except ValueError:
        place.say("not-a-number", f"a row is a class and numbers, and this is {line[:60]!r}: it was left out")
        return None
    if len(values) < 5 or not all(math.isfinite(value) for value in values) or values[0] != int(values[0]):
        place.say(
            "wrong-row", f"a row is a class and at least four numbers, and this is {line[:60]!r}: it was left out"
        )
        return None
    label = names.get(int(values[0]))
    if label is None:
        place.say("unknown-category", f"class {int(values[0])} has no name: the row was left out")
        return None
    rest = values[1:]
    more: dict[str, Any] = {}
    if poses:
        rest = rest[:4]
    elif len(rest) % 2:
        last = rest.pop()
        if tracks:
            more["track"] = int(last)
        elif 0 <= last <= 1:
            more["score"] = last
        else:
            place.say(
                "unknown-number",
                f"the row ends with {last:g}, which is no score: give the format yolo-track where it is a track",
            )
    if len(rest) == 4:
        cx, cy, w, h = rest
        box = pixels.box_in(cx - w / 2, cy - h / 2, w, h, 1, 1, place)
        return None if box is None else Instance(label, Kind.BOX, box, **more)
    ring = pixels.ring_in(rest, 1, 1, place)
    if ring is None:
        return None
    return Instance(label, Kind.POLYGON, pixels.polygon_box([[ring]]), polygon=[[ring]], **more)
