"""Every frame of a version's videos, with what is between keyframes: times from the original, and pictures where asked.

The originals are hostile, so that a child process reads them. A video's times are kept in a file, its annotations read
along: memory does not grow with its length.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt

from argus_ray.datasets import manifest
from argus_ray.datasets.contents import Version
from argus_ray.datasets.records import Clip, Contents, Frame, Instance, Picture
from argus_ray.datasets.sweep import Lasting
from argus_ray.schemas.annotation import Kind
from argus_ray.schemas.video import SamplingPolicy
from argus_ray.settings import Settings
from argus_ray.video import work
from argus_ray.video.container import open_file
from argus_ray.video.decode import Kept
from argus_ray.video.decoders import PyavDecoder
from argus_ray.video.geometry import fitted
from argus_ray.video.limits import Limits
from argus_ray.video.pictures import Output, Painter
from argus_ray.video.probe import examine
from argus_ray.video.process import DecodeProcess
from argus_ray.video.segments import plan_segments
from argus_ray.video.source import check, open_source
from argus_ray.video.work import Stored

Int64 = npt.NDArray[np.int64]

StoredOf = Callable[[UUID], Stored]
"""Where a video's original lies. Raises NotFound where it is gone."""


@dataclass(frozen=True)
class Timetable:
    """When each frame of a video is shown, and the size of its pictures as displayed and as Argus makes them."""

    shown_us: Int64
    width: int
    height: int


def timetable(stored: Stored, limits: Limits, long_side: int) -> Timetable:
    """Run it in a child process. Raises VideoError."""
    with open_source(stored.location, size_bytes=stored.size_bytes, scratch=stored.scratch, share=0.0) as source:
        probe, index = examine(source, stored.filename, limits)
        check(source)
        width, height = fitted(probe.width, probe.height, long_side)
        return Timetable(np.sort(index.shown_us), width, height)


def pictures(stored: Stored, output: Output, limits: Limits) -> Iterator[Kept]:
    """Every picture of a video, made as ingest makes them. Run it in a child process. Raises VideoError."""
    policy = SamplingPolicy(policy="every_frame", dedupe=False)
    with open_source(stored.location, size_bytes=stored.size_bytes, scratch=stored.scratch, share=1.0) as source:
        probe, index = examine(source, stored.filename, limits)
        segments = plan_segments(probe, index, policy, 10**9, limits)
        del index
    for segment in segments:
        for item in work.resume(stored, probe, segment, policy, output, limits):
            if isinstance(item, Kept):
                yield item


def named_pictures(stored: Stored, wanted_us: frozenset[int], output: Output, limits: Limits) -> Iterator[Kept]:
    """The pictures of these times, made as ingest makes them. Run it in a child process. Raises VideoError."""
    with open_source(stored.location, size_bytes=stored.size_bytes, scratch=stored.scratch, share=1.0) as source:
        probe, index = examine(source, stored.filename, limits)
        (plan,) = plan_segments(probe, index, SamplingPolicy(policy="every_frame", dedupe=False), 10**9, limits)
        del index
        painter = Painter(probe, output)
        with open_file(source) as file, PyavDecoder(file, probe, limits) as decoding:
            for run in plan.runs:
                for frame, pts_us in decoding.pictures(run):
                    if pts_us in wanted_us:
                        picture = painter.paint(frame)
                        yield Kept(pts_us, picture.width, picture.height, picture.jpeg(), picture.pixels)
        check(source)


class EveryFrame:
    """A version whose pictures are all those of its videos."""

    def __init__(self, settings: Settings, version: Version, stored_of: StoredOf, scratch: Path) -> None:
        self._settings, self._version, self._stored_of, self._scratch = settings, version, stored_of, scratch
        self._limits = limits_of(settings)
        self._output = Output(long_side=settings.frame_long_side, quality=settings.jpeg_quality, model_size=32)
        self._ids = {name: video_id for video_id, name in version.names.items()}
        self.clips = tuple(self._clips())

    def contents(self) -> Contents:
        return replace(self._version.contents(), frames=self.frames, clips=self.clips, has_all_keyframes=True)

    def _clips(self) -> Iterator[Clip]:
        with decoder(self._settings) as child:
            for clip in self._version.clips.values():
                stored = self._stored_of(UUID(self._ids[clip.name]))
                times = child.call(
                    timetable,
                    stored,
                    self._limits,
                    self._settings.frame_long_side,
                    timeout_s=self._settings.decode_timeout_s,
                )
                np.save(self._scratch / f"{self._ids[clip.name]}.npy", times.shown_us)
                lasts_us = int(times.shown_us[-1] - times.shown_us[0]) if len(times.shown_us) else 0
                rate = (len(times.shown_us) - 1) * 1e6 / lasts_us if lasts_us else clip.frame_rate
                most = self._tracks.get(self._ids[clip.name], 0)
                yield replace(
                    clip, frames=len(times.shown_us), frame_rate=rate, width=times.width, height=times.height,
                    tracks=max(clip.tracks, most),
                )  # fmt: skip

    @property
    def _tracks(self) -> dict[str, int]:
        """The largest number of a track of each video."""
        found: dict[str, int] = {}
        for row in self._keyframes():
            found[row["video_id"]] = max(found.get(row["video_id"], 0), row["track"])
        return found

    def _keyframes(self) -> Iterator[dict[str, Any]]:
        path = self._version.folder / "tracks.parquet"
        return manifest.rows(path) if path.exists() else iter(())

    def frames(self) -> Iterator[Frame]:
        kept = groupby(self._version.frames(), key=lambda frame: frame.picture.video)
        tracks = _ByVideo(self._keyframes())
        by_name = {clip.name: clip for clip in self.clips}
        split = None
        for name, frames in kept:
            if by_name[name].split != split:  # each split begins with its first video again
                split, tracks = by_name[name].split, _ByVideo(self._keyframes())
            yield from self._of_video(by_name[name], frames, tracks.of(self._ids[name]))

    def _of_video(self, clip: Clip, kept: Iterator[Frame], keyframes: Iterator[dict[str, Any]]) -> Iterator[Frame]:
        video_id = self._ids[clip.name]
        times = np.load(self._scratch / f"{video_id}.npy", mmap_mode="r")
        lasting = Lasting()
        next_kept, next_key = next(kept, None), next(keyframes, None)
        for index, pts_us in enumerate(map(int, times)):
            found: list[Instance] = []
            while next_key is not None and next_key["pts_us"] <= pts_us:
                lasting.add(next_key)
                if next_key["pts_us"] == pts_us and not next_key["outside"]:
                    found.append(self._version.instance(next_key, next_key))
                next_key = next(keyframes, None)
            found += [self._version.instance(one, one) for one in lasting.at(pts_us)]
            verdicts = {}
            while next_kept is not None and (next_kept.picture.pts_us or 0) <= pts_us:
                if next_kept.picture.pts_us == pts_us:
                    found += [one for one in next_kept.instances if one.track is None or one.kind is Kind.TAG]
                    verdicts = dict(next_kept.verdicts)
                next_kept = next(kept, None)
            picture = Picture(
                f"{clip.name}/{pts_us:013d}.jpg", clip.width or 0, clip.height or 0, video=clip.name, index=index,
                pts_us=pts_us, split=clip.split, video_id=video_id,
            )  # fmt: skip
            yield Frame(
                picture, tuple(sorted(found, key=lambda one: (one.track is None, one.track or 0, one.id))), verdicts
            )

    def jpegs(self, video: str) -> Generator[tuple[int, bytes]]:
        """Time and bytes of each picture of a video, by its name, decoded now."""
        stored = self._stored_of(UUID(self._ids[video]))
        timeout_s, stall_s = 24 * 3600.0, self._settings.decode_stall_s
        with decoder(self._settings) as child:
            for one in child.run(pictures, stored, self._output, self._limits, timeout_s=timeout_s, stall_s=stall_s):
                yield one.pts_us, one.jpeg


class _ByVideo:
    """A stream of keyframes, sorted by video, asked for some of the videos in that order."""

    def __init__(self, rows: Iterator[dict[str, Any]]) -> None:
        self._rows = rows
        self._next = next(rows, None)

    def of(self, video_id: str) -> Iterator[dict[str, Any]]:
        while self._next is not None and self._next["video_id"] < video_id:
            self._next = next(self._rows, None)
        while self._next is not None and self._next["video_id"] == video_id:
            row, self._next = self._next, next(self._rows, None)
            yield row


def limits_of(settings: Settings) -> Limits:
    return Limits(
        max_duration_s=settings.max_duration_s,
        max_pixels=settings.max_pixels,
        max_video_frames=settings.max_video_frames,
        max_frames_kept=settings.max_video_frames,
        max_size_bytes=settings.max_size_bytes,
    )


def decoder(settings: Settings) -> DecodeProcess:
    return DecodeProcess(memory_bytes=settings.decode_memory_bytes)
