"""A video drawn over: each picture of a stretch of it is decoded, painted by the caller, and encoded again.

The clip has the source's pictures at the source's times, however irregular (its time base is a microsecond), turned as
they are displayed, and plays in a browser before it is whole there (H.264 or, where FFmpeg was built without it,
MPEG-4; yuv420p; the index in front). One picture at a time is in memory. There is no sound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import numpy.typing as npt
from av.codec import Codec
from av.codec.codec import UnknownCodecError
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace

from argus_ray.errors import InvalidRequest
from argus_ray.video.container import Source, open_file
from argus_ray.video.decoders import PyavDecoder
from argus_ray.video.limits import Limits
from argus_ray.video.pictures import Output, Painter
from argus_ray.video.probe import Probe, examine
from argus_ray.video.segments import Run
from argus_ray.video.source import check

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

    from argus_ray.video.index import Index

UInt8 = npt.NDArray[np.uint8]

Paint = Callable[[int, UInt8], UInt8]
"""From `pts_us` and the displayed picture, uint8 [H, W, 3], to what is shown instead, of the same shape."""

_ENCODERS = {"libx264": {"preset": "veryfast", "crf": "20"}, "mpeg4": {"qscale": "3"}}
_MICROSECOND = Fraction(1, 1_000_000)
_BT709 = 1  # the number of this matrix, of its primaries and of its transfer in ISO/IEC 23091-2


@dataclass(frozen=True, slots=True)
class Clip:
    """What was written. Times are those of the source; the clip itself begins at 0."""

    codec: str
    width: int
    height: int
    pictures: int
    from_us: int
    to_us: int
    size_bytes: int


def render(
    source: Source,
    out: Path,
    paint: Paint,
    *,
    filename: str = "",
    from_us: int | None = None,
    to_us: int | None = None,
    max_side: int = 1280,
    limits: Limits | None = None,
) -> Clip:
    """Write the pictures of from_us <= pts_us < to_us to an MP4 at `out`, each as `paint` gives it.

    `source` is what `open_source` gives for a path or a URL. Pictures are scaled down until their long side is at most
    `max_side`. `out` appears when it is whole. Raises InvalidRequest where there is no picture in that time, the VideoError
    that says why the source cannot be read, and what a lost connection raises.
    """
    limits = limits or Limits()
    with open_file(source) as file:
        probe, index = examine(file, filename, limits)
        low_us, high_us = from_us if from_us is not None else -(2**62), to_us if to_us is not None else 2**62
        run = _run(probe, index, low_us, high_us)
        painter = Painter(probe, Output(long_side=max_side))
        with PyavDecoder(file, probe, limits) as decoder:
            pictures = (
                (pts_us, paint(pts_us, painter.paint(frame).displayed()))
                for frame, pts_us in decoder.pictures(run)
                if low_us <= pts_us < high_us
            )
            partial = out.with_name(f".{out.name}.partial")
            try:
                clip = _encode(partial, pictures, probe, min(high_us, probe.video_end_us))
                check(file)
                partial.replace(out)
            finally:
                partial.unlink(missing_ok=True)
    return clip


def _run(probe: Probe, index: Index, low_us: int, high_us: int) -> Run:
    """From the keyframe that the first of these pictures needs, to the last of them that is stored."""
    times = index.us(index.pts)
    places = np.flatnonzero(index.is_shown & (times >= low_us) & (times < high_us))
    if not len(places):
        raise _nothing_there(probe, low_us, high_us)
    keyframe = int(index.governing()[places].min())
    if probe.guessed_times:
        return Run(seek_pts=None, stop_pts=None)
    return Run(seek_pts=int(index.pts[keyframe]) if keyframe else None, stop_pts=int(index.pts[places.max()]))


def _nothing_there(probe: Probe, low_us: int, high_us: int) -> InvalidRequest:
    return InvalidRequest(
        f"the video has no picture from {max(low_us, 0) / 1e6:.3f} s to {min(high_us, probe.video_end_us) / 1e6:.3f} s: it "
        f"lasts {probe.video_end_us / 1e6:.3f} s; choose a time within it",
        video_end_us=probe.video_end_us,
    )


def _encode(out: Path, pictures: Iterator[tuple[int, UInt8]], probe: Probe, end_us: int) -> Clip:
    first = next(pictures, None)
    if first is None:
        raise _nothing_there(probe, 0, end_us)
    begin_us, picture = first
    high, wide = (side + side % 2 for side in picture.shape[:2])
    name = _encoder()
    with av.open(out, "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = _stream(container, name, wide, high, probe)
        count, last_us = 0, begin_us
        muxer = _Muxer(container, stream)
        for pts_us, shown in _from(first, pictures):
            if count and pts_us <= last_us:
                continue  # a damaged stream may give a time twice
            muxer.add(_frame(shown, wide, high), pts_us - begin_us)
            count, last_us = count + 1, pts_us
        muxer.finish(max(end_us, last_us + 1) - begin_us)
    return Clip(name, wide, high, count, begin_us, last_us, out.stat().st_size)


def _from(first: tuple[int, UInt8], others: Iterator[tuple[int, UInt8]]) -> Iterator[tuple[int, UInt8]]:
    yield first
    yield from others


def _encoder() -> str:
    for name in _ENCODERS:
        try:
            Codec(name, "w")
        except UnknownCodecError:
            continue
        return name
    raise RuntimeError(f"FFmpeg in PyAV has none of the encoders {', '.join(_ENCODERS)}: install av from its wheel")


def _stream(container: OutputContainer, name: str, wide: int, high: int, probe: Probe) -> VideoStream:
    rate = Fraction(probe.frame_rate or 25).limit_denominator(1001)
    stream: Any = container.add_stream(name, rate=rate, options=_ENCODERS[name])
    stream.width, stream.height, stream.pix_fmt = wide, high, "yuv420p"
    context = stream.codec_context
    context.time_base = stream.time_base = _MICROSECOND
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    context.color_range = ColorRange.MPEG
    return stream  # type: ignore[no-any-return]  # PyAV's type of it lacks the settable properties


def _frame(picture: UInt8, wide: int, high: int) -> VideoFrame:
    """With an even number of rows and columns, which 4:2:0 needs: the last one is repeated."""
    rows, columns = picture.shape[:2]
    even = np.pad(picture, ((0, high - rows), (0, wide - columns), (0, 0)), mode="edge")
    return VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24").reformat(
        format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
    )


class _Muxer:
    """Encodes and writes pictures, each with how long it is shown: that of the last one nothing else would tell."""

    def __init__(self, container: OutputContainer, stream: VideoStream) -> None:
        self.container, self.stream = container, stream
        self.durations_us: dict[int, int] = {}
        self.last_us: int | None = None

    def add(self, frame: VideoFrame, at_us: int) -> None:
        self._ends(at_us)
        frame.pts, frame.time_base = at_us, _MICROSECOND
        self.last_us = at_us
        self._write(frame)

    def finish(self, end_us: int) -> None:
        self._ends(end_us)
        self._write(None)

    def _ends(self, at_us: int) -> None:
        if self.last_us is not None:
            self.durations_us[self.last_us] = at_us - self.last_us

    def _write(self, frame: VideoFrame | None) -> None:
        for packet in self.stream.encode(frame):
            packet.duration = self.durations_us.pop(packet.pts or 0, 0)
            self.container.mux(packet)
