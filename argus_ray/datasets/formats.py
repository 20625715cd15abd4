"""The formats by name: who writes and who reads each, and where it puts pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from argus_ray.datasets import coco, coco_video, cvat, cvat_reading, mot, native, sav, voc, yolo
from argus_ray.datasets.archives import Source, ZipWriter
from argus_ray.datasets.records import Contents, Picture
from argus_ray.datasets.report import Report
from argus_ray.schemas.dataset import Format, ImportFormat

PICTURE_PATHS: dict[Format, Callable[[Picture], str]] = {
    "coco": coco.picture_path,
    "coco-video": coco_video.picture_path,
    "yolo-detect": yolo.picture_path,
    "yolo-segment": yolo.picture_path,
    "yolo-track": yolo.picture_path,
    "cvat-video": cvat.picture_path,
    "mot": mot.picture_path,
    "parquet": native.picture_path,
}

SizeOf = Callable[[str], tuple[int, int] | None]
"""Width and height of a video by its name in a file, for formats that count in pixels and may not say of how many."""


def write(format_: Format, contents: Contents, out: ZipWriter, report: Report, scratch: Path) -> None:
    """The annotations; pictures and their list are the caller's."""
    if format_ == "coco":
        coco.write(contents, out, report)
    elif format_ == "coco-video":
        coco_video.write(contents, out, report)
    elif format_ == "cvat-video":
        cvat.write(contents, out, report)
    elif format_ == "mot":
        mot.write(contents, out, report)
    elif format_ == "parquet":
        native.write(contents, out, report, scratch)
    else:
        yolo.write(contents, out, report, format_=format_)


def read(format_: ImportFormat, source: Source, report: Report, size_of: SizeOf, scratch: Path) -> Contents:
    """What the source says. Raises AnnotationsUnreadable, here or while its frames are iterated."""
    if format_ == "coco":
        return coco.read(source, report)
    if format_ == "coco-video":
        return coco_video.read(source, report)
    if format_ in {"cvat-video", "cvat-images"}:
        return cvat_reading.read(source, report, size_of)
    if format_ == "mot":
        return mot.read(source, report, size_of)
    if format_ == "voc":
        return voc.read(source, report)
    return _read_other(format_, source, report, scratch)


def _read_other(format_: ImportFormat, source: Source, report: Report, scratch: Path) -> Contents:
    if format_ == "sav":
        return sav.read(source, report)
    if format_ == "parquet":
        return native.read(source, report, scratch)
    return yolo.read(source, report, tracks=format_ == "yolo-track")
