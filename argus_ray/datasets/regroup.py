"""From pictures in order of time to tracks: for formats that write a track as a whole.

A temporary SQLite database does it, which keeps in memory what fits its cache and on disk what does not. So a video may
be as long as it is.
"""

from __future__ import annotations

import pickle
import sqlite3
from collections.abc import Iterable, Iterator
from itertools import groupby
from types import TracebackType
from typing import Self

from argus_ray.datasets.records import Frame, Instance, Picture


class ByTrack:
    """The instances of one video, put in by picture and taken out by track: (picture's number, picture, instance).

    What belongs to no track gets one of its own.
    """

    def __init__(self, spare: int) -> None:
        """`spare` is the first number that no track of the video has."""
        self._database = sqlite3.connect("")  # a file of its own that goes with it
        self._database.execute("create table seen (track integer, made integer, place integer, it blob)")
        self._spare = spare
        self.frames = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    def add(self, frame: Frame, instances: Iterable[Instance], *, apart: bool = False) -> None:
        """With `apart` each instance becomes a track of its own."""
        for instance in instances:
            made = apart or instance.track is None
            track = self._spare if made else instance.track
            self._spare += made
            packed = pickle.dumps((frame.picture, instance), protocol=5)
            self._database.execute("insert into seen values (?, ?, ?, ?)", (track, made, self.frames, packed))

    def next_frame(self) -> None:
        self.frames += 1

    def tracks(self) -> Iterator[tuple[int, bool, Iterator[tuple[int, Picture, Instance]]]]:
        """By number: the track, whether it was made here, and what is seen of it by time."""
        rows = self._database.execute("select track, made, place, it from seen order by track, place, rowid")
        for (track, made), seen in groupby(rows, key=lambda row: (row[0], bool(row[1]))):
            yield track, made, ((row[2], *pickle.loads(row[3])) for row in seen)  # noqa: S301  # our own bytes
