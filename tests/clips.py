"""Small videos of every kind that the bundled FFmpeg can encode, sound and broken, made on the fly.

Every picture says its own number: a barcode in the middle of the picture (`read_number`), and four coloured corners
that tell its orientation (`corners`), all drawn in fractions of the picture, so that they survive scaling, rotation and
lossy coding. At the default 25 frames a second every time is a whole number of milliseconds, which all containers hold
exactly.

    clip = make(tmp_path / "a.mp4", seconds=2, gop=10, rotation=90)
    clip = catalogue()["h264_mp4"](tmp_path)
    clip.pts_us[7]        # when picture number 7 is shown, in microseconds from the clip's start
"""

from __future__ import annotations

import io
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import numpy.typing as npt

from tests import damage

RGB = npt.NDArray[np.uint8]  # [height, width, 3]
Picture = Callable[[int, float], RGB]  # number and time in seconds -> the picture

# -- what is drawn -------------------------------------------------------------------------------

CORNERS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (40, 40, 230), "yellow": (220, 220, 40)}
"""From the top left to the bottom right, as in a book."""

_BITS, _COLUMNS, _ROWS = 12, 6, 4  # each bit is a block and, two rows below it, its opposite
_LEAST_CONTRAST = 50


def numbered(number: int, size: tuple[int, int], background: tuple[int, int, int] = (112, 112, 112)) -> RGB:
    """A picture of `size` (width, height) that says `number` (0 to 4095) and has the four corners."""
    width, height = size
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = background
    for place, colour in enumerate(CORNERS.values()):
        picture[_span(height, place // 2 * 3, 4), _span(width, place % 2 * 3, 4)] = colour
    for bit in range(_BITS):
        is_set = bool(number >> bit & 1)
        picture[_cell(bit, size)] = 235 if is_set else 20
        picture[_cell(bit + _BITS, size)] = 20 if is_set else 235
    return picture


def read_number(rgb: RGB) -> int | None:
    """The number that a picture says, whichever way it is turned, or None where it is too damaged to tell."""
    upright = next((turned for turned in _turns(rgb) if corners(turned) == tuple(CORNERS)), rgb)
    size = upright.shape[1], upright.shape[0]
    light = upright.astype(np.float32).mean(axis=2)
    number = 0
    for bit in range(_BITS):
        contrast = _middle(light[_cell(bit, size)]) - _middle(light[_cell(bit + _BITS, size)])
        if abs(contrast) < _LEAST_CONTRAST:
            return None
        number |= (contrast > 0) << bit
    return number


def _turns(rgb: RGB) -> Iterator[RGB]:
    """The eight ways to hold a picture, as it is first."""
    for picture in (rgb, rgb[:, ::-1]):
        for quarters in range(4):
            yield np.rot90(picture, quarters)


def corners(rgb: RGB) -> tuple[str, str, str, str]:
    """The colours of the corners: top left, top right, bottom left, bottom right."""
    height, width = rgb.shape[:2]
    y, x = max(height // 12, 1), max(width // 12, 1)
    patches = [
        rgb[rows, columns] for rows in (slice(0, y), slice(-y, None)) for columns in (slice(0, x), slice(-x, None))
    ]
    means = [patch.reshape(-1, 3).mean(axis=0) for patch in patches]
    names = [min(CORNERS, key=lambda name: float(np.abs(mean - CORNERS[name]).sum())) for mean in means]
    return names[0], names[1], names[2], names[3]


def weave(top: RGB, bottom: RGB) -> RGB:
    """One interlaced picture of two moments: even rows from the first, odd rows from the second."""
    woven = top.copy()
    woven[1::2] = bottom[1::2]
    return woven


def _span(length: int, step: int, steps: int) -> slice:
    return slice(length * step // steps, length * (step + 1) // steps)


def _cell(place: int, size: tuple[int, int]) -> tuple[slice, slice]:
    """The barcode fills the middle half of the picture in both directions."""
    width, height = size
    row, column = divmod(place, _COLUMNS)
    return _span(height, _ROWS // 2 + row, _ROWS * 2), _span(width, _COLUMNS // 2 + column, _COLUMNS * 2)


def _middle(block: npt.NDArray[np.float32]) -> float:
    height, width = block.shape
    return float(block[height // 4 : height - height // 4, width // 4 : width - width // 4].mean())


# -- making a clip -------------------------------------------------------------------------------

_FAST: dict[str, dict[str, str]] = {
    "libx264": {"preset": "ultrafast", "crf": "18"},
    "libx265": {"preset": "ultrafast", "crf": "18"},
    "libsvtav1": {"preset": "12", "crf": "25"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8", "crf": "10", "b": "2M"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "20"},
    "prores_ks": {"profile": "standard"},
}


_FINE = ("libx264", "libx265")  # take any time base; MPEG-1, 2 and 4 want the frame rate's
_BIDIRECTIONAL = (*_FINE, "mpeg2video", "mpeg4")
_BY_BIT_RATE = ("mpeg1video", "mpeg2video", "mpeg4", "mjpeg", "flv", "wmv2")


@dataclass(frozen=True)
class Colour:
    """How samples are to be read, by FFmpeg's numbers (ITU-T H.273). The default is BT.709, limited range."""

    matrix: int = 1  # 1 BT.709, 5 BT.601 (625), 6 BT.601 (525), 9 BT.2020
    full_range: bool = False
    primaries: int = 1
    transfer: int = 1  # 1 BT.709, 16 PQ, 18 HLG


SDR_601 = Colour(matrix=5, primaries=5, transfer=6)
PQ = Colour(matrix=9, primaries=9, transfer=16)
HLG = Colour(matrix=9, primaries=9, transfer=18)


@dataclass(frozen=True)
class Clip:
    """A file, and the truth about it."""

    path: Path
    codec: str
    size: tuple[int, int]
    """Coded width and height."""
    displayed: tuple[int, int]
    """Width and height as shown: pixel shape, then rotation and mirroring."""
    corners: tuple[str, str, str, str]
    """Colours of the corners as shown."""
    pts_us: tuple[int, ...]
    """When picture number i is shown, in microseconds from the container's start. The distances are what was asked for;
    the first one is the container's word, since sound may start before the pictures."""
    keyframes: tuple[int, ...] = ()
    """Numbers of the pictures that were asked to be keyframes, where the maker asked."""
    outcome: Literal["ready", "salvaged", "failed"] = "ready"
    """`salvaged`: some of the pictures are lost; of an MPEG-TS nothing in the file says so."""
    reason: str | None = None
    """Type of the error where the outcome is `failed`, where it can be only one."""
    facts: Mapping[str, Any] = field(default_factory=dict)


def make(
    path: Path,
    *,
    codec: str = "libx264",
    size: tuple[int, int] = (128, 96),
    fps: int | Fraction = 25,
    seconds: float = 1.0,
    gop: int = 10,
    bframes: int = 2,
    pix_fmt: str = "yuv420p",
    format: str | None = None,  # noqa: A002 the field's word; a file's ending says it otherwise
    container_options: Mapping[str, str] | None = None,
    codec_options: Mapping[str, str] | None = None,
    rotation: int = 0,
    mirrored: bool = False,
    sar: Fraction | None = None,
    times_s: Sequence[float | Fraction] | None = None,
    start_s: float = 0,
    audio: str | None = None,
    colour: Colour | None = None,
    interlaced: bool = False,
    open_gop: bool = False,
    cover: bytes | None = None,
    picture: Picture | None = None,
) -> Clip:
    """Encode a clip and return the truth about it.

    `rotation` is in degrees clockwise that a player turns the coded picture by; `mirrored` then swaps left and right
    of what is seen. `times_s` are the times of the pictures (variable frame rate), else they are 1/`fps` apart for `seconds`;
    `start_s` shifts every time stamp of the file. `audio` is an audio codec that hums along, `cover` a JPEG attached to an MKV. An `open_gop` shows only
    where `gop` is a multiple of `bframes` + 1: else no B-frame stands before a keyframe.
    """
    draw = picture or (lambda number, _: numbered(number, size))
    times = (
        [Fraction(n) / Fraction(fps) for n in range(round(seconds * fps))]
        if times_s is None
        else [Fraction(t) for t in times_s]
    )
    with av.open(str(path), "w", format=format, container_options=dict(container_options or {})) as container:
        options = {**_FAST.get(codec, {}), **_open_gop(codec, open_gop), **(codec_options or {})}
        if codec == "libsvtav1":
            os.environ.setdefault("SVT_LOG", "1")  # errors only: it writes to stderr by itself
        if interlaced:
            options["flags"] = "+ildct+ilme"
        stream = container.add_stream(
            codec, rate=Fraction(fps), options=options, width=size[0], height=size[1], pix_fmt=pix_fmt
        )
        context = stream.codec_context
        context.thread_count = 1
        context.gop_size = gop
        context.time_base = Fraction(1, 90_000) if times_s is not None or codec in _FINE else 1 / Fraction(fps)
        if codec in _BIDIRECTIONAL:
            context.max_b_frames = bframes
        if codec in _BY_BIT_RATE:
            context.bit_rate = 2_000_000
        context.sample_aspect_ratio = sar or Fraction(0)  # 0: not said
        if rotation or mirrored:
            stream.set_display_rotation(-rotation, hflip=mirrored)
        if colour:
            _tag(context, colour)
        sound = _add_sound(container, audio) if audio else None
        if cover:
            container.add_attachment("cover.jpg", "image/jpeg", cover)

        for number, time_s in enumerate(times):
            frame = _frame(draw(number, float(time_s)), pix_fmt, colour)
            frame.time_base = context.time_base
            frame.pts = round((time_s + Fraction(start_s)) / context.time_base)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound:
            _hum(container, sound, start_s, float(times[-1]) + 1 / float(fps))

    first_us = _first_us(path)
    return Clip(
        path=path,
        codec=codec,
        size=size,
        displayed=_displayed(size, sar, rotation),
        corners=_turned(rotation, mirrored),
        pts_us=tuple(first_us + round((time_s - times[0]) * 1_000_000) for time_s in times),
        keyframes=tuple(range(0, len(times), gop)) if codec in _FINE else (),
    )


def make_sound(path: Path, *, codec: str = "aac", seconds: float = 1.0) -> Clip:
    """A file that holds sound alone."""
    with av.open(str(path), "w") as container:
        _hum(container, _add_sound(container, codec), 0, seconds)
    return Clip(path, codec, (0, 0), (0, 0), ("", "", "", ""), (), outcome="failed", reason="no-video-stream")


def _frame(rgb: RGB, pix_fmt: str, colour: Colour | None) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
    if pix_fmt == "rgb24":
        return frame
    matrix = {9: 9, 1: 1}.get(colour.matrix, 5) if colour else 5
    full = bool(colour and colour.full_range) or pix_fmt.startswith("yuvj")
    frame = frame.reformat(format=pix_fmt, dst_colorspace=matrix, src_color_range=2, dst_color_range=2 if full else 1)
    if colour:
        _tag(frame, colour)
    return frame


def _tag(target: Any, colour: Colour) -> None:
    target.colorspace, target.color_primaries, target.color_trc = colour.matrix, colour.primaries, colour.transfer
    target.color_range = 2 if colour.full_range else 1


def _open_gop(codec: str, open_gop: bool) -> dict[str, str]:
    if codec == "libx265":
        return {"x265-params": f"log-level=none:pools=none:open-gop={int(open_gop)}"}
    return {"x264-params": "open-gop=1"} if open_gop else {}


def _add_sound(container: Any, codec: str) -> Any:
    stream = container.add_stream(codec, rate=48_000 if codec != "libmp3lame" else 44_100)
    stream.codec_context.layout = "mono"
    return stream


def _hum(container: Any, stream: Any, start_s: float, seconds: float) -> None:
    context = stream.codec_context
    rate = context.sample_rate
    step = 1152 if stream.codec_context.name in ("mp2", "libmp3lame") else 1024
    fifo = av.AudioFifo()
    wave = (np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate) // step * step) / rate) * 8000).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(wave[None, :], format="s16", layout="mono")
    frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), 0
    resampler = av.AudioResampler(format=context.format, layout="mono", rate=rate)
    for part in resampler.resample(frame):
        fifo.write(part)
    start = round(start_s * rate)
    for number in range(len(wave) // step):
        part = fifo.read(step)
        part.pts, part.time_base = start + number * step, Fraction(1, rate)
        container.mux(stream.encode(part))
    container.mux(stream.encode(None))


def _first_us(path: Path) -> int:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        first = min(
            packet.pts for packet in container.demux(stream) if packet.pts is not None and not packet.is_discard
        )
        return int(round(first * stream.time_base * 1_000_000) - (container.start_time or 0))


def _displayed(size: tuple[int, int], sar: Fraction | None, rotation: int) -> tuple[int, int]:
    width, height = (round(size[0] * sar), size[1]) if sar else size
    return (height, width) if rotation % 180 else (width, height)


def _turned(rotation: int, mirrored: bool) -> tuple[str, str, str, str]:
    square = np.array(list(CORNERS)).reshape(2, 2)
    square = np.rot90(square, k=-rotation // 90)
    square = square[:, ::-1] if mirrored else square
    top_left, top_right, bottom_left, bottom_right = (str(name) for name in square.ravel())
    return top_left, top_right, bottom_left, bottom_right


# -- every kind ----------------------------------------------------------------------------------

Maker = Callable[[Path], Clip]  # a folder -> the clip, written into it

FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
_PHONE_TIMES = tuple(Fraction(ms, 1000) for ms in (0, 40, 80, 200, 240, 250, 400, 800, 840, 880, 900, 1400, 1440, 1480))

_SOUND: dict[str, tuple[str, dict[str, Any]]] = {
    "h264_mp4": ("mp4", {}),
    "h264_aac_mp4": ("mp4", {"audio": "aac"}),
    "h264_faststart_mp4": ("mp4", {"container_options": {"movflags": "faststart"}}),
    "h264_fragmented_mp4": ("mp4", {"container_options": FRAGMENTED}),
    "h264_open_gop_mp4": ("mp4", {"open_gop": True, "gop": 12, "seconds": 2}),
    "h264_no_bframes_mp4": ("mp4", {"bframes": 0}),
    "h264_one_picture_mp4": ("mp4", {"seconds": 0.04}),
    "h264_start_offset_mp4": ("mp4", {"start_s": 2}),
    "h264_late_pictures_mp4": ("mp4", {"audio": "aac", "start_s": 1}),
    "h264_vfr_mp4": ("mp4", {"times_s": _PHONE_TIMES}),
    "h264_rotated_90_mp4": ("mp4", {"rotation": 90}),
    "h264_rotated_180_mp4": ("mp4", {"rotation": 180}),
    "h264_rotated_270_mp4": ("mp4", {"rotation": 270}),
    "h264_mirrored_mp4": ("mp4", {"mirrored": True}),
    "h264_rotated_mirrored_mp4": ("mp4", {"rotation": 90, "mirrored": True}),
    "h264_wide_pixels_mp4": ("mp4", {"sar": Fraction(4, 3)}),
    "h264_wide_pixels_rotated_mp4": ("mp4", {"sar": Fraction(4, 3), "rotation": 90}),
    "h264_odd_size_mp4": ("mp4", {"size": (129, 97), "pix_fmt": "yuv444p"}),
    "h264_10bit_mp4": ("mp4", {"pix_fmt": "yuv420p10le"}),
    "h264_full_range_mp4": ("mp4", {"colour": Colour(full_range=True)}),
    "h264_bt709_mp4": ("mp4", {"colour": Colour()}),
    "h264_bt601_mp4": ("mp4", {"colour": SDR_601}),
    "h264_interlaced_mp4": ("mp4", {"interlaced": True}),
    "h264_mkv": ("mkv", {}),
    "h264_ts": ("ts", {"audio": "mp2"}),
    "h264_start_offset_ts": ("ts", {"start_s": 10}),
    "h264_flv": ("flv", {}),
    "hevc_mp4": ("mp4", {"codec": "libx265"}),
    "hevc_open_gop_mp4": ("mp4", {"codec": "libx265", "open_gop": True, "gop": 12, "seconds": 2}),
    "hevc_pq_mp4": ("mp4", {"codec": "libx265", "pix_fmt": "yuv420p10le", "colour": PQ}),
    "hevc_hlg_mkv": ("mkv", {"codec": "libx265", "pix_fmt": "yuv420p10le", "colour": HLG}),
    "vp8_opus_webm": ("webm", {"codec": "libvpx", "audio": "libopus"}),
    "vp9_webm": ("webm", {"codec": "libvpx-vp9"}),
    "vp9_odd_size_webm": ("webm", {"codec": "libvpx-vp9", "size": (129, 97)}),
    "av1_mp4": ("mp4", {"codec": "libsvtav1"}),
    "av1_mkv": ("mkv", {"codec": "libsvtav1"}),
    "mpeg1_mpg": ("mpg", {"codec": "mpeg1video"}),
    "mpeg2_vob": ("vob", {"codec": "mpeg2video"}),
    "mpeg2_interlaced_ts": ("ts", {"codec": "mpeg2video", "interlaced": True, "sar": Fraction(4, 3)}),
    "mpeg4_avi": ("avi", {"codec": "mpeg4", "audio": "libmp3lame"}),
    "mjpeg_avi": ("avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
    "flv1_flv": ("flv", {"codec": "flv", "audio": "libmp3lame"}),
    "wmv2_wmv": ("wmv", {"codec": "wmv2"}),
    "prores_mov": ("mov", {"codec": "prores_ks", "pix_fmt": "yuv422p10le"}),
    "prores_alpha_mov": (
        "mov",
        {"codec": "prores_ks", "pix_fmt": "yuva444p10le", "codec_options": {"profile": "4444"}},
    ),
    "ffv1_mkv": ("mkv", {"codec": "ffv1"}),
    "png_mov": ("mov", {"codec": "png", "pix_fmt": "rgb24"}),
}


def _sound_maker(name: str, ending: str, options: dict[str, Any]) -> Maker:
    return lambda folder: replace(make(folder / f"{name}.{ending}", **options), facts=options)


def _wrong_extension(folder: Path) -> Clip:
    clip = make(folder / "wrong_extension.mp4", format="avi", codec="mpeg4")
    return replace(clip, facts={"container": "avi"})


def _edit_list(folder: Path) -> Clip:
    """An edit list that starts in the middle of a group of pictures: pictures 0 to 12 are decoded and not shown."""
    clip = make(folder / "edit_list.mp4", seconds=2, bframes=0)
    _rewrite(clip, lambda data: damage.edits(data, media_time=13 * 3600, duration=30 * 40))
    shown = range(13, 43)
    return replace(clip, pts_us=tuple((n - 13) * 40_000 for n in shown), facts={"first_number": 13})


def _cover_mkv(folder: Path) -> Clip:
    """A JPEG attached as a cover, which FFmpeg presents as one more video stream."""
    return replace(make(folder / "cover.mkv", cover=_jpeg()), facts={"video_streams": 2})


def _still(target: Any) -> None:
    with av.open(target, "w", format="image2pipe") as container:
        stream = container.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuvj420p"
        container.mux(stream.encode(_frame(numbered(0, (32, 32)), "yuvj420p", None)))
        container.mux(stream.encode(None))


def _rewrite(clip: Clip, change: Callable[[bytes], bytes]) -> None:
    clip.path.write_bytes(change(clip.path.read_bytes()))


def _salvage(name: str, change: Callable[[bytes], bytes], **options: Any) -> Maker:
    """A clip that holds pictures to salvage after `change`. Its `pts_us` are those of the sound clip."""

    def maker(folder: Path) -> Clip:
        clip = make(folder / name, **({"seconds": 2} | options))
        _rewrite(clip, change)
        return replace(clip, outcome="salvaged")

    return maker


def _lying(name: str, change: Callable[[bytes], bytes], **options: Any) -> Maker:
    """A clip whose headers lie, while all pictures are sound."""

    def maker(folder: Path) -> Clip:
        clip = make(folder / name, **options)
        _rewrite(clip, change)
        return clip

    return maker


def _failing(name: str, reason: str | None, change: Callable[[bytes], bytes], **options: Any) -> Maker:
    """A clip that must fail; with the error's type, where it can be only one."""

    def maker(folder: Path) -> Clip:
        clip = make(folder / name, **options)
        _rewrite(clip, change)
        return replace(clip, outcome="failed", reason=reason, pts_us=())

    return maker


def _not_a_video(name: str, content: Callable[[], bytes]) -> Maker:
    def maker(folder: Path) -> Clip:
        path = folder / name
        path.write_bytes(content())
        return Clip(path, "", (0, 0), (0, 0), ("", "", "", ""), (), outcome="failed", reason="not-a-video")

    return maker


def _garbage() -> bytes:
    return random.Random(1).randbytes(20_000)


def _playlist(name: str, text: str) -> Maker:
    """A text that makes FFmpeg open another file; one lies beside it, and is not the uploader's to see."""

    def maker(folder: Path) -> Clip:
        make(folder / "secret.mp4")
        return _not_a_video(name, text.encode)(folder)

    return maker


def _jpeg() -> bytes:
    data = io.BytesIO()
    _still(data)
    return data.getvalue()


_FASTSTART = {"container_options": {"movflags": "faststart"}}


def _cut(data: bytes) -> bytes:
    return damage.keep_front(data, 0.6)


def _flip(data: bytes) -> bytes:
    return damage.flip_bits(data, 0.4, 0.6)


_BROKEN: dict[str, Maker] = {
    "truncated_faststart": _salvage("truncated_faststart.mp4", _cut, **_FASTSTART),
    "truncated_fragmented": _salvage("truncated_fragmented.mp4", _cut, container_options=FRAGMENTED),
    "truncated_mkv": _salvage("truncated.mkv", _cut),
    "truncated_ts": _salvage("truncated.ts", _cut),
    "front_lost_ts": _salvage("front_lost.ts", lambda data: damage.keep_back(data, 0.6)),
    "bits_flipped": _salvage("bits_flipped.mp4", _flip, **_FASTSTART),
    "bits_flipped_mkv": _salvage("bits_flipped.mkv", _flip),
    "bits_flipped_ts": _salvage("bits_flipped.ts", _flip),
    "size_lie": _lying("size_lie.mp4", lambda data: damage.claims_size(data, 65_535, 65_535)),
    "duration_lie": _lying("duration_lie.mp4", lambda data: damage.claims_duration(data, 40_000_000)),
    "huge_size": _failing(
        "huge_size.avi", None, lambda data: damage.avi_claims_size(data, 16_000, 16_000), codec="utvideo"
    ),
    "impossible_size": _failing(
        "impossible_size.avi", None, lambda data: damage.avi_claims_size(data, 100_000, 100_000), codec="ffv1"
    ),
    "huge_duration": _failing(
        "huge_duration.mkv", "video-too-long", lambda data: data, times_s=(0, 0.04, 40_000_000), bframes=0
    ),
    "billion_frames": _failing(
        "billion_frames.mp4", "video-too-large", lambda data: damage.claims_samples(data, 1_000_000_000)
    ),
    "moov_lost": _failing("moov_lost.mp4", "video-unreadable", damage.without_moov),
    "truncated_before_moov": _failing("truncated_before_moov.mp4", "video-unreadable", _cut),
    "audio_only": lambda folder: make_sound(folder / "audio_only.mp4"),
    "empty": _not_a_video("empty.mp4", lambda: b""),
    "garbage": _not_a_video("garbage.mp4", _garbage),
    "text": _not_a_video("text.mp4", lambda: b"This is not a video, whatever its name says.\n" * 50),
    "ffconcat": _playlist("ffconcat.mp4", "ffconcat version 1.0\nfile secret.mp4\n"),
    "hls": _playlist("hls.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.mp4\n#EXT-X-ENDLIST\n"),
    "jpeg": _not_a_video("jpeg.mp4", _jpeg),
}


def catalogue() -> dict[str, Maker]:
    """Every kind of clip by name; each maker writes into a folder and says what is true of the file."""
    sound = {name: _sound_maker(name, ending, options) for name, (ending, options) in _SOUND.items()}
    return {**sound, "wrong_extension": _wrong_extension, "edit_list": _edit_list, "cover_mkv": _cover_mkv, **_BROKEN}
