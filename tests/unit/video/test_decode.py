"""Extraction keeps exactly the wanted pictures, named by their times, and decodes little else."""

from fractions import Fraction

import av
import numpy as np
import pytest

from argus_ray.errors import VideoTooLarge
from argus_ray.video.limits import Limits
from argus_ray.video.pictures import Output
from tests import clips
from tests.clips import catalogue, corners, make, numbered
from tests.extraction import extracted, picture

MAKERS = catalogue()
SOUND = [name for name in MAKERS if name not in clips._BROKEN] + ["size_lie", "duration_lie"]
SMALL = Output(long_side=160, quality=90, model_size=64)


@pytest.mark.parametrize("name", SOUND)
def test_every_picture_of_a_sound_clip_is_kept_at_its_time_as_displayed(name, tmp_path):
    clip = MAKERS[name](tmp_path)

    video = extracted(clip.path, policy="every_frame", dedupe=False)

    assert tuple(video.times_us) == clip.pts_us
    assert {(frame.width, frame.height) for frame in video.kept} == {clip.displayed}
    assert (video.probe.width, video.probe.height) == clip.displayed
    assert corners(picture(video.kept[0])) == clip.corners
    assert video.kept[0].pixels.shape == (224, 224, 3)
    assert corners(video.kept[0].pixels) == clip.corners
    assert "damaged" not in video.warnings
    if "rotated" not in name and "mirrored" not in name:
        first = clip.facts.get("first_number", 0)
        assert video.numbers == [first + n for n in range(len(clip.pts_us))]


LONG = {
    "closed.mp4": {},
    "open.mp4": {"open_gop": True, "gop": 12},
    "no_b.mp4": {"bframes": 0},
    "hevc_open.mp4": {"codec": "libx265", "open_gop": True, "gop": 12},
    "vp9.webm": {"codec": "libvpx-vp9", "gop": 20},
    "av1.mkv": {"codec": "libsvtav1", "gop": 20},
    "open.ts": {"open_gop": True, "gop": 12, "start_s": 7},
    "mpeg2.mpg": {"codec": "mpeg2video", "codec_options": {"bf": "2"}},
    "mpeg4.avi": {"codec": "mpeg4", "codec_options": {"bf": "2"}},
    "vfr.mkv": {"times_s": [Fraction(n * (n + 9), 1000) for n in range(60)]},
    "fragmented.mp4": {"container_options": clips.FRAGMENTED},
    # what their containers say is not so: times of B-frames, and keyframes at which no decoder can begin
    "b.mxf": {},
    "h263.avi": {"codec": "h263", "size": (176, 144)},
    "refreshed.mp4": {"codec_options": {"x264-params": "intra-refresh=1"}, "gop": 25},
    "refreshed.ts": {"codec_options": {"x264-params": "intra-refresh=1"}, "gop": 25},
}


@pytest.mark.parametrize("name", LONG)
def test_sparse_policies_keep_the_very_pictures_that_decoding_all_gives(name, tmp_path):
    clip = make(tmp_path / name, **({"seconds": 4} | LONG[name]))
    truth = {time: number for number, time in enumerate(clip.pts_us)}

    for policy in ({"policy": "fps", "fps": 3}, {"policy": "keyframes"}, {"policy": "uniform", "count": 7}):
        for budget in (5, 3000):
            video = extracted(clip.path, budget, SMALL, dedupe=False, **policy)
            assert video.numbers == [truth[time] for time in video.times_us]
            assert len(video.kept) == sum(plan.wanted for plan in video.plans)
            assert "damaged" not in video.warnings


def test_pictures_without_times_are_as_far_apart_as_their_stream_says(tmp_path):
    clip = make(tmp_path / "a.mpg", fps=30, seconds=2)  # MPEG-PS says the time of one H.264 picture in ten

    video = extracted(clip.path, policy="every_frame", dedupe=False)

    assert video.numbers == list(range(60))
    assert video.times_us == pytest.approx([n * 1e6 / 30 for n in range(60)], abs=12)  # a tick of 90 kHz


def test_only_what_a_wanted_picture_depends_on_is_decoded(tmp_path):
    clip = make(tmp_path / "a.mp4", seconds=8, gop=50, bframes=2)  # a keyframe each 2 s

    video = extracted(clip.path, policy="fps", fps=0.5, dedupe=False)
    assert video.decoded == video.plans[0].frames_to_decode == len(video.kept) == 4

    video = extracted(clip.path, policy="uniform", count=4, dedupe=False)  # in the middle of each group
    assert video.plans[0].frames_to_decode == pytest.approx(4 * 26, abs=8)
    assert video.decoded < video.plans[0].frames_to_decode * 0.75  # more than half are non-reference pictures


def test_a_tolerance_decodes_keyframes_alone(tmp_path):
    clip = make(tmp_path / "a.mp4", seconds=8, gop=30)

    video = extracted(clip.path, policy="fps", fps=1, tolerance_s=0.6, dedupe=False)

    assert video.decoded == len(video.kept) == 7
    assert all(number % 30 == 0 for number in video.numbers)


def drifting(number, _):
    """Still for a second, then a slow drift of brightness, then a jump; and again."""
    phase = number % 100
    level = 100 if phase < 25 else 100 + (phase - 25) // 2 if phase < 75 else 200
    return numbered(number // 100, (64, 48), (level, level, level))


@pytest.fixture(scope="module")
def a_drift(tmp_path_factory):
    return make(
        tmp_path_factory.mktemp("clips") / "drift.mp4", size=(64, 48), seconds=16, gop=10, picture=drifting
    ).path


@pytest.mark.parametrize("policy", [{"policy": "every_frame"}, {"policy": "fps", "fps": 12.5}, {"policy": "keyframes"}])
def test_what_is_kept_does_not_depend_on_the_size_of_segments(policy, a_drift):
    whole = extracted(a_drift, 10**6, SMALL, **policy)
    assert len(whole.plans) == 1
    assert 2 < len(whole.kept) < sum(plan.wanted for plan in whole.plans)

    for budget in (1, 40, 77, 150):
        cut = extracted(a_drift, budget, SMALL, **policy)
        assert cut.times_us == whole.times_us
        assert [frame.jpeg for frame in cut.kept] == [frame.jpeg for frame in whole.kept]
        assert cut.dropped == whole.dropped
    assert len(cut.plans) > 1 or policy["policy"] == "keyframes"  # 40 of them are hardly worth a cut


def test_near_duplicates_are_dropped_counted_and_kept_on_request(a_drift):
    without = extracted(a_drift, output=SMALL, policy="every_frame")
    every = extracted(a_drift, output=SMALL, policy="every_frame", dedupe=False)

    assert len(every.kept) == 400
    assert len(without.kept) + without.dropped == 400
    assert every.dropped == 0
    drift = [time for time in without.times_us if 1_100_000 < time < 2_900_000]
    assert len(drift) >= 2  # a drift too slow for any two neighbours to differ is kept in steps
    still = [time for time in without.times_us if 3_100_000 < time < 3_900_000]
    assert not still


def test_scenes_keep_the_first_picture_of_each_wherever_segments_are_cut(tmp_path):
    starts = [0, 17, 60, 61, 100, 163]
    colours = [(20, 20, 20), (200, 40, 40), (40, 200, 40), (30, 30, 220), (230, 230, 60), (128, 128, 128)]

    def scene(number, _):
        place = sum(start <= number for start in starts) - 1
        return np.full((48, 64, 3), colours[place], np.uint8)

    clip = make(tmp_path / "a.mp4", size=(64, 48), seconds=8, gop=20, picture=scene)

    for budget in (10, 70, 3000):
        video = extracted(clip.path, budget, SMALL, policy="scenes")
        assert video.times_us == [n * 40_000 for n in starts]
        thinned = extracted(clip.path, budget, SMALL, policy="scenes", max_frames=4)  # slots of 2 s
        assert thinned.times_us == [0, 60 * 40_000, 100 * 40_000, 163 * 40_000]


def test_max_frames_is_kept_over_all_segments_and_said_once(tmp_path):
    clip = make(tmp_path / "a.mp4", seconds=8)

    video = extracted(clip.path, 20, SMALL, policy="every_frame", dedupe=False, max_frames=100)

    assert video.times_us == [n * 80_000 for n in range(100)]
    assert video.warnings == ["thinned"]
    assert len(video.plans) > 1


def test_a_file_object_gives_what_a_path_gives(tmp_path):
    clip = make(tmp_path / "a.mp4", seconds=2)
    by_path = extracted(clip.path, output=SMALL, policy="fps", fps=4)

    with clip.path.open("rb") as file:
        by_file = extracted(file, output=SMALL, policy="fps", fps=4)

    assert [frame.jpeg for frame in by_file.kept] == [frame.jpeg for frame in by_path.kept]


# -- damage ------------------------------------------------------------------------------------------


def ffmpeg_decodes(path):
    """Times of what FFmpeg gives when each bad packet costs only itself."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        times = set()
        for packet in container.demux(stream):
            try:
                times |= {frame.pts for frame in packet.decode()}
            except av.FFmpegError:
                continue
        return {round(pts * stream.time_base * 1_000_000) - (container.start_time or 0) for pts in times}


@pytest.mark.parametrize("name", [name for name in clips._BROKEN if MAKERS[name].__qualname__.startswith("_salvage")])
def test_a_broken_file_gives_all_that_ffmpeg_decodes_and_a_warning_with_the_times(name, tmp_path):
    clip = MAKERS[name](tmp_path)

    video = extracted(clip.path, policy="every_frame", dedupe=False)

    assert set(video.times_us) >= ffmpeg_decodes(clip.path)
    if name != "front_lost_ts":  # what was never there cannot be missed
        assert {"truncated", "damaged"} & set(video.warnings)


def test_a_damaged_middle_is_told_by_its_times_and_the_rest_is_right(tmp_path):
    clip = MAKERS["bits_flipped"](tmp_path)

    video = extracted(clip.path, policy="every_frame", dedupe=False)

    ranges = [r for summary in video.summaries for r in summary.damaged_us]
    assert ranges
    assert all(300_000 < start < end < 1_500_000 for start, end in ranges)
    right = [n for time, n in zip(video.times_us, video.numbers, strict=True) if n == time // 40_000]
    assert len(right) >= 25


def test_where_a_wanted_picture_is_lost_the_last_one_before_it_stands_in(tmp_path):
    clip = MAKERS["truncated_mkv"](tmp_path)

    video = extracted(clip.path, policy="fps", fps=10, dedupe=False)

    assert video.times_us == sorted(set(video.times_us))
    assert all(number == time // 40_000 for time, number in zip(video.times_us, video.numbers, strict=True))


# -- bounds ------------------------------------------------------------------------------------------


def test_a_stream_that_grows_beyond_the_limit_in_its_middle_is_refused(tmp_path):
    with av.open(str(tmp_path / "grows.ts"), "w") as container:
        for part, size in enumerate([(64, 48), (320, 240)]):
            source = make(tmp_path / f"{part}.ts", size=size, seconds=1, start_s=part, bframes=0)
            with av.open(str(source.path)) as piece:
                if part == 0:
                    stream = container.add_stream_from_template(piece.streams.video[0])
                for packet in piece.demux(video=0):
                    if packet.dts is not None:
                        packet.stream = stream
                        container.mux(packet)

    assert len(extracted(tmp_path / "grows.ts", policy="every_frame", dedupe=False).kept) == 50
    with pytest.raises(VideoTooLarge, match="becomes 320x240 in mid-stream and the limit is 10000 pixels"):
        extracted(tmp_path / "grows.ts", policy="every_frame", limits=Limits(max_pixels=10_000))


def test_frames_kept_are_bounded_by_the_limit_of_the_installation(tmp_path):
    clip = make(tmp_path / "a.mp4", seconds=2)

    video = extracted(clip.path, output=SMALL, policy="every_frame", dedupe=False, limits=Limits(max_frames_kept=5))

    assert len(video.kept) == 5
    assert video.warnings == ["thinned"]


def test_scenes_are_bounded_by_the_limit_of_the_installation(tmp_path):
    clip = make(tmp_path / "a.mp4", seconds=2, picture=lambda n, _: np.full((96, 128, 3), n % 2 * 200, np.uint8))

    for budget in (10, 3000):
        video = extracted(clip.path, budget, SMALL, policy="scenes", limits=Limits(max_frames_kept=5))
        assert len(video.kept) == 5
