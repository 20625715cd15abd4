"""Datasets as values, for tests of formats; and how they go through a format and come back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from argus_ray import rle
from argus_ray.datasets import formats
from argus_ray.datasets.archives import Source, ZipWriter
from argus_ray.datasets.records import Category, Clip, Contents, Frame, Instance, Picture
from argus_ray.datasets.report import Report
from argus_ray.schemas.annotation import Kind

WIDTH, HEIGHT = 64, 48


def picture(video: str, index: int, *, split: str = "train") -> Picture:
    file = f"{video}/{index * 40_000:013d}.jpg"
    return Picture(file, WIDTH, HEIGHT, video=video, index=index, pts_us=index * 40_000, split=split)


def box(label: str, at: tuple[float, float, float, float] = (0.25, 0.25, 0.5, 0.25), **more) -> Instance:
    return Instance(label, Kind.BOX, at, **more)


def polygon(label: str, *parts: Sequence[Sequence[tuple[float, float]]], **more) -> Instance:
    rings = [[list(ring) for ring in part] for part in parts]
    xs, ys = zip(*(point for part in rings for point in part[0]), strict=True)
    around = (min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))
    return Instance(label, Kind.POLYGON, around, polygon=rings, **more)


def mask(label: str, *, left: int = 8, top: int = 4, width: int = 20, height: int = 10, **more) -> Instance:
    """A ring of pixels."""
    pixels = np.zeros((HEIGHT, WIDTH), bool)
    pixels[top : top + height, left : left + width] = True
    pixels[top + 3 : top + height - 3, left + 3 : left + width - 3] = False
    around = (left / WIDTH, top / HEIGHT, width / WIDTH, height / HEIGHT)
    return Instance(label, Kind.MASK, around, mask=rle.encode(pixels), **more)


def contents(frames: Sequence[Frame], *names: str) -> Contents:
    """A dataset of these labels, in that order, the first one without any object."""
    clips: dict[str, Clip] = {}
    for frame in frames:
        one = frame.picture
        clip = clips.setdefault(one.video, Clip(one.video, one.split, 25.0, one.width, one.height))
        most = max((instance.track or 0 for instance in frame.instances), default=0)
        clips[one.video] = replace(clip, frames=clip.frames + 1, tracks=max(clip.tracks, most))
    categories = tuple(Category(number, name) for number, name in enumerate(names, 2))
    return Contents(categories, lambda: frames, tuple(clips.values()))


def written(format_, what: Contents, folder: Path) -> tuple[Path, Report]:
    """The archive, and what was lost."""
    path, report = folder / f"{format_}.zip", Report()
    with path.open("wb") as file:
        out = ZipWriter(file)
        formats.write(format_, what, out, report, folder)
        out.close()
    return path, report


def read(format_, path: Path, *, size: tuple[int, int] | None = (WIDTH, HEIGHT)) -> tuple[list[Frame], Report]:
    report = Report()
    source = Source(path)
    try:
        found = formats.read(format_, source, report, lambda _: size, path.parent if path.is_file() else path)
        return list(found.frames()), report
    finally:
        source.close()


def instances(frames: Sequence[Frame]) -> list[Instance]:
    return [instance for frame in frames for instance in frame.instances]


def in_readers(script: str, *arguments: object) -> str:
    """What a script prints that is run by the Python of the libraries which read and check what we write."""
    python = Path(sys.prefix) / "readers" / "bin" / "python"
    done = subprocess.run(
        [python, "-c", script, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
