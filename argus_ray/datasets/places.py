"""Which video and time a picture of a file means.

The first of these that is there tells: the list of pictures that comes with an export of Argus (`frames.parquet`); a time
in the file; a place in the video, which the original's own table of times turns into one; the picture's name, if it is
the video's and a number, which of thirteen digits is a time in microseconds and else a place from 0
(`yard/0000001000000.jpg`, `yard_0000001000000.jpg`, `yard/frame_000025.jpg`, `yard_25.jpg`), or the video's alone.

Names of videos are compared as they are, without their ending, and as exports write them. All that is known is kept in a
temporary SQLite database: a project has as many videos as it has.
"""

from __future__ import annotations

import re
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path, PurePosixPath
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq

from argus_ray.catalog.importing import VideoFacts
from argus_ray.datasets.archives import Source
from argus_ray.datasets.contents import file_name
from argus_ray.datasets.records import Picture
from argus_ray.datasets.report import Report
from argus_ray.errors import AnnotationsUnreadable, ArgusError

_PTS_DIGITS = 13
_NUMBERED = re.compile(r"(?:(?P<video>.+)[_-])?(?:frame[_-]?)?(?P<number>\d+)")

TimesOf = Callable[[UUID], "list[int]"]
"""When each frame of a video is shown, in order. Raises what its original does."""


class Places:
    """Ask it for one picture after the other; what it does not find is said in the report."""

    def __init__(
        self, known: Iterable[VideoFacts], named: Mapping[str, UUID], times_of: TimesOf, report: Report, archive: str
    ) -> None:
        """`named` are names of the file that were said to mean videos."""
        self._database = sqlite3.connect("")
        self._database.execute("create table video (id text primary key, name text, width integer, height integer)")
        self._database.execute("create table called (key text, id text, unique (key, id))")
        self._database.execute("create table listed (key text primary key, video_id text, video text, pts_us integer)")
        for one in known:
            self._database.execute(
                "insert into video values (?, ?, ?, ?)", (str(one.id), one.name, one.width, one.height)
            )
            keys = {
                one.name,
                one.name.rpartition(".")[0] or one.name,
                file_name(one.name),
                f"{file_name(one.name)}-{str(one.id)[-12:]}",
            }
            self._database.executemany(
                "insert or ignore into called values (?, ?)", [(key, str(one.id)) for key in keys]
            )
        self._named, self._report, self._archive = named, report, archive
        self._times_of = lru_cache(maxsize=4)(times_of)
        self.video = lru_cache(maxsize=10_000)(self._video)

    def close(self) -> None:
        self._database.close()

    def list_pictures(self, source: Source, scratch: Path) -> None:
        """Take in the list that an export of Argus has. Raises AnnotationsUnreadable where it is none."""
        for name in source.names:
            if PurePosixPath(name).name != "frames.parquet":
                continue
            with tempfile.NamedTemporaryFile(dir=scratch) as copy:
                with source.open(name) as member:
                    while piece := member.read(2**20):
                        copy.write(piece)
                copy.flush()
                try:
                    with pq.ParquetFile(copy.name) as file:
                        for batch in file.iter_batches(columns=["file", "video", "video_id", "index", "pts_us"]):
                            self._take_in(batch.to_pylist())
                except (pa.ArrowException, OSError, TypeError) as error:
                    raise AnnotationsUnreadable(
                        f"{name} is not the list of pictures of an export: {error}", file=name
                    ) from error

    def _take_in(self, rows: Iterable[Mapping[str, object]]) -> None:
        for row in rows:
            told = (str(row["video_id"]), str(row["video"]), row["pts_us"])
            keys = (f"{row['video']}\n{row['index']}", _end_of(str(row["file"])))
            self._database.executemany(
                "insert or ignore into listed values (?, ?, ?, ?)", [(key, *told) for key in keys]
            )

    def of(self, picture: Picture) -> tuple[VideoFacts, int] | None:
        """The video and time; None where they are not known, and a line says so."""
        row = None
        if picture.video and picture.index is not None:
            row = self._listed(f"{picture.video}\n{picture.index}")
        if row is None and picture.file:
            row = self._listed(_end_of(picture.file))
        if row is not None:
            video = self.by_id(row[0]) or self.video(row[1])
            if video is None:
                self._unknown(row[1])
                return None
            return video, row[2]
        if picture.video:
            video = self.video(picture.video)
            if video is None:
                self._unknown(picture.video)
                return None
            if picture.pts_us is not None:
                return video, picture.pts_us
            if picture.index is not None:
                return self._at(video, picture.index, picture)
        return self._by_name(picture)

    def by_id(self, video_id: str) -> VideoFacts | None:
        row = self._database.execute("select id, name, width, height from video where id = ?", (video_id,)).fetchone()
        return None if row is None else VideoFacts(UUID(row[0]), *row[1:])

    def size_of(self, name: str) -> tuple[int, int] | None:
        """Width and height of the video that a name means."""
        video = self.video(name)
        return (video.width, video.height) if video is not None and video.width and video.height else None

    def _video(self, name: str) -> VideoFacts | None:
        if name in self._named:
            return self.by_id(str(self._named[name]))
        for key in (name, PurePosixPath(name).name, PurePosixPath(name).stem):
            found = self._database.execute("select id from called where key = ? limit 2", (key,)).fetchall()
            if len(found) > 1:
                self._report.say(
                    "ambiguous-video",
                    f"{name!r} is the name of several videos: say in `videos` which one it means",
                    self._archive,
                )
                return None
            if found:
                return self.by_id(found[0][0])
        return None

    def _listed(self, key: str) -> tuple[str, str, int] | None:
        row: tuple[str, str, int] | None = self._database.execute(
            "select video_id, video, pts_us from listed where key = ?", (key,)
        ).fetchone()
        return row

    def _unknown(self, name: str) -> None:
        self._report.say(
            f"unknown-video-{name[:80]}",
            f"no video of the project has the name {name!r}: say in `videos` which one it means",
            self._archive,
        )

    def _at(self, video: VideoFacts, index: int, picture: Picture) -> tuple[VideoFacts, int] | None:
        try:
            times = self._times_of(video.id)
        except ArgusError as error:
            self._report.say(
                f"no-times-{video.id}",
                f"the times of the frames of {video.name!r} are not known: {error.detail}",
                self._archive,
            )
            return None
        if not 0 <= index < len(times):
            self._report.say(
                "no-such-frame",
                f"the video {video.name!r} has {len(times)} frames, and no frame {index} (from 0)",
                self._archive,
                picture.file,
            )
            return None
        return video, times[index]

    def _by_name(self, picture: Picture) -> tuple[VideoFacts, int] | None:
        path = PurePosixPath(picture.file)
        alone = self.video(picture.file)
        if alone is not None:
            return self._at(alone, 0, picture)
        numbered = _NUMBERED.fullmatch(path.stem)
        name = (numbered["video"] or path.parent.name) if numbered else ""
        video = self.video(name) if name else None
        if numbered is None or video is None:
            self._unknown(name or picture.file)
            return None
        number = numbered["number"]
        if len(number) == _PTS_DIGITS:
            return video, int(number)
        self._report.once(
            "counted-from-0", "numbers in names of pictures were taken for places in their video, from 0", self._archive
        )
        return self._at(video, int(number), picture)


def _end_of(file: str) -> str:
    """The last two parts of a path, as which a picture is known wherever a format has put it."""
    return "/".join(PurePosixPath(file).parts[-2:])
