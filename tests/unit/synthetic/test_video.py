from fractions import Fraction

import av
import numpy as np
import pytest

from argus_ray.synthetic.language import bare, caption
from argus_ray.synthetic.video import draw_video, plan_video


def decoded(path) -> list[tuple[int, np.ndarray]]:
    with av.open(path) as container:
        return [
            (round(frame.pts * frame.time_base * 1_000_000), frame.to_ndarray(format="rgb24"))
            for frame in container.decode(video=0)
        ]


@pytest.mark.parametrize(
    ("name", "codec", "fps", "options"),
    [
        ("a.mp4", "libx264", 25, {"preset": "ultrafast"}),
        ("b.mkv", "libx264", Fraction(30000, 1001), {"preset": "ultrafast"}),
        ("c.webm", "libvpx-vp9", 10, {"deadline": "realtime", "cpu-used": "8"}),
    ],
)
def test_the_truth_names_every_picture_and_what_it_shows(tmp_path, name, codec, fps, options):
    truth = draw_video(
        tmp_path / name, np.random.default_rng(2), 1.2, scenes=3, size=(320, 180), fps=fps, codec=codec, options=options
    )
    pictures = decoded(tmp_path / name)
    assert len(pictures) == truth.frames
    for number, (pts_us, picture) in enumerate(pictures):
        # Matroska rounds times to milliseconds; MP4 holds them exactly
        assert pts_us == pytest.approx(truth.pts_us(number), abs=0 if name.endswith("mp4") else 1000)
        drawing = truth.drawing_at(truth.pts_us(number))
        assert np.abs(picture.astype(int) - drawing.rgb).mean() < 6
        assert set(np.unique(drawing.ids)) >= {thing.id for thing in truth.shot_at(pts_us).scene.things}


def test_shots_follow_each_other_on_whole_pictures_to_the_end():
    truth = plan_video(np.random.default_rng(0), 4, scenes=5, fps=12)
    assert [shot.start_us for shot in truth.shots] == [0, *(shot.end_us for shot in truth.shots[:-1])]
    assert truth.duration_us == 4_000_000
    assert {shot.start_us for shot in truth.shots} <= {truth.pts_us(frame) for frame in range(48)}


def test_a_picture_at_a_cut_belongs_to_the_shot_that_begins():
    truth = plan_video(np.random.default_rng(0), 2, scenes=2, fps=10)
    first, second = truth.shots
    assert truth.shot_at(second.start_us) is second
    assert truth.shot_at(second.start_us - 1) is first


def test_things_move_and_stay_in_sight():
    truth = plan_video(np.random.default_rng(4), 3, scenes=1, size=(320, 180), fps=10)
    early, late = truth.drawing_at(0).ids, truth.drawing_at(1_500_000).ids
    assert (early != late).mean() > 0.002
    for thing in truth.shots[0].scene.things:
        assert (late == thing.id).sum() > 0.7 * (early == thing.id).sum() > 0


def test_moments_are_the_shots_that_a_query_is_true_of():
    truth = plan_video(np.random.default_rng(1), 4, scenes=3)
    for shot in truth.shots:
        assert (shot.start_us, shot.end_us) in truth.moments(caption(shot.scene))
    shown = {(thing.colour, thing.shape) for shot in truth.shots for thing in shot.scene.things}
    assert truth.matches(bare(*next(iter(shown))))
    assert truth.moments(bare("no such colour", "car")) == []


def test_more_scenes_than_pictures_are_refused():
    with pytest.raises(ValueError, match="need as many pictures"):
        plan_video(np.random.default_rng(0), 0.2, scenes=5, fps=10)
