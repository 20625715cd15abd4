"""The packet table: what pictures a video holds, when each is shown, and from which keyframe it can be decoded.

This table, not a decoder's counter, is the truth about time. It costs no decoding:

- MP4 and MOV that are not fragmented: from the header alone (milliseconds, and by ranges a fraction of the file).
  FFmpeg's index says when each sample is *decoded*; with B-frames that is earlier than when it is shown, and a seek to
  that time lands one group of pictures too early, which no test of pixels notices. The presentation time is
  `dts + ctts`, shifted so that the first one shown is the stream's start, and the tests hold it against demuxing.
- everything else, and MP4 whose edit list cuts pictures off: by reading every packet (2 ms of CPU a megabyte).

A picture that an edit list cuts off is decoded, since others need it, and not shown. Pictures with equal times: the
first one stays.

Containers also lie. Three lies are told by decoding a few pictures, and cost what they must:
- no presentation times (raw H.264, most packets of H.264 in MPEG-PS): pictures are taken to be equally far apart;
- times in the order of storage of pictures that are shown in another one (B-frames in AVI, ASF or MXF): the times are
  right, their owners are not. In both cases `guessed` says that times belong to pictures by their order: decoding starts
  at the beginning and counts;
- packets called keyframes at which no decoder can begin (H.263, or H.264 that is refreshed bit by bit): `enterable` says
  so, and every picture is decoded from the beginning.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np
import numpy.typing as npt
from av.error import FFmpegError

from argus_ray.errors import VideoTooLarge
from argus_ray.video import boxes

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

    from argus_ray.video.limits import Limits

Int64 = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_MAX_READ_ERRORS = 100  # in a row: what is unreadable for longer is over
_TIMELESS_SHARE = 0.05  # damage takes the time of a packet here and there: such a picture is left out


def to_us(pts: int, time_base: Fraction, start_us: int) -> int:
    """Microseconds as a player counts them: PTS x time base - the container's start, rounded half to even."""
    return round(pts * time_base * 1_000_000) - start_us


@dataclass(frozen=True)
class Index:
    """Packets in decoding order. Times in `time_base`; `*_us` from the container's start."""

    time_base: Fraction
    start_us: int
    pts: Int64
    is_key: Bools
    is_shown: Bools
    """False: cut off by the edit list, a second picture of the same time, or beyond the end of the file."""
    last_duration: int
    lost: int = 0
    """Pictures that the header promises and the file does not hold."""
    guessed: bool = False
    """Times belong to pictures by their order alone."""
    enterable: bool = True
    """False: decoding can begin at the first packet alone."""

    def us(self, pts: Int64) -> Int64:
        """`to_us` of many, exactly: a float holds neither a 90 kHz clock of days nor the rounding of a tie."""
        numerator, denominator = self.time_base.numerator * 1_000_000, self.time_base.denominator
        scaled = (
            pts.astype(object) * numerator
            if len(pts) and int(np.abs(pts).max()) > 2**62 // numerator
            else pts * numerator
        )
        quotient, twice = scaled // denominator, (scaled % denominator) * 2
        up = (twice > denominator) | ((twice == denominator) & (quotient % 2 == 1))
        return cast("Int64", (quotient + up).astype(np.int64) - self.start_us)

    @property
    def shown_us(self) -> Int64:
        """Times of the pictures, ascending, each once."""
        return np.unique(self.us(self.pts[self.is_shown]))

    @property
    def end_us(self) -> int:
        """When the last picture ends."""
        shown = self.pts[self.is_shown]
        return to_us(int(shown.max()) + self.last_duration, self.time_base, self.start_us) if len(shown) else 0

    def governing(self) -> Int64:
        """For each packet the place (in decoding order) of the keyframe from which it can be decoded.

        That is the keyframe before it; for a leading picture, which is stored after a keyframe and shown before it (open
        GOP), the one before that. Packets before the first keyframe have 0.
        """
        places = np.flatnonzero(self.is_key)
        if not len(places) or not self.enterable:
            return np.zeros(len(self.pts), np.int64)
        before = np.searchsorted(places, np.arange(len(self.pts)), "right") - 1
        leading = (before > 0) & (self.pts < self.pts[places[np.maximum(before, 0)]])
        return places[np.maximum(before - leading, 0)]


def without_lead(index: Index, first_pts: int) -> Index:
    """Without the pictures before the first one that can be decoded from the beginning of the file.

    A stream that was cut out of another begins with pictures whose references are not there.
    """
    return replace(index, is_shown=index.is_shown & (index.pts >= first_pts))


def read_header(container: InputContainer, stream: VideoStream, file: BinaryIO, size_bytes: int) -> Index | None:
    """The packet table as an MP4's header tells it; None where it does not tell all."""
    if "mp4" not in container.format.name or stream.start_time is None or not stream.frames:
        return None
    layout = boxes.read_layout(file, size_bytes)
    track = next((track for track in layout.tracks if track.track_id == stream.id), None)
    if layout.fragmented or track is None or not track.samples or len(stream.index_entries) != track.samples:
        return None
    table = np.fromiter(
        ((e.timestamp, e.pos + e.size, e.is_keyframe, e.is_discard) for e in stream.index_entries),
        [("dts", np.int64), ("end", np.int64), ("key", np.bool_), ("discard", np.bool_)],
        track.samples,
    )
    offsets = track.offsets
    if table["discard"].any() or (offsets is not None and len(offsets) != len(table)):
        return None
    pts = table["dts"] if offsets is None else table["dts"] + offsets
    pts = pts + (stream.start_time - int(pts.min()))
    in_file = table["end"] <= size_bytes
    shown = in_file & _firsts(pts, in_file)
    step = _last_step(pts[in_file]) or int((stream.duration or 0) // max(len(pts), 1))
    return Index(
        _time_base(stream), container.start_time or 0, pts, table["key"], shown, step, lost=int((~in_file).sum())
    )


def read_packets(container: InputContainer, stream: VideoStream, limits: Limits) -> Index:
    """The packet table by reading the whole file. Raises VideoTooLarge at too many packets."""
    times: list[int] = []
    keys: list[bool] = []
    discards: list[bool] = []
    last_duration = errors = 0
    timeless: list[bool] = []
    packets = container.demux(stream)
    while errors < _MAX_READ_ERRORS:
        try:
            packet = next(packets)
        except StopIteration:
            break
        except FFmpegError:
            errors += 1
            packets = container.demux(stream)
            continue
        errors = 0
        if not packet.size:
            continue
        pts = packet.pts
        timeless.append(pts is None)
        times.append(pts or 0)
        keys.append(packet.is_keyframe)
        discards.append(packet.is_discard)
        last_duration = packet.duration or last_duration
        if len(times) > limits.max_video_frames:
            raise VideoTooLarge(
                f"the video has more than {limits.max_video_frames} pictures: cut it, or have an operator raise ARGUS_MAX_VIDEO_FRAMES"
            )
    pts_array = np.array(times, np.int64)
    guessed = sum(timeless) > _TIMELESS_SHARE * len(times)
    if guessed:
        ticks = 1 / (_time_base(stream) * (stream.guessed_rate or stream.average_rate or 25))
        steps = np.arange(len(times), dtype=object) * ticks.numerator // ticks.denominator
        pts_array = steps.astype(np.int64) + (stream.start_time or 0)
    timed = guessed | ~np.array(timeless, np.bool_)
    kept = timed & ~np.array(discards, np.bool_)
    shown = kept & _firsts(pts_array, kept)
    step = last_duration or _last_step(pts_array)
    return Index(
        _time_base(stream),
        container.start_time or 0,
        pts_array,
        timed & np.array(keys, np.bool_),
        shown,
        step,
        guessed=guessed,
    )


def _firsts(pts: Int64, among: Bools) -> Bools:
    """True for the first packet of each time."""
    first = np.zeros(len(pts), np.bool_)
    places = np.flatnonzero(among)
    first[places[np.unique(pts[places], return_index=True)[1]]] = True
    return first


def _last_step(pts: Int64) -> int:
    last = np.unique(pts)[-2:]
    return int(last[1] - last[0]) if len(last) == 2 else 0


def _time_base(stream: VideoStream) -> Fraction:
    return stream.time_base or Fraction(1, 1_000_000)
