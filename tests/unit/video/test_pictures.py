"""A kept frame looks as a player shows the video: shape, orientation, colour, light."""

import io
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from argus_ray.video.geometry import Orientation, fitted, orientation_from_matrix
from argus_ray.video.pictures import Output
from argus_ray.video.tonemap import to_sdr
from tests.clips import Colour, catalogue, corners, make, numbered, read_number, weave
from tests.extraction import extracted, picture

MAKERS = catalogue()
PATCHES = {
    "red": (200, 40, 40),
    "green": (40, 190, 60),
    "blue": (40, 50, 200),
    "grey": (128, 128, 128),
    "skin": (220, 170, 140),
}


def first(path, **output):
    return extracted(path, output=Output(**output), policy="uniform", count=1, dedupe=False).kept[0]


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", [1, 5, 9])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le"])
def test_colours_come_back_whatever_matrix_and_range_carried_them(matrix, full_range, pix_fmt, tmp_path):
    for colour in PATCHES.values():
        flat = np.full((48, 64, 3), colour, np.uint8)
        tags = Colour(matrix=matrix, full_range=full_range, primaries=matrix)
        clip = make(
            tmp_path / "a.mp4",
            size=(64, 48),
            seconds=0.08,
            picture=lambda *_, flat=flat: flat,
            colour=tags,
            pix_fmt=pix_fmt,
        )

        kept = first(clip.path)

        assert np.abs(picture(kept).reshape(-1, 3).mean(axis=0) - colour).max() <= 5
        assert np.abs(kept.pixels.reshape(-1, 3).mean(axis=0) - colour).max() <= 5


def test_an_untagged_video_is_read_as_ffmpeg_reads_it(tmp_path):
    clip = make(tmp_path / "a.mp4", picture=lambda *_: np.full((96, 128, 3), (200, 40, 40), np.uint8))

    assert np.abs(picture(first(clip.path)).mean(axis=(0, 1)) - (200, 40, 40)).max() <= 5


@pytest.mark.parametrize("codec", ["libx264", "libx265", "libsvtav1"])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_the_display_matrix_turns_and_mirrors_every_codec(rotation, mirrored, codec, tmp_path):
    clip = make(tmp_path / "a.mp4", codec=codec, seconds=0.2, rotation=rotation, mirrored=mirrored, sar=Fraction(3, 2))

    kept = first(clip.path)

    assert (kept.width, kept.height) == clip.displayed
    assert corners(picture(kept)) == clip.corners
    assert corners(kept.pixels) == clip.corners


@given(st.sampled_from([0, 90, 180, 270]), st.booleans())
def test_an_orientation_survives_its_matrix(clockwise, mirrored):
    one = 1 << 16
    a, b = {0: (one, 0), 90: (0, one), 180: (-one, 0), 270: (0, -one)}[clockwise]
    c, d = (b, -a) if mirrored else (-b, a)

    assert orientation_from_matrix((a, b, 0, c, d, 0, 0, 0, 1 << 30)) == Orientation(clockwise, mirrored)


def test_a_matrix_of_zeros_turns_nothing():
    assert orientation_from_matrix((0,) * 9) == Orientation()


@given(st.integers(1, 9000), st.integers(1, 9000), st.integers(64, 4000))
def test_a_frame_is_scaled_down_to_the_long_side_and_never_up(width, height, long_side):
    fit = fitted(width, height, long_side)

    assert max(fit) <= max(long_side, 1)
    assert max(fit) == min(long_side, max(width, height))
    assert fit <= (width, height)


def test_a_large_picture_keeps_its_shape(tmp_path):
    clip = make(tmp_path / "a.mp4", size=(640, 360), seconds=0.08, rotation=90)

    kept = first(clip.path, long_side=320, model_size=96)

    assert (kept.width, kept.height) == picture(kept).shape[1::-1] == (180, 320)
    assert kept.pixels.shape == (96, 96, 3)
    assert corners(picture(kept)) == clip.corners


def test_a_picture_of_one_pixel_or_a_thin_line_survives(tmp_path):
    clip = make(
        tmp_path / "a.mp4",
        size=(2, 2),
        seconds=0.08,
        codec="mpeg4",
        picture=lambda *_: np.full((2, 2, 3), 90, np.uint8),
    )
    assert picture(first(clip.path)).shape == (2, 2, 3)

    clip = make(
        tmp_path / "b.mkv",
        size=(2, 3000),
        codec="libx264",
        seconds=0.08,
        picture=lambda *_: np.full((3000, 2, 3), 90, np.uint8),
    )
    assert picture(first(clip.path)).shape == (1920, 1, 3)


def test_interlaced_pictures_lose_their_combs_and_keep_their_time(tmp_path):
    size = (128, 96)

    def moving(number, _):
        fields = []
        for half in range(2):
            rgb = np.full((*size[::-1], 3), 20, np.uint8)
            x = 10 + number * 8 + half * 12
            rgb[20:76, x : x + 30] = 235
            fields.append(rgb)
        return weave(*fields)

    clip = make(
        tmp_path / "a.mp4",
        codec="mpeg2video",
        size=size,
        seconds=0.4,
        interlaced=True,
        picture=moving,
        codec_options={"b": "8M"},
    )
    video = extracted(clip.path, policy="every_frame", dedupe=False)

    assert tuple(video.times_us) == clip.pts_us
    for number, frame in enumerate(video.kept):
        light = picture(frame).astype(int).mean(axis=2)[24:72]
        combs = np.abs(2 * light[1:-1] - light[:-2] - light[2:]).mean()
        woven = moving(number, 0).astype(int).mean(axis=2)[24:72]
        assert combs < np.abs(2 * woven[1:-1] - woven[:-2] - woven[2:]).mean() / 5


def test_transparency_is_shown_over_black(tmp_path):
    with av.open(str(tmp_path / "a.mov"), "w") as container:
        stream = container.add_stream("qtrle", rate=25, width=64, height=48, pix_fmt="argb")
        argb = np.zeros((48, 64, 4), np.uint8)
        argb[...] = (0, 255, 255, 255)  # transparent white
        argb[:, :32] = (255, 200, 40, 40)
        frame = av.VideoFrame.from_ndarray(argb, format="argb")
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))

    shown = picture(first(tmp_path / "a.mov"))

    assert np.abs(shown[:, 4:28].mean(axis=(0, 1)) - (200, 40, 40)).max() < 8
    assert shown[:, 36:].max() < 20


@pytest.mark.parametrize("name", ["hevc_pq_mp4", "hevc_hlg_mkv"])
def test_hdr_is_mapped_to_sdr_with_its_hues_in_place(name, tmp_path):
    kept = first(MAKERS[name](tmp_path).path)

    assert corners(picture(kept))[0] == "red"
    assert read_number(picture(kept)) is not None


def pq(candelas):
    """16-bit PQ sample of a luminance (SMPTE ST 2084)."""
    y = (candelas / 10_000) ** (2610 / 16384)
    return round(65535 * ((3424 / 4096 + 2413 / 128 * y) / (1 + 2392 / 128 * y)) ** (2523 / 32))


def hlg(scene):
    """16-bit HLG sample of a scene light from 0 to 1 (ITU-R BT.2100)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return round(65535 * ((3 * scene) ** 0.5 if scene <= 1 / 12 else a * np.log(12 * scene - b) + c))


def grey(sample, kind):
    return to_sdr(np.full((1, 1, 3), sample, np.uint16), kind)[0, 0]


def test_tone_mapping_follows_the_standards():
    for light, level in [(0, 0), (203 * 0.18, 118), (203 * 0.5, 188)]:  # below the knee: sRGB of the share of white
        assert np.abs(grey(pq(light), "pq").astype(int) - level).max() <= 2
    white, peak = grey(pq(203), "pq")[0], grey(pq(1000), "pq")[0]
    assert 220 < white < 245
    assert peak == 255
    assert grey(pq(10_000), "pq")[0] == 255
    # HLG's 75 % is reference white too, 38 % is the standard's grey of 26 cd/m2
    assert abs(int(grey(round(0.75 * 65535), "hlg")[0]) - int(white)) <= 3
    assert abs(int(grey(hlg((26 / 1000) ** (1 / 1.2)), "hlg")[0]) - int(grey(pq(26), "pq")[0])) <= 2


def test_tone_mapping_never_reorders_light():
    ramp = np.arange(0, 65536, 64, dtype=np.uint16)
    for kind in ("pq", "hlg"):
        grey_ramp = to_sdr(np.repeat(ramp[None, :, None], 3, axis=2), kind)[0].astype(int)
        assert (np.diff(grey_ramp, axis=0) >= 0).all()
        assert np.ptp(grey_ramp, axis=1).max() <= 1


def test_the_jpeg_has_the_quality_asked_for(tmp_path):
    clip = make(tmp_path / "a.mp4", size=(320, 240), seconds=0.08, picture=lambda n, _: numbered(n, (320, 240)))

    sizes = [len(first(clip.path, quality=quality).jpeg) for quality in (30, 85, 98)]

    assert sizes == sorted(sizes)
    assert Image.open(io.BytesIO(first(clip.path).jpeg)).format == "JPEG"
