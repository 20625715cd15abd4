"""The clips that every other test trusts are what they claim to be."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest

from tests import clips
from tests.clips import Clip, catalogue, corners, make, numbered, read_number

MAKERS = catalogue()
WHOLE = [name for name in MAKERS if name not in clips._BROKEN]
SALVAGED = [
    name for name in MAKERS if name.startswith(("truncated_f", "truncated_m", "truncated_t", "front_lost", "bits"))
]
NOT_OPENED = ["moov_lost", "truncated_before_moov", "empty", "garbage", "text"]


def decoded(clip: Clip) -> tuple[list[int | None], list[int], list[av.VideoFrame]]:
    """Numbers, times and frames of what FFmpeg decodes, packet by packet, so that a bad packet costs only itself."""
    with av.open(str(clip.path)) as container:
        stream = container.streams.video[0]
        frames = []
        for packet in container.demux(stream):
            try:
                frames += packet.decode()
            except av.FFmpegError:
                continue
        times = [round(frame.pts * stream.time_base * 1_000_000) - (container.start_time or 0) for frame in frames]
    return [read_number(frame.to_ndarray(format="rgb24")) for frame in frames], times, frames


@pytest.mark.parametrize("name", WHOLE)
def test_each_picture_of_a_sound_clip_says_its_number_at_its_time(name, tmp_path):
    clip = MAKERS[name](tmp_path)

    numbers, times, frames = decoded(clip)

    first = clip.facts.get("first_number", 0)
    assert numbers == [first + n for n in range(len(clip.pts_us))]
    assert tuple(times) == clip.pts_us
    assert (frames[0].width, frames[0].height) == clip.size


@pytest.mark.parametrize("name", SALVAGED)
def test_a_damaged_clip_still_holds_some_pictures_and_not_all(name, tmp_path):
    clip = MAKERS[name](tmp_path)

    numbers, _, _ = decoded(clip)

    readable = {number for number in numbers if number is not None}
    assert 5 <= len(readable) < len(clip.pts_us)
    assert readable <= set(range(len(clip.pts_us)))


@pytest.mark.parametrize("name", ["size_lie", "duration_lie"])
def test_a_clip_with_lying_headers_decodes_whole(name, tmp_path):
    clip = MAKERS[name](tmp_path)

    numbers, times, _ = decoded(clip)

    assert numbers == list(range(25))
    assert tuple(times) == clip.pts_us


@pytest.mark.parametrize("name", NOT_OPENED)
def test_what_is_not_a_video_cannot_be_opened(name, tmp_path):
    with pytest.raises(av.FFmpegError):
        av.open(str(MAKERS[name](tmp_path).path))


def test_the_lies_stand_in_the_headers(tmp_path):
    with av.open(str(MAKERS["huge_size"](tmp_path).path)) as container:
        assert container.streams.video[0].width == 16_000
    with av.open(str(MAKERS["huge_duration"](tmp_path).path)) as container:
        assert container.duration >= 40_000_000 * 1_000_000
    with av.open(str(MAKERS["audio_only"](tmp_path).path)) as container:
        assert not container.streams.video
    with av.open(str(MAKERS["cover_mkv"](tmp_path).path)) as container:
        assert [bool(s.disposition & av.stream.Disposition.attached_pic) for s in container.streams.video] == [
            False,
            True,
        ]
    with av.open(str(MAKERS["wrong_extension"](tmp_path).path)) as container:
        assert container.format.name == "avi"


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_display_matrix_takes_the_coded_corners_to_the_displayed_ones(rotation, mirrored, tmp_path):
    clip = make(tmp_path / "turned.mp4", seconds=0.04, rotation=rotation, mirrored=mirrored)

    _, _, (frame,) = decoded(clip)

    assert corners(frame.to_ndarray(format="rgb24")) == tuple(clips.CORNERS)
    matrices = [bytes(side) for side in frame.side_data if side.type == av.sidedata.sidedata.Type.DISPLAYMATRIX]
    a, b, _, c, d, _, _, _, _ = struct.unpack("9i", matrices[0]) if matrices else (1, 0, 0, 0, 1, 0, 0, 0, 0)
    shown = {}  # ISO 14496-12: (x, y) is shown at (ax + cy, bx + dy)
    for name, (x, y) in zip(clips.CORNERS, [(-1, -1), (1, -1), (-1, 1), (1, 1)], strict=True):
        shown[np.sign(b * x + d * y), np.sign(a * x + c * y)] = name
    assert tuple(shown[place] for place in [(-1, -1), (-1, 1), (1, -1), (1, 1)]) == clip.corners
    assert clip.displayed == ((96, 128) if rotation % 180 else (128, 96))


def test_shape_colour_and_interlacing_are_written(tmp_path):
    def first(name):
        return decoded(MAKERS[name](tmp_path))[2][0]

    pq, hlg, full, interlaced = (
        first(f"{name}") for name in ("hevc_pq_mp4", "hevc_hlg_mkv", "h264_full_range_mp4", "h264_interlaced_mp4")
    )

    assert (pq.format.name, pq.color_trc, pq.color_primaries, pq.colorspace) == ("yuv420p10le", 16, 9, 9)
    assert hlg.color_trc == 18
    assert full.color_range == 2
    assert interlaced.interlaced_frame
    assert first("mpeg2_interlaced_ts").interlaced_frame
    assert MAKERS["h264_wide_pixels_rotated_mp4"](tmp_path).displayed == (96, 171)
    with av.open(str(tmp_path / "h264_wide_pixels_rotated_mp4.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(4, 3)


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_an_open_gop_shows_pictures_before_the_keyframe_that_they_come_after(codec, tmp_path):
    clip = make(tmp_path / "open.mp4", codec=codec, open_gop=True, gop=12, seconds=2)

    with av.open(str(clip.path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.pts is not None]

    keys = [n for n, packet in enumerate(packets) if packet.is_keyframe]
    assert len(keys) > 1
    assert any(packets[n + 1].pts < packets[n].pts for n in keys[1:] if n + 1 < len(packets))


def test_groups_of_pictures_begin_where_they_were_asked_to(tmp_path):
    clip = make(tmp_path / "gop.mp4", gop=10, seconds=2)

    _, _, frames = decoded(clip)

    assert tuple(n for n, frame in enumerate(frames) if frame.key_frame) == clip.keyframes == (0, 10, 20, 30, 40)


@pytest.mark.parametrize("size", [(64, 64), (97, 65), (320, 240)])
def test_numbers_and_corners_read_back_and_damage_reads_as_none(size):
    for number in (0, 1, 1365, 4095):
        picture = numbered(number, size)
        assert read_number(picture) == number
        assert corners(picture) == tuple(clips.CORNERS)
        assert read_number(np.rot90(picture)) == read_number(picture[:, ::-1]) == number
    assert read_number(np.full((size[1], size[0], 3), 90, np.uint8)) is None


def test_a_billion_frames_are_claimed_by_a_small_file(tmp_path):
    clip = MAKERS["billion_frames"](tmp_path)

    assert clip.path.stat().st_size < 100_000
    assert struct.pack(">I", 1_000_000_000) in clip.path.read_bytes()
