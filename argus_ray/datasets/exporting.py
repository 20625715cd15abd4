"""Exports: a version becomes one zip in S3, written as a stream from front to end.

    manifest ──▶ scratch ──▶ annotations of the format ──▶ pictures, where asked ──▶ frames.parquet ──▶ report.json
                             └──────────────── one zip, sent to S3 in parts while it is written ────────────────┘

Of the same version and options it has the same bytes, so that a second try writes the same object. Every picture is read
for its SHA-256, also where only its name goes into the export: `argus verify` compares with it.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa

from argus_ray.catalog import datasets, videos
from argus_ray.catalog.connect import Database, worker_url
from argus_ray.catalog.statement import Tx
from argus_ray.catalog.work import Started
from argus_ray.datasets import formats
from argus_ray.datasets.archives import ZipWriter
from argus_ray.datasets.contents import Version
from argus_ray.datasets.every_frame import EveryFrame
from argus_ray.datasets.manifest import Table
from argus_ray.datasets.records import Contents, Frame, Picture
from argus_ray.datasets.report import Report
from argus_ray.errors import NotFound
from argus_ray.s3 import S3, export_key
from argus_ray.schemas.job import Export
from argus_ray.settings import Settings
from argus_ray.video.work import Stored

Tell = Callable[[float], None]
Effects = Callable[[Tx], dict[str, Any]]

READERS = 16
_URL_S = 24 * 3600

FRAMES = pa.schema(
    [
        ("file", pa.string()),
        ("video", pa.string()),
        ("video_id", pa.string()),
        ("frame_id", pa.string()),
        ("index", pa.int32()),
        ("pts_us", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("split", pa.string()),
        ("sha256", pa.string()),
    ],
    metadata={"argus.frames_version": "1"},
)
"""The list of pictures beside every export: `file` is their place in the archive, `video` and `index` name them in the
format, `video_id` and `pts_us` in Argus. `sha256` is that of the picture's bytes, null where they were not read."""


def export(settings: Settings, started: Started, tell: Tell) -> Effects:
    """Write a version in a format. Raises NotFound, VideoError of an original that cannot be read."""
    asked = Export.model_validate(started.spec)
    key = export_key(started.project_id, started.job_id)
    with (
        tempfile.TemporaryDirectory(prefix="export-", dir=settings.scratch) as scratch,
        closing(Database(worker_url(settings))) as database,
        closing(S3(settings)) as s3,
    ):
        folder = Path(scratch)
        version = database.retry(lambda tx: tx.one(datasets.version(asked.dataset_version_id)))
        if version.project_id != started.project_id:
            raise NotFound("there is no such dataset version, or it is not yours")
        (folder / "manifest").mkdir()
        download(s3, version.manifest_key, folder / "manifest")
        tell(0.1)
        every: EveryFrame | None = None
        contents = (manifest := Version(folder / "manifest")).contents()
        if asked.frames == "all":
            every = EveryFrame(settings, manifest, lambda video_id: stored_of(database, s3, video_id, folder), folder)
            contents = every.contents()
        out = s3.writer(key, content_type="application/zip")
        made = {"long_side": settings.frame_long_side, "jpeg_quality": settings.jpeg_quality}
        done = Writing(asked, contents, out, s3, every, folder, tell, made).run()
        out.complete()
        size_bytes = out.size_bytes
    filename = f"{asked.format}-v{version.number}.zip"
    result = {"object_key": key, "filename": filename, "size_bytes": size_bytes, **done}
    return lambda _: result


def download(s3: S3, manifest_key: str, folder: Path) -> None:
    """The files of a manifest. Raises NotFound where it is gone."""
    prefix = manifest_key.removesuffix("dataset.json")
    for key, _ in s3.etags_under(prefix):
        with (folder / key.removeprefix(prefix)).open("wb") as file:
            for piece in s3.stream(s3.at(key)):
                file.write(piece)
    if not (folder / "dataset.json").exists():
        raise NotFound("the manifest of this version is not in S3 any more", manifest_key=manifest_key)


def stored_of(database: Database, s3: S3, video_id: UUID, scratch: Path) -> Stored:
    """Where a video's original lies. Raises NotFound."""
    video = database.retry(lambda tx: tx.one(videos.get(video_id)))
    at = s3.original(video.project_id, video.id, video.source_uri)
    head = s3.head(at)
    if head is None:
        raise NotFound(
            f"the original of video {video_id} is gone: export its kept pictures instead", video_id=str(video_id)
        )
    return Stored(s3.presign_get(at, expires_s=_URL_S), video.name, head.size_bytes, scratch)


@dataclass
class Writing:
    """One archive while it is written."""

    asked: Export
    contents: Contents
    out: Any
    s3: S3
    every: EveryFrame | None
    scratch: Path
    tell: Tell
    made: dict[str, int]
    """How pictures are made here, for whoever makes them again: their long side and JPEG quality."""

    def run(self) -> dict[str, Any]:
        """Write all of it; what the job says of it."""
        self.report = Report()
        self.frames = self.annotations = 0
        archive = ZipWriter(self.out)
        whole = sum(clip.frames for clip in self.contents.clips) or 1
        told = replace(self.contents, frames=lambda: self._telling(whole))
        formats.write(self.asked.format, told, archive, self.report, self.scratch)
        self.tell(0.5)
        table = Table(self.scratch / "frames.parquet", FRAMES)
        path_of = formats.PICTURE_PATHS[self.asked.format]
        for frame, content in self._pictures():
            self.frames += 1
            self.annotations += sum(not one.outside for one in frame.instances)
            file = path_of(frame.picture)
            table.add(_row(frame.picture, file, content))
            if content is not None and self.asked.pictures:
                archive.put(file, content)
            if self.frames % 100 == 0:
                self.tell(0.5 + 0.5 * self.frames / whole)
        table.close()
        with archive.open("frames.parquet") as member, table.path.open("rb") as content_of:
            while piece := content_of.read(2**20):
                member.write(piece)
        done = {
            "format": self.asked.format,
            "pictures": self.asked.pictures,
            "frames": self.frames,
            "annotations": self.annotations,
            "report": self.report.to_json(),
        }
        archive.put("report.json", json.dumps({**done, "pictures_made": self.made}, indent=1, ensure_ascii=False))
        archive.close()
        return done

    def _telling(self, whole: int) -> Iterator[Frame]:
        for number, frame in enumerate(self.contents.frames()):
            if number % 200 == 0:
                self.tell(min(0.1 + 0.3 * number / whole, 0.4))
            yield frame

    def _pictures(self) -> Iterator[tuple[Frame, bytes | None]]:
        """Each frame with the bytes of its picture, in order; None where there are none, and a line says so."""
        if self.every is None:
            yield from self._kept()
        elif self.asked.pictures:
            yield from self._decoded(self.every)
        else:
            for frame in self.contents.frames():
                yield frame, None

    def _kept(self) -> Iterator[tuple[Frame, bytes | None]]:
        """So many are asked for ahead as there are threads."""

        def content(frame: Frame) -> bytes | None:
            try:
                return self.s3.get(self.s3.at(frame.picture.key))
            except NotFound:
                return None

        with ThreadPoolExecutor(READERS, thread_name_prefix="pictures") as threads:
            ahead: deque[tuple[Frame, Future[bytes | None]]] = deque()
            for frame in self.contents.frames():
                ahead.append((frame, threads.submit(content, frame)))
                if len(ahead) >= 2 * READERS:
                    yield self._arrived(*ahead.popleft())
            while ahead:
                yield self._arrived(*ahead.popleft())

    def _arrived(self, frame: Frame, coming: Future[bytes | None]) -> tuple[Frame, bytes | None]:
        content, picture = coming.result(), frame.picture
        if content is None:
            self.report.say("picture-missing", "its picture is not in S3: ingest its video again", picture.file)
        elif (
            picture.etag
            and hashlib.md5(content, usedforsecurity=False).hexdigest() != picture.etag
            and len(picture.etag) == 32
        ):
            self.report.say(
                "picture-changed",
                "its picture is not the one of the version: its video was ingested anew",
                picture.file,
            )
        return frame, content

    def _decoded(self, every: EveryFrame) -> Iterator[tuple[Frame, bytes | None]]:
        for video, frames in groupby(self.contents.frames(), key=lambda frame: frame.picture.video):
            with closing(every.jpegs(video)) as jpegs:
                waiting = next(jpegs, None)
                for frame in frames:
                    at_us = frame.picture.pts_us or 0
                    while waiting is not None and waiting[0] < at_us:
                        waiting = next(jpegs, None)
                    content = waiting[1] if waiting is not None and waiting[0] == at_us else None
                    if content is None:
                        self.report.say(
                            "picture-missing",
                            "the original has no picture that can be decoded at this time",
                            frame.picture.file,
                        )
                    yield frame, content


def _row(picture: Picture, file: str, content: bytes | None) -> dict[str, Any]:
    sha256 = None if content is None else hashlib.sha256(content).hexdigest()
    same = {name: getattr(picture, name) for name in FRAMES.names if name not in {"file", "sha256", "frame_id"}}
    return {**same, "file": file, "frame_id": picture.frame_id or None, "sha256": sha256}
