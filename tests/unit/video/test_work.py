"""Every kind of clip through the whole of it: over HTTP, in the child, to the JPEG that is kept."""

from collections import Counter
from contextlib import contextmanager

import pytest
import simplejpeg

from argus_ray.errors import SourceGone, VideoError
from argus_ray.schemas.video import SamplingPolicy
from argus_ray.video import source, work
from argus_ray.video.decode import Summary
from argus_ray.video.limits import Limits
from argus_ray.video.pictures import Output
from argus_ray.video.process import DecodeProcess
from argus_ray.video.work import Stored, Survey
from tests.clips import catalogue, corners, make, read_number
from tests.unit.video.test_source import noisy, serving

MAKERS = catalogue()
ALL = SamplingPolicy(policy="every_frame", dedupe=False)
PATIENCE = {"timeout_s": 60, "stall_s": 60}


@pytest.fixture(scope="module")
def decoder():
    with DecodeProcess(2**30) as decoder:
        yield decoder


@contextmanager
def stored(clip, folder):
    content = clip.path.read_bytes()
    with serving(content) as store:
        yield Stored(store.url, clip.path.name, len(content), folder)


def begun(decoder, place, policy=ALL, budget_frames=3000):
    survey, *kept, summary = decoder.run(work.begin, place, policy, Output(), Limits(), budget_frames, **PATIENCE)
    assert isinstance(survey, Survey)
    assert isinstance(summary, Summary)
    return survey, kept, summary


@pytest.mark.parametrize("name", MAKERS)
def test_each_kind_of_video_comes_to_the_end_that_it_deserves(name, decoder, tmp_path):
    clip = MAKERS[name](tmp_path)

    with stored(clip, tmp_path) as place:
        if clip.outcome == "failed":
            with pytest.raises(VideoError) as failure:
                begun(decoder, place)
            assert clip.reason in (None, failure.value.type)
            return
        _, kept, _ = begun(decoder, place)

    pictures = [simplejpeg.decode_jpeg(frame.jpeg) for frame in kept]
    numbers = [read_number(picture) for picture in pictures]
    assert (kept[0].width, kept[0].height) == clip.displayed
    assert corners(pictures[0]) == clip.corners
    if clip.outcome == "ready":
        first = clip.facts.get("first_number", 0)
        assert numbers == [first + n for n in range(len(clip.pts_us))]
        assert tuple(frame.pts_us for frame in kept) == clip.pts_us
    else:
        offsets = Counter(n * 40_000 - frame.pts_us for n, frame in zip(numbers, kept, strict=True) if n is not None)
        assert 5 <= len(kept) < len(clip.pts_us)
        assert offsets.most_common(1)[0][1] > len(kept) / 2  # most pictures are shown at their time


def test_segments_that_are_resumed_apart_give_what_one_segment_gives(decoder, tmp_path):
    clip = make(tmp_path / "long.mp4", seconds=12, gop=12, fps=25)
    policy = SamplingPolicy(policy="fps", fps=12.5)
    with stored(clip, tmp_path) as place:
        _, whole, _ = begun(decoder, place, policy)
        survey, parts, _ = begun(decoder, place, policy, budget_frames=64)
        assert len(survey.segments) > 2
        for segment in survey.segments[1:]:
            *kept, _ = decoder.run(work.resume, place, survey.probe, segment, policy, Output(), Limits(), **PATIENCE)
            parts += kept
    assert [(f.pts_us, f.jpeg) for f in parts] == [(f.pts_us, f.jpeg) for f in whole]
    assert len(whole) > 100


def test_a_finished_run_leaves_nothing_in_scratch(decoder, tmp_path):
    clip, scratch = make(tmp_path / "clip.mp4"), tmp_path / "scratch"
    scratch.mkdir()
    with stored(clip, scratch) as place:
        begun(decoder, place)
    assert not list(scratch.iterdir())


@pytest.mark.parametrize(
    ("name", "options"), [("movie.mkv", {}), ("movie.mp4", {"container_options": {"movflags": "faststart"}})]
)
def test_a_link_that_expires_midway_never_gives_a_frame_or_a_survey_of_half_a_file(
    name, options, tmp_path, monkeypatch
):
    monkeypatch.setattr(source, "WHOLE_BELOW_BYTES", 0)
    clip = make(tmp_path / name, seconds=6, gop=30, **noisy(), **options)
    content, policy = clip.path.read_bytes(), SamplingPolicy(policy="fps", fps=5)
    attempts = []

    for requests in range(1, 20):
        with serving(content, good_requests=requests) as store:
            attempts.append([])
            try:
                for item in work.begin(Stored(store.url, "a.mkv", len(content)), policy, Output(), Limits(), 3000):
                    attempts[-1].append(item)
            except SourceGone:
                continue
            break

    survey, *kept, _ = attempts.pop()
    assert [frame.pts_us for frame in kept] == [n * 200_000 for n in range(30)]
    assert attempts
    for attempt in filter(None, attempts):
        assert attempt[0] == survey
        assert [(f.pts_us, f.jpeg) for f in attempt[1:]] == [(f.pts_us, f.jpeg) for f in kept[: len(attempt) - 1]]
