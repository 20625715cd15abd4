"""The packet table is the truth about times, order and keyframes, and an MP4's costs a few kilobytes."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argus_ray.video.container import open_container
from argus_ray.video.index import Index, read_header, read_packets, to_us
from argus_ray.video.limits import Limits
from argus_ray.video.probe import examine
from tests.clips import catalogue, make

MAKERS = catalogue()


def index_of(pts, keys=(0,), *, time_base=Fraction(1, 1000), start_us=0, cut=()):
    pts = np.array(pts, np.int64)
    is_key = np.isin(np.arange(len(pts)), keys)
    is_shown = ~np.isin(np.arange(len(pts)), cut)
    return Index(
        time_base, start_us, pts, is_key, is_shown, last_duration=int(pts.max() - pts.min()) // max(len(pts) - 1, 1)
    )


@pytest.mark.parametrize(
    "name",
    ["h264_mp4", "h264_aac_mp4", "h264_open_gop_mp4", "hevc_open_gop_mp4", "h264_vfr_mp4", "h264_start_offset_mp4",
     "h264_late_pictures_mp4", "h264_no_bframes_mp4", "av1_mp4", "prores_mov", "h264_one_picture_mp4"],
)  # fmt: skip
def test_the_table_from_an_mp4_header_equals_the_one_from_reading_every_packet(name, tmp_path):
    clip = MAKERS[name](tmp_path)

    with clip.path.open("rb") as file, open_container(file) as container:
        stream = container.streams.video[0]
        header = read_header(container, stream, file, clip.path.stat().st_size)
        packets = read_packets(container, stream, Limits())

    assert header is not None
    assert header.pts.tolist() == packets.pts.tolist()
    assert header.is_key.tolist() == packets.is_key.tolist()
    assert tuple(header.shown_us) == clip.pts_us


@pytest.mark.parametrize("name", ["h264_fragmented_mp4", "edit_list", "h264_ts", "h264_mkv", "mpeg4_avi"])
def test_where_the_header_does_not_tell_all_the_packets_do(name, tmp_path):
    clip = MAKERS[name](tmp_path)

    with clip.path.open("rb") as file, open_container(file) as container:
        assert read_header(container, container.streams.video[0], file, clip.path.stat().st_size) is None

    _, index = examine(str(clip.path), clip.path.name, Limits())
    assert tuple(index.shown_us) == clip.pts_us


class Counting:
    """A file that counts the bytes read from it."""

    def __init__(self, file):
        self.file, self.seek, self.tell, self.count = file, file.seek, file.tell, 0

    def read(self, size=-1):
        data = self.file.read(size)
        self.count += len(data)
        return data


def test_the_table_of_an_mp4_is_read_without_its_pictures(tmp_path):
    noise = np.random.default_rng(1).integers(0, 255, (10, 240, 320, 3), np.uint8)
    clip = make(tmp_path / "big.mp4", size=(320, 240), seconds=4, picture=lambda n, _: noise[n % 10])

    with clip.path.open("rb") as file:
        counting = Counting(file)
        _, index = examine(counting, "big.mp4", Limits())

    size_bytes = clip.path.stat().st_size
    assert len(index.shown_us) == 100
    assert size_bytes > 4_000_000
    assert counting.count < size_bytes / 2


def test_pictures_that_an_edit_list_cuts_off_are_not_shown(tmp_path):
    clip = MAKERS["edit_list"](tmp_path)

    _, index = examine(str(clip.path), clip.path.name, Limits())

    assert tuple(index.shown_us) == clip.pts_us
    assert len(index.pts) > len(clip.pts_us)


def test_of_two_pictures_with_one_time_the_first_stays():
    index = index_of([0, 40, 40, 80], cut=(2,))

    assert index.shown_us.tolist() == [0, 40_000, 80_000]


def test_a_leading_picture_is_decoded_from_the_keyframe_before_the_one_it_follows():
    # decoding order:   I0 P3 B1 B2 | I6 B4 B5 P9    B4 and B5 are stored after I6 and shown before it
    index = index_of([0, 3, 1, 2, 6, 4, 5, 9], keys=(0, 4))

    assert index.governing().tolist() == [0, 0, 0, 0, 4, 0, 0, 4]


@given(
    st.lists(st.integers(-(2**40), 2**40), min_size=1, max_size=20),
    st.sampled_from(
        [Fraction(1, 90_000), Fraction(1001, 30_000), Fraction(1, 3), Fraction(1, 1000), Fraction(1, 14_112_000)]
    ),
    st.integers(0, 10**11),
)
def test_microseconds_are_exact_for_one_and_for_many(pts, time_base, start_us):
    index = index_of(pts, time_base=time_base, start_us=start_us)

    many = index.us(np.array(pts, np.int64)).tolist()

    assert many == [to_us(t, time_base, start_us) for t in pts]
    assert all(
        abs(us + start_us - t * time_base * 1_000_000) <= Fraction(1, 2) for us, t in zip(many, pts, strict=True)
    )
