"""decord is a second opinion on the same pictures, and gives way where it counts others."""

import numpy as np
import pytest

from argus_ray.schemas.video import SamplingPolicy
from argus_ray.video.decode import Kept, extract, extract_with
from argus_ray.video.decoders import open_decord
from argus_ray.video.limits import Limits
from argus_ray.video.pictures import Output
from argus_ray.video.probe import examine
from argus_ray.video.segments import plan_segments
from tests.clips import catalogue, make

MAKERS = catalogue()
KINDS = ["h264_mp4", "h264_vfr_mp4", "h264_full_range_mp4", "vp9_webm", "av1_mp4"]


@pytest.mark.parametrize(
    "policy", [SamplingPolicy(fps=5, dedupe=False), SamplingPolicy(policy="every_frame", dedupe=False)]
)
@pytest.mark.parametrize("name", KINDS)
def test_both_decoders_give_the_same_pictures_at_the_same_times(name, policy, tmp_path):
    path = str(MAKERS[name](tmp_path).path)
    probe, index = examine(path, name, Limits())
    (plan,) = plan_segments(probe, index, policy, 10**6)

    ours = [item for item in extract(path, probe, plan, policy, Output()) if isinstance(item, Kept)]
    decoder = open_decord(path, probe, index)
    assert decoder is not None
    theirs = [item for item in extract_with(decoder, probe, plan, policy, Output()) if isinstance(item, Kept)]

    assert [frame.pts_us for frame in theirs] == [frame.pts_us for frame in ours]
    for one, other in zip(ours, theirs, strict=True):
        assert (one.width, one.height) == (other.width, other.height)
        assert np.abs(one.pixels.astype(int) - other.pixels).mean() < 6


def test_decord_gives_way_where_it_would_be_wrong(tmp_path):
    clip = make(tmp_path / "a.mp4")
    probe, index = examine(str(clip.path), "a.mp4", Limits())

    assert open_decord(str(clip.path), probe.model_copy(update={"frame_count": 24}), index) is None
    assert open_decord(str(clip.path), probe.model_copy(update={"rotation_clockwise": 90}), index) is None
    (tmp_path / "b.mp4").write_bytes(b"not a video" * 100)
    assert open_decord(str(tmp_path / "b.mp4"), probe, index) is None
