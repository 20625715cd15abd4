"""A clip has the source's pictures at the source's times, with what was painted on them."""

from fractions import Fraction
from itertools import pairwise

import av
import pytest

from argus_ray.errors import InvalidRequest, SourceGone
from argus_ray.video.boxes import read_layout
from argus_ray.video.clip import render
from argus_ray.video.limits import Limits
from argus_ray.video.probe import examine
from argus_ray.video.source import open_source
from tests.clips import catalogue, corners, make, read_number
from tests.unit.video.test_source import noisy, serving

UNEVEN_S = [Fraction(n * (n + 9), 1000) for n in range(30)]
CLIPS = {
    "closed.mp4": {},
    "open.mp4": {"open_gop": True, "gop": 12},
    "open.ts": {"open_gop": True, "gop": 12, "start_s": 7},
    "vfr.mkv": {"times_s": UNEVEN_S},
    "b.mxf": {},
    "mpeg4.avi": {"codec": "mpeg4", "codec_options": {"bf": "2"}},
    "turned.mp4": {"rotation": 90},
    "vp9.webm": {"codec": "libvpx-vp9", "gop": 20},
}


def as_it_is(pts_us, picture):
    return picture


def times(path):
    return examine(str(path), path.name, Limits())[1].shown_us.tolist()


def pictures(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize(("first", "last"), [(0, None), (13, 24)], ids=["whole", "from the middle"])
def test_a_clip_has_the_pictures_of_its_stretch_at_their_times_as_displayed(name, first, last, tmp_path):
    source = make(tmp_path / name, seconds=1.2, **CLIPS[name])
    wanted = source.pts_us[first:last]
    painted = []

    clip = render(
        str(source.path),
        tmp_path / "out.mp4",
        lambda pts_us, picture: painted.append((pts_us, read_number(picture))) or picture,
        from_us=wanted[0] if first else None,
        to_us=source.pts_us[last] if last else None,
    )

    assert painted == [(pts_us, first + n) for n, pts_us in enumerate(wanted)]
    assert times(tmp_path / "out.mp4") == [pts_us - wanted[0] for pts_us in wanted]
    shown = pictures(tmp_path / "out.mp4")
    assert [read_number(picture) for picture in shown] == [first + n for n in range(len(wanted))]
    assert corners(shown[0]) == source.corners
    assert (clip.width, clip.height) == source.displayed
    assert (clip.from_us, clip.to_us, clip.pictures) == (wanted[0], wanted[-1], len(wanted))


def test_what_is_painted_is_what_the_clip_shows(tmp_path):
    source = make(tmp_path / "a.mp4", seconds=0.4)

    render(
        str(source.path), tmp_path / "out.mp4", lambda pts_us, picture: picture * 0 + (200 if pts_us >= 200_000 else 40)
    )

    levels = [float(picture.mean()) for picture in pictures(tmp_path / "out.mp4")]
    assert all(abs(level - 40) < 5 for level in levels[:5])
    assert all(abs(level - 200) < 5 for level in levels[5:])


def test_a_picture_is_made_smaller_and_has_even_sides(tmp_path):
    source = make(tmp_path / "a.mp4", seconds=0.2, size=(128, 96), sar=Fraction(4, 3))
    sizes = set()

    clip = render(
        str(source.path), tmp_path / "out.mp4", lambda _, picture: sizes.add(picture.shape) or picture, max_side=101
    )

    assert sizes == {(57, 101, 3)}
    assert (clip.width, clip.height) == (102, 58)


def test_the_last_picture_is_shown_as_long_as_in_the_source(tmp_path):
    source = make(tmp_path / "a.mp4", seconds=1, times_s=[0, 0.1, 0.5, 0.9])

    render(str(source.path), tmp_path / "out.mp4", as_it_is, to_us=500_000)

    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.duration == 500_000


def test_a_clip_can_be_played_before_it_is_whole(tmp_path):
    source = make(tmp_path / "a.mp4", seconds=0.4)

    render(str(source.path), tmp_path / "out.mp4", as_it_is)

    written = (tmp_path / "out.mp4").read_bytes()
    assert written.index(b"moov") < written.index(b"mdat")
    with (tmp_path / "out.mp4").open("rb") as file:
        assert read_layout(file, len(written)).has_moov


def test_a_time_without_pictures_is_refused_and_leaves_nothing(tmp_path):
    source = make(tmp_path / "a.mp4", seconds=0.4)

    with pytest.raises(InvalidRequest, match=r"it lasts 0\.400 s"):
        render(str(source.path), tmp_path / "out.mp4", as_it_is, from_us=5_000_000)

    assert list(tmp_path.iterdir()) == [source.path]


def test_a_connection_that_is_lost_leaves_nothing(tmp_path):
    """FFmpeg takes a failed read for the end of the file, and would make a shorter clip of it."""
    content = make(tmp_path / "a.mp4", seconds=4, **noisy()).path.read_bytes()

    def to_here(store):
        def loses_it(_, picture):
            store.statuses = [403] * 100
            return picture

        with open_source(store.url) as source:
            render(source, tmp_path / "out.mp4", loses_it)

    with serving(content) as store, pytest.raises(SourceGone, match="expired"):
        to_here(store)

    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_a_painter_that_fails_leaves_nothing(tmp_path):
    source = make(tmp_path / "a.mp4", seconds=0.4)

    def fails(pts_us, picture):
        if pts_us > 100_000:
            raise ZeroDivisionError
        return picture

    with pytest.raises(ZeroDivisionError):
        render(str(source.path), tmp_path / "out.mp4", fails)

    assert list(tmp_path.iterdir()) == [source.path]


@pytest.mark.parametrize("name", ["truncated_faststart", "truncated_ts", "bits_flipped", "bits_flipped_ts"])
def test_of_a_damaged_video_what_can_be_decoded_is_shown_in_order(name, tmp_path):
    source = catalogue()[name](tmp_path)

    clip = render(str(source.path), tmp_path / "out.mp4", as_it_is)

    assert clip.pictures > 1
    assert all(one < other for one, other in pairwise(times(tmp_path / "out.mp4")))
