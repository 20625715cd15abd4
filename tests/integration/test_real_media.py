"""Real files against what ffprobe and ffmpeg say of them, file by file.

The files are not part of the project (their licences differ): ARGUS_TEST_MEDIA names a folder of them with a
`manifest.json`. Its times are PTS as ffprobe gives them, edit lists applied.
"""

import json
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from argus_ray.errors import VideoEncrypted, VideoError
from argus_ray.video.limits import Limits
from argus_ray.video.pictures import Output
from argus_ray.video.probe import examine, probe
from tests.extraction import Extracted, extracted, picture

FOLDER = Path(os.environ.get("ARGUS_TEST_MEDIA") or "/nowhere")
MANIFEST = FOLDER / "manifest.json"
pytestmark = pytest.mark.skipif(
    not MANIFEST.is_file(), reason="ARGUS_TEST_MEDIA does not name a folder of real videos with a manifest.json"
)

FILES: dict[str, Any] = {}
if MANIFEST.is_file():
    FILES = {entry["file"]: entry["facts"] for entry in json.loads(MANIFEST.read_text())["files"]}

NOT_A_VIDEO = {"broken_extension_is_jpeg.mp4"}  # ffmpeg calls a picture a video of one frame
SMALL = Output(long_side=320, model_size=64)
ALTOGETHER: dict[str, Extracted] = {}


def chosen(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts of the stream that ffmpeg takes when it is not told."""
    streams = [facts["video"], *facts.get("other_video_streams", [])]
    wanted = facts.get("ffmpeg_picks_stream", facts["video"]["stream_index"])
    return next(stream for stream in streams if stream["stream_index"] == wanted)


PLAYABLE = [
    name
    for name, facts in FILES.items()
    if facts["video"] and chosen(facts)["frames_decoded"] and name not in NOT_A_VIDEO
]
HOPELESS = [name for name in FILES if name not in PLAYABLE]


def all_frames(name: str) -> Extracted:
    """Every picture of a file, decoded once for all tests."""
    if name not in ALTOGETHER:
        ALTOGETHER[name] = extracted(FOLDER / name, output=SMALL, policy="every_frame", dedupe=False)
    return ALTOGETHER[name]


def us(pts: int, stream: dict[str, Any], start_us: int) -> int:
    return round(pts * Fraction(stream["time_base"]) * 1_000_000) - start_us


def test_every_file_of_the_manifest_is_here_and_tested():
    assert {path.name for path in FOLDER.iterdir()} >= set(FILES)
    assert len(PLAYABLE) + len(HOPELESS) == len(FILES) > 40


@pytest.mark.parametrize("name", PLAYABLE)
def test_the_probe_agrees_with_ffprobe(name):
    facts = FILES[name]
    stream = chosen(facts)

    found = probe(str(FOLDER / name), name, Limits())

    assert found.stream_index == stream["stream_index"]
    assert found.codec == stream["codec"]
    assert set(found.container.split(",")) == set(facts["container"].split(","))
    assert (found.coded_width, found.coded_height) == (stream["width"], stream["height"])
    assert (found.width, found.height) == (stream["display_width"], stream["display_height"])
    assert (found.rotation_clockwise, found.mirrored) == (stream["rotation_clockwise"], stream["mirrored"])
    assert found.start_us == round(facts["container_start_s"] * 1e6)
    assert found.pixel_format == stream["pix_fmt"]
    assert found.interlaced == (stream["interlaced_frames"] > 0)
    numerator, _, denominator = stream["avg_frame_rate"].partition("/")
    assert found.frame_rate == pytest.approx(int(numerator) / int(denominator), rel=0.02)
    if "color_transfer" in stream["color"]:
        hdr = {"smpte2084": "pq", "arib-std-b67": "hlg"}.get(stream["color"]["color_transfer"])
        assert found.colour.hdr == hdr


@pytest.mark.parametrize("name", PLAYABLE)
def test_durations_cover_the_pictures_and_agree_with_ffprobe_where_it_is_right(name):
    facts = FILES[name]
    stream = chosen(facts)
    found = probe(str(FOLDER / name), name, Limits())
    last_us = us(stream["last_frame_pts"], stream, found.start_us)

    assert last_us < found.video_end_us <= found.duration_us
    assert found.duration_us < last_us + 4_000_000
    claimed_s = facts["container_duration_s"]
    # ffprobe 5.1 counts a start offset into the duration, and believes an absurd one
    if claimed_s and facts["container_start_s"] == 0 and claimed_s < 1000 and name != "h264_two_video_streams.mp4":
        assert found.duration_us == pytest.approx(claimed_s * 1e6, abs=60_000)


@pytest.mark.parametrize("name", PLAYABLE)
def test_every_picture_is_kept_at_ffprobes_time(name):
    stream = chosen(FILES[name])

    video = all_frames(name)

    start_us = video.probe.start_us
    assert len(video.kept) == stream["frames_decoded"]
    assert video.times_us[0] == us(stream["first_frame_pts"], stream, start_us)
    assert video.times_us[-1] == us(stream["last_frame_pts"], stream, start_us)
    assert video.times_us == sorted(set(video.times_us))
    if stream["pts_step_min"]:
        steps = np.diff(video.times_us)
        tick = Fraction(stream["time_base"]) * 1_000_000
        assert steps.min() == pytest.approx(float(stream["pts_step_min"] * tick), abs=1)
        assert steps.max() == pytest.approx(float(stream["pts_step_max"] * tick), abs=1)


@pytest.mark.parametrize("name", PLAYABLE)
def test_times_equal_those_of_a_full_decode_by_another_way(name):
    video = all_frames(name)

    with av.open(str(FOLDER / name)) as container:
        stream = container.streams[video.probe.stream_index]
        times = []
        for packet in container.demux(stream):
            try:
                times += [
                    us(frame.pts, {"time_base": str(stream.time_base)}, video.probe.start_us)
                    for frame in packet.decode()
                ]
            except av.FFmpegError:
                continue

    assert video.times_us == times


@pytest.mark.parametrize("name", PLAYABLE)
def test_pictures_have_the_displayed_shape(name):
    stream = chosen(FILES[name])
    video = all_frames(name)

    width, height = stream["display_width"], stream["display_height"]
    scale = min(1, SMALL.long_side / max(width, height))
    expected = max(1, round(width * scale)), max(1, round(height * scale))
    assert {(frame.width, frame.height) for frame in video.kept} == {expected}
    assert picture(video.kept[0]).shape == (expected[1], expected[0], 3)


@pytest.mark.parametrize("name", PLAYABLE)
def test_keyframes_are_those_of_the_stream_that_are_shown(name):
    stream = chosen(FILES[name])
    _, index = examine(str(FOLDER / name), name, Limits())

    assert sorted(index.pts[index.is_key].tolist())[: len(stream["keyframe_pts"])] == stream["keyframe_pts"]
    assert int(index.is_key.sum()) == stream["keyframes"]


@pytest.mark.parametrize("name", PLAYABLE)
def test_sparse_policies_give_the_same_pictures_as_decoding_all(name):
    every = {frame.pts_us: frame for frame in all_frames(name).kept}

    for policy in ({"policy": "fps", "fps": 1.7}, {"policy": "keyframes"}, {"policy": "uniform", "count": 5}):
        sparse = extracted(FOLDER / name, 10, SMALL, dedupe=False, **policy)
        assert sparse.kept
        assert set(sparse.times_us) <= set(every)
        for frame in sparse.kept:
            difference = np.abs(frame.pixels.astype(int) - every[frame.pts_us].pixels)
            assert difference.max() <= 2 or name == "broken_corrupt_middle.mp4"


@pytest.mark.parametrize("name", HOPELESS)
def test_a_file_without_pictures_fails_with_a_reason(name):
    with pytest.raises(VideoError) as refused:
        extracted(FOLDER / name, policy="every_frame")

    assert len(refused.value.detail) > 20
    expected = {
        "audio_only.mp4": "no video stream",
        "broken_extension_is_jpeg.mp4": "JPEG",
        "broken_zero_length.webm": "empty",
        "broken_free_box_hides_moov.mp4": "moov",
        "broken_no_moov_segment.m4s": "moov",
        "broken_encrypted_widevine.mp4": "encrypted",
        "broken_vp9_bitstream.webm": "not one picture of the vp9 stream",
    }
    assert expected.get(name, "") in refused.value.detail
    assert isinstance(refused.value, VideoEncrypted) == ("encrypted" in name)


@pytest.mark.parametrize("name", [name for name in PLAYABLE if chosen(FILES[name])["decode"]["error_lines"]])
def test_what_is_damaged_is_said_with_its_times(name):
    video = all_frames(name)

    assert "damaged" in video.warnings
    assert all(start < end for summary in video.summaries for start, end in summary.damaged_us)


def test_an_avi_under_an_mp4_name_is_taken_with_a_warning():
    if "broken_extension_is_avi.mp4" in FILES:
        assert "wrong-extension" in [
            w.type for w in probe(str(FOLDER / "broken_extension_is_avi.mp4"), "a.mp4", Limits()).warnings
        ]


@pytest.mark.parametrize("name", [name for name in PLAYABLE if not name.startswith("broken")])
def test_a_sound_file_has_no_warning(name):
    assert not all_frames(name).warnings
