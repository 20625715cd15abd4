"""Probing: what a file is, before any work is planned for it.

Everything a user sees of a video (size as displayed, duration, rate, colour) is found here, and everything that makes a
video unacceptable is refused here, from headers, the packet table and one decoded picture. The picture is needed: the
display matrix, the real pixel format and the colours of the bitstream come with it (containers contradict bitstreams,
and decoders believe the bitstream), and a file of which not one picture can be decoded should fail at once.
"""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, BinaryIO, Literal

import numpy as np
from av.error import FFmpegError
from av.format import ContainerFormat
from av.stream import Disposition
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from pydantic import BaseModel, ConfigDict

from argus_ray.errors import NotAVideo, NoVideoStream, VideoEncrypted, VideoError, VideoTooLarge, VideoTooLong
from argus_ray.schemas.video import VideoWarning
from argus_ray.video import boxes
from argus_ray.video.container import ENCRYPTED, Source, describe, ffmpeg_says, open_container, open_file, size_of
from argus_ray.video.geometry import Orientation, displayed_size, orientation_of
from argus_ray.video.index import Index, read_header, read_packets, without_lead
from argus_ray.video.limits import Limits
from argus_ray.video.tonemap import TRANSFERS
from argus_ray.video.trial import can_enter, is_shuffled

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_NOT_FOR_PLAYING = Disposition.attached_pic | Disposition.timed_thumbnails
_PACKETS_TO_FIRST_PICTURE = 5_000
_VARIABLE_SHARE = (
    0.02  # steps that differ by this share of the usual one make a rate variable; rounding of clocks aside
)


class Colour(BaseModel):
    """How samples become colours, in FFmpeg's words (ITU-T H.273); `unspecified` where the file is silent."""

    model_config = ConfigDict(frozen=True)

    primaries: str
    transfer: str
    matrix: str
    range: str
    hdr: Literal["pq", "hlg"] | None


class Probe(BaseModel):
    """Facts of a video. Times in microseconds from the container's start; `width` and `height` as displayed."""

    model_config = ConfigDict(frozen=True)

    container: str
    codec: str
    stream_index: int
    time_base: tuple[int, int]
    size_bytes: int
    width: int
    height: int
    coded_width: int
    coded_height: int
    sample_aspect_ratio: tuple[int, int]
    rotation_clockwise: int
    mirrored: bool
    """Flipped top to bottom, before it is turned."""
    start_us: int
    """The container's start time: PTS x time base = pts_us + start_us."""
    duration_us: int
    """Of the whole file, sound included."""
    video_end_us: int
    """When the last picture ends."""
    frame_rate: float | None
    variable_frame_rate: bool
    frame_count: int
    pixel_format: str
    interlaced: bool
    colour: Colour
    guessed_times: bool
    warnings: tuple[VideoWarning, ...] = ()

    @property
    def step_us(self) -> int:
        """The usual time between two pictures."""
        return round(1e6 / self.frame_rate) if self.frame_rate else 40_000

    @property
    def orientation(self) -> Orientation:
        return Orientation(self.rotation_clockwise, self.mirrored)


def probe(source: Source, filename: str, limits: Limits) -> Probe:
    """Facts of the stream meant for playing. Raises the VideoError that says why there is none."""
    return examine(source, filename, limits)[0]


def examine(source: Source, filename: str, limits: Limits) -> tuple[Probe, Index]:
    """The probe and the packet table that it rests on, in one reading of the file."""
    with open_file(source) as file:
        size_bytes = size_of(file)
        _refuse_by_header(file, size_bytes, limits)
        with open_container(file) as container:
            stream = playing_stream(container, file)
            _refuse_pixels(stream, limits)
            name = container.format.name
            index = read_header(container, stream, file, size_bytes) or read_packets(container, stream, limits)
            duration_us = container.duration
            warnings = [
                *_wrong_extension(filename, container),
                *_cut_off(index, boxes.missing_bytes(file, size_bytes), duration_us),
            ]
            rate, stream_index = stream.average_rate, stream.index
        _refuse_by_index(index, name, duration_us, limits)
        with open_container(file) as container:
            stream = next(s for s in container.streams.video if s.index == stream_index)
            first, has_errors = _first_picture(container, stream, file, size_bytes)
            facts = _picture_facts(stream, first)
        if first.pts is not None and not index.guessed and first.pts not in index.pts[index.is_shown]:
            with open_container(file) as container:  # header and packets disagree: the packets are right
                stream = next(s for s in container.streams.video if s.index == stream_index)
                index = read_packets(container, stream, limits)
        if not index.guessed and is_shuffled(file, stream_index, index):
            index = replace(index, guessed=True)
    if first.pts is not None and not index.guessed:
        begun = without_lead(index, first.pts)
        if has_errors:
            warnings += _lost_beginning(index, begun)
        index = begun
    shown = index.shown_us
    video = Probe(
        container=name,
        codec=facts.pop("codec"),
        stream_index=stream_index,
        time_base=(index.time_base.numerator, index.time_base.denominator),
        size_bytes=size_bytes,
        start_us=index.start_us,
        duration_us=max(duration_us or 0, index.end_us) if _plausible(duration_us, index) else index.end_us,
        video_end_us=index.end_us,
        frame_rate=float(rate) if rate else _mean_rate(index),
        variable_frame_rate=_is_variable(index),
        frame_count=len(shown),
        guessed_times=index.guessed,
        warnings=tuple(warnings),
        **facts,
    )
    with open_file(source) as file:
        return video, replace(index, enterable=index.guessed or can_enter(file, video, index))


def playing_stream(container: InputContainer, file: BinaryIO) -> VideoStream:
    """The video stream that a player would show: marked as default, then the largest; never cover art."""
    streams = [s for s in container.streams.video if not s.disposition & _NOT_FOR_PLAYING]
    decodable = [s for s in streams if s.codec_context is not None]
    if not streams:
        kinds = sorted(
            {
                f"{s.type} ({s.codec_context.name})" if s.codec_context else s.type
                for s in container.streams
                if s.type != "video"
            }
        )
        art = " and cover art" if len(container.streams.video) else ""
        raise NoVideoStream(f"no video stream: the file holds {', '.join(kinds) or 'no stream'}{art} only")
    if not decodable:
        file.seek(0)
        found = describe(file.read(4096))
        if found:
            raise NotAVideo(f"the file is {found}, not a video", found=found)
        raise VideoError("FFmpeg has no decoder for the video stream: convert it, for instance to H.264")
    return max(
        decodable,
        key=lambda s: (
            bool(s.disposition & Disposition.default),
            s.codec_context.width * s.codec_context.height,
            -s.index,
        ),
    )


def _refuse_by_header(file: BinaryIO, size_bytes: int, limits: Limits) -> None:
    if size_bytes > limits.max_size_bytes:
        raise VideoTooLarge(
            f"the file has {size_bytes} bytes and the limit is {limits.max_size_bytes}: cut it, or have an operator raise ARGUS_MAX_SIZE_BYTES"
        )
    file.seek(4)
    if file.read(4) in boxes.MP4_STARTS:
        layout = boxes.read_layout(file, size_bytes)
        if any(track.is_encrypted_video for track in layout.tracks):
            raise VideoEncrypted("the video is encrypted (DRM, Common Encryption): upload it without encryption")
        samples = max((track.samples for track in layout.tracks), default=0)
        if samples > max(limits.max_video_frames, 20 * size_bytes):
            raise _too_many(samples, limits)


def _refuse_pixels(stream: VideoStream, limits: Limits) -> None:
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > limits.max_pixels:
        raise VideoTooLarge(
            f"the picture is {width}x{height} and the limit is {limits.max_pixels} pixels: scale it down, or have an operator raise ARGUS_MAX_PIXELS",
            width=width,
            height=height,
        )
    if stream.frames > limits.max_video_frames:
        raise _too_many(stream.frames, limits)


def _too_many(count: int, limits: Limits) -> VideoTooLarge:
    return VideoTooLarge(
        f"the header claims {count} pictures and the limit is {limits.max_video_frames}: cut the video, or have an operator raise ARGUS_MAX_VIDEO_FRAMES",
        frames=count,
    )


def _refuse_by_index(index: Index, container_name: str, duration_us: int | None, limits: Limits) -> None:
    shown = index.shown_us
    if not len(shown):
        raise VideoError(
            "the video stream holds not one picture: the file was cut off or never finished; upload the whole file"
        )
    if (
        len(shown) == 1
        and not duration_us
        and not index.lost
        and ("_pipe" in container_name or container_name == "gif" or "mp4" in container_name)
    ):
        found = container_name.removesuffix("_pipe").upper() if "mp4" not in container_name else "AVIF or HEIF"
        raise NotAVideo(f"the file is a still picture ({found}), not a video", found=found)
    if len(shown) > limits.max_video_frames:
        raise _too_many(len(shown), limits)
    seconds = (index.end_us - int(shown[0])) / 1e6
    if seconds > limits.max_duration_s:
        raise VideoTooLong(
            f"the video lasts {seconds:.0f} s and the limit is {limits.max_duration_s:.0f} s: cut it, or have an operator raise ARGUS_MAX_DURATION_S",
            duration_s=seconds,
        )


def _first_picture(
    container: InputContainer, stream: VideoStream, file: BinaryIO, size_bytes: int
) -> tuple[VideoFrame, bool]:
    """The first picture that can be decoded, and whether a packet before it could not. Raises VideoError if there is none among the first packets."""
    stream.codec_context.thread_count = 1
    last: FFmpegError | None = None
    packets = container.demux(stream)
    for _ in range(_PACKETS_TO_FIRST_PICTURE):
        try:
            packet = next(packets, None)
            if packet is None:
                break
            for frame in packet.decode():
                return frame, last is not None
        except FFmpegError as error:
            last = error
            packets = container.demux(stream)
    if boxes.contains(file, size_bytes, ENCRYPTED):
        raise VideoEncrypted("the video is encrypted (DRM, Common Encryption): upload it without encryption")
    said = f" (FFmpeg says: {ffmpeg_says(last)})" if last else ""
    raise VideoError(
        f"not one picture of the {stream.codec_context.name} stream can be decoded{said}: the file is damaged; upload it again or export it anew"
    )


def _picture_facts(stream: VideoStream, frame: VideoFrame) -> dict[str, object]:
    ratio = stream.sample_aspect_ratio or Fraction(1)
    ratio = ratio if ratio > 0 else Fraction(1)
    turn = orientation_of(frame)
    width, height = displayed_size(frame.width, frame.height, ratio, turn)
    transfer = int(frame.color_trc)
    return {
        "codec": stream.codec_context.codec.canonical_name,
        "width": width,
        "height": height,
        "coded_width": frame.width,
        "coded_height": frame.height,
        "sample_aspect_ratio": (ratio.numerator, ratio.denominator),
        "rotation_clockwise": turn.clockwise,
        "mirrored": turn.mirrored,
        "pixel_format": frame.format.name,
        "interlaced": bool(frame.interlaced_frame),
        "colour": Colour(
            primaries=_word(ColorPrimaries, frame.color_primaries),
            transfer=_word(ColorTrc, transfer),
            matrix=_word(Colorspace, frame.colorspace),
            range=_word(ColorRange, frame.color_range),
            hdr=TRANSFERS.get(transfer),
        ),
    }


def _word(kind: type, value: object) -> str:
    try:
        return str(kind(int(value)).name).lower()  # type: ignore[call-overload]
    except ValueError:
        return str(value)


def _wrong_extension(filename: str, container: InputContainer) -> list[VideoWarning]:
    """A warning where the name says another format than the bytes do. FFmpeg's own tables say which ending means what."""
    ending = filename.rpartition(".")[2].lower() if "." in filename else ""
    names = container.format.name.split(",")
    own = set(names).union(*(_endings(name) for name in names))
    own |= {"mp4", "m4v", "qt"} if "mov" in own else {"vob", "dat"} if "mpeg" in own else set()
    known = {
        e
        for name in ("mov", "mp4", "avi", "matroska", "webm", "mpegts", "mpeg", "flv", "asf", "ogg", "mxf", "gif")
        for e in _endings(name)
    }
    if not ending or ending in own or ending not in known:
        return []
    found = container.format.long_name
    return [
        VideoWarning(
            type="wrong-extension",
            detail=f"the name ends in .{ending}, but the file is {found}; it was read as what it is",
        )
    ]


def _endings(name: str) -> set[str]:
    found: set[str] = set()
    for mode in ("r", "w"):
        try:
            found |= set(ContainerFormat(name, mode).extensions)
        except ValueError:
            continue
    return found


def _cut_off(index: Index, missing_bytes: int, duration_us: int | None) -> list[VideoWarning]:
    """A warning where the file ends before its container does, with the time that is lost as far as it is known."""
    if not index.lost and not missing_bytes:
        return []
    here = f"{missing_bytes} bytes are missing at the end of the file" if missing_bytes else "the file ends early"
    lost = f", and {index.lost} of its {len(index.pts)} pictures" if index.lost else ""
    last_us = int(index.us(index.pts[~index.is_shown]).max()) if index.lost else duration_us or 0
    ranges = [(index.end_us, max(last_us, index.end_us))]
    return [VideoWarning(type="truncated", detail=f"{here}{lost}; what is there was kept", ranges_us=ranges)]


def _lost_beginning(index: Index, begun: Index) -> list[VideoWarning]:
    start_us, end_us = int(index.shown_us[0]), int(begun.shown_us[0]) if begun.is_shown.any() else index.end_us
    if end_us <= start_us:
        return []
    detail = "the beginning of the video is damaged; the first picture that can be decoded comes later"
    return [VideoWarning(type="damaged", detail=detail, ranges_us=[(start_us, end_us)])]


def _plausible(duration_us: int | None, index: Index) -> bool:
    """Headers of damaged files claim days: a duration that more than doubles what the pictures cover is not believed."""
    return duration_us is not None and 0 < duration_us <= 2 * max(index.end_us, 0) + 60_000_000


def _mean_rate(index: Index) -> float | None:
    shown = index.shown_us
    return (len(shown) - 1) * 1e6 / float(shown[-1] - shown[0]) if len(shown) > 1 else None


def _is_variable(index: Index) -> bool:
    ticks = np.unique(index.pts[index.is_shown])
    steps = np.diff(ticks)
    if len(steps) < 2:
        return False
    usual = float(np.median(steps))
    tolerance = max(1.5, usual * _VARIABLE_SHARE)
    return bool(math.fabs(float(steps.max()) - usual) > tolerance or math.fabs(float(steps.min()) - usual) > tolerance)
