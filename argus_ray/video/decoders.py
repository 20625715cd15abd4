"""Two decoders behind one interface: a run of a plan goes in, pictures with their times come out.

PyAV is what is used. Measured on one core (CPU seconds, opening included; drawn panning clips, 20 s and 500 pictures, HEVC
8 s and 200; pictures as RGB in the end, as decord gives nothing else; PyAV 18.1, decord2 3.4):

    clip                        wanted                  PyAV, planned   decord `get_batch`
    720p H.264, GOP 250, 2 B    16 spread               0.45            0.67
                                every                   0.89            2.2
    1080p H.264, GOP 60, 3 B    16 spread               0.77            1.54
                                keyframes (12)          0.33            0.57
                                every                   1.92            4.98
    720p H.264, GOP 250, no B   1 a second (20)         0.50            0.51
    720p HEVC, GOP 250          1 a second (8)          0.25            0.22
                                every                   0.38            0.97

decord comes level where no picture can be skipped and few are wanted, and nowhere ahead by more than noise. It converts
each picture to full-size RGB, knows no tone mapping and no exact times, and says nothing of damage. In the clips of the
tests it gave the wrong picture in open GOPs (one off), failed on turned ones (its batch buffer has the coded shape) and
now and then on HEVC (the decoder's "again" taken for an error). It stays as a second, independent opinion where it is
right: the tests hold the two against each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, BinaryIO, Protocol, Self

from av.video.frame import VideoFrame

from argus_ray.errors import VideoTooLarge
from argus_ray.video.container import open_container
from argus_ray.video.index import Index, read_packets, to_us
from argus_ray.video.limits import Limits
from argus_ray.video.probe import Probe
from argus_ray.video.reader import Reader
from argus_ray.video.segments import Run

if TYPE_CHECKING:
    import decord

_BATCH = 16  # decord buffers decoded pictures without bound while its consumer is slow

_SKIPPABLE = {"h264", "mpeg1video", "mpeg2video", "mpeg4"}
"""Codecs whose non-reference pictures no other picture needs. Not HEVC: there they are so within a temporal layer only."""


class Decoder(Protocol):
    """What extraction needs of a decoder."""

    decoded: int
    """Pictures that came out so far."""
    damaged_us: list[tuple[int, int]]
    """Times of what could not be read or decoded."""

    def pictures(self, run: Run) -> Iterator[tuple[VideoFrame, int]]:
        """Pictures in order of time with their `pts_us`, the wanted ones among them."""
        ...


class PyavDecoder:
    """Decodes from the run's keyframe to its last wanted packet; leaves out what nothing wanted depends on."""

    def __init__(self, file: BinaryIO, probe: Probe, limits: Limits) -> None:
        self.probe, self.limits = probe, limits
        self.decoded = 0
        self.reader = Reader(file, probe)
        self.damaged_us = self.reader.damaged_us
        self._times_us = _times_in_order(file, probe, limits) if probe.guessed_times else []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.reader.close()

    def pictures(self, run: Run) -> Iterator[tuple[VideoFrame, int]]:
        """As the decoder gives them; a picture may be skipped only if its packet's time is not wanted."""
        wanted_us = frozenset(run.wanted_us or ())
        skips = bool(wanted_us) and self.probe.codec in _SKIPPABLE and not self.probe.guessed_times
        for packet in self.reader.packets(run):
            if skips and packet.pts is not None:
                self.reader.skip_unneeded(self._us(packet.pts) not in wanted_us)
            for frame in self.reader.decode(packet):
                yield from self._timed(frame)
        for frame in self.reader.flush():
            yield from self._timed(frame)

    def _timed(self, frame: VideoFrame) -> Iterator[tuple[VideoFrame, int]]:
        self._check(frame)
        pts = frame.pts if frame.pts is not None else frame.dts
        if self.probe.guessed_times:
            if self.decoded > len(self._times_us):
                return
            pts_us = self._times_us[self.decoded - 1]
        elif pts is None:
            return
        else:
            pts_us = self._us(pts)
        if frame.is_corrupt:
            self.damaged_us.append((pts_us, pts_us + self.probe.step_us))
        yield frame, pts_us

    def _check(self, frame: VideoFrame) -> None:
        """The header was checked by the probe; a stream may still change its size, or go on for ever."""
        self.decoded += 1
        if frame.width * frame.height > self.limits.max_pixels:
            raise VideoTooLarge(
                f"the picture becomes {frame.width}x{frame.height} in mid-stream and the limit is "
                f"{self.limits.max_pixels} pixels: scale the video down, or have an operator raise ARGUS_MAX_PIXELS"
            )
        if self.decoded > self.limits.max_video_frames:
            raise VideoTooLarge(
                f"a segment gave more than {self.limits.max_video_frames} pictures: cut the video, or have an operator "
                "raise ARGUS_MAX_VIDEO_FRAMES"
            )

    def _us(self, pts: int) -> int:
        return to_us(pts, Fraction(*self.probe.time_base), self.probe.start_us)


def _times_in_order(file: BinaryIO, probe: Probe, limits: Limits) -> list[int]:
    """When the first, the second, the third picture is shown, where nothing but their order tells it."""
    with open_container(file) as container:
        stream = next(s for s in container.streams.video if s.index == probe.stream_index)
        times_us: list[int] = read_packets(container, stream, limits).shown_us.tolist()
    return times_us


@dataclass
class DecordDecoder:
    """Takes pictures by their place in the packet table; times are the table's. Full-size RGB."""

    reader: decord.VideoReader
    index: Index
    decoded: int = 0
    damaged_us: list[tuple[int, int]] = field(default_factory=list)

    def pictures(self, run: Run) -> Iterator[tuple[VideoFrame, int]]:
        """The wanted ones alone. A run without a list is every picture of the video."""
        shown_us = self.index.shown_us.tolist()
        place = {pts_us: number for number, pts_us in enumerate(shown_us)}
        wanted_us = run.wanted_us if run.wanted_us is not None else shown_us
        for start in range(0, len(wanted_us), _BATCH):
            batch = wanted_us[start : start + _BATCH]
            for pts_us, rgb in zip(batch, self.reader.get_batch([place[t] for t in batch]).asnumpy(), strict=True):
                self.decoded += 1
                yield VideoFrame.from_ndarray(rgb, format="rgb24"), pts_us
        self.reader.seek(0)


def open_decord(path: str, probe: Probe, index: Index) -> DecordDecoder | None:
    """Decord on a local file; None where its count of pictures is not the packet table's: then its places are others.

    None too for a turned video, on whose shape decord fails.
    """
    import decord

    if probe.rotation_clockwise or probe.mirrored:
        return None
    try:
        reader = decord.VideoReader(path, ctx=decord.cpu(0), num_threads=1)
    except (decord.DECORDError, RuntimeError):
        return None
    return DecordDecoder(reader, index) if len(reader) == len(index.shown_us) == probe.frame_count else None
