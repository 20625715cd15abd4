"""A probe says what a file is, or why it is no use, before anything is decoded."""

import io
from fractions import Fraction
from pathlib import Path

import av
import pytest
from PIL import ExifTags, Image

from argus_ray.errors import NotAVideo, NoVideoStream, VideoEncrypted, VideoError, VideoTooLarge, VideoTooLong
from argus_ray.video.limits import Limits
from argus_ray.video.probe import probe
from tests import clips, damage
from tests.clips import catalogue, make, make_sound, numbered

MAKERS = catalogue()
FAILING = [
    name for name in clips._BROKEN if MAKERS[name].__qualname__.startswith(("_failing", "_not_a_video", "<lambda>"))
]


@pytest.mark.parametrize("name", FAILING)
def test_a_hopeless_file_fails_with_a_reason_of_its_kind(name, tmp_path):
    clip = MAKERS[name](tmp_path)

    with pytest.raises(VideoError) as refused:
        probe(str(clip.path), clip.path.name, Limits())

    assert clip.reason is None or refused.value.type == clip.reason
    assert len(str(refused.value)) > 15


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "empty"),
        (b"hello, world\n" * 50, "text"),
        (b"%PDF-1.7\n" + bytes(range(256)) * 20, "PDF document"),
        (b"PK\x03\x04" + bytes(5000), "ZIP archive"),
        (bytes(5000), "zeros"),
        (b"\x8f\x03\xfe\x99" * 1000, "begin with 8f 03 fe 99"),
        (b"1\n00:00:00,000 --> 00:00:01,000\nsubtitles are text too\n\n", "subtitle"),
    ],
)
def test_what_was_found_instead_of_a_video_is_named(content, found):
    with pytest.raises(VideoError, match=found):
        probe(io.BytesIO(content), "a.mp4", Limits())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"])
def test_a_picture_is_not_a_video_whatever_its_name_says(kind):
    data = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 30, 30)).save(data, kind)

    with pytest.raises(NotAVideo, match=f"still picture.*{kind}"):
        probe(data, "holiday.mp4", Limits())


def test_an_animated_gif_is_a_video():
    data = io.BytesIO()
    first, *others = [Image.new("RGB", (64, 48), (n * 40, 30, 30)) for n in range(5)]
    first.save(data, "GIF", save_all=True, append_images=others, duration=100)

    assert probe(data, "a.gif", Limits()).frame_count == 5


@pytest.mark.parametrize(
    "playlist",
    [
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{path}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {path}\n",
        "ffconcat version 1.0\nfile secret.mp4\n",
        (
            '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet mimeType="video/mp4">'
            '<Representation id="1" bandwidth="1"><BaseURL>file://{path}</BaseURL></Representation></AdaptationSet></Period></MPD>'
        ),
    ],
)
def test_a_playlist_reaches_no_other_file(playlist, tmp_path, monkeypatch):
    secret = make(tmp_path / "secret.mp4").path
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.m3u8").write_text(playlist.format(path=secret))

    with pytest.raises(NotAVideo, match=r"playlist|text"):
        probe(str(tmp_path / "list.m3u8"), "list.m3u8", Limits())


def test_sound_alone_is_no_video_stream_even_with_cover_art(tmp_path):
    sound = make_sound(tmp_path / "a.mp4").path
    with av.open(str(tmp_path / "b.mkv"), "w") as container, av.open(str(sound)) as source:
        stream = container.add_stream_from_template(source.streams.audio[0])
        container.add_attachment("cover.jpg", "image/jpeg", clips._jpeg())
        for packet in source.demux(audio=0):
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)

    with pytest.raises(NoVideoStream, match=r"no video stream: the file holds audio \(aac\) only"):
        probe(str(sound), "a.mp4", Limits())
    with pytest.raises(NoVideoStream, match="cover art"):
        probe(str(tmp_path / "b.mkv"), "b.mkv", Limits())


def test_the_stream_meant_for_playing_is_chosen_not_cover_art_nor_a_small_one(tmp_path):
    with av.open(str(tmp_path / "two.mkv"), "w") as container:
        streams = []
        for size in ((64, 48), (160, 120)):
            stream = container.add_stream("libx264", rate=25, width=size[0], height=size[1], pix_fmt="yuv420p")
            streams.append((stream, size))
        for stream, size in streams:
            for number in range(5):
                frame = clips._frame(clips.numbered(number, size), "yuv420p", None)
                frame.pts = number
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))

    assert probe(str(tmp_path / "two.mkv"), "two.mkv", Limits()).width == 160
    cover = MAKERS["cover_mkv"](tmp_path)
    assert probe(str(cover.path), "cover.mkv", Limits()).codec == "h264"


def test_a_wrong_extension_is_a_warning_that_says_what_was_found(tmp_path):
    clip = MAKERS["wrong_extension"](tmp_path)

    (warning,) = probe(str(clip.path), "holiday.mp4", Limits()).warnings

    assert warning.type == "wrong-extension"
    assert "ends in .mp4" in warning.detail
    assert "AVI" in warning.detail


@pytest.mark.parametrize("name", ["a.mp4", "a.MOV", "a.m4v", "a", "a.bin", "2024.01.02 holiday"])
def test_a_right_or_an_unknown_extension_is_no_warning(name, tmp_path):
    clip = make(tmp_path / "a.mp4")

    assert not probe(str(clip.path), name, Limits()).warnings


@pytest.mark.parametrize(
    ("limits", "error", "says"),
    [
        (Limits(max_duration_s=1), VideoTooLong, "lasts 2 s and the limit is 1 s"),
        (Limits(max_pixels=10_000), VideoTooLarge, "128x96 and the limit is 10000 pixels"),
        (Limits(max_video_frames=49), VideoTooLarge, "50 pictures and the limit is 49"),
        (Limits(max_size_bytes=1000), VideoTooLarge, "bytes and the limit is 1000"),
    ],
)
@pytest.mark.parametrize("ending", ["mp4", "ts"])
def test_limits_are_named_with_the_value_and_what_to_do(limits, error, says, ending, tmp_path):
    clip = make(tmp_path / f"a.{ending}", seconds=2)

    with pytest.raises(error, match="have an operator raise ARGUS_MAX_") as refused:
        probe(str(clip.path), "a", limits)

    assert says in str(refused.value) or ending == "ts"


def test_an_encrypted_file_says_so(tmp_path):
    clip = make(tmp_path / "a.mp4", container_options={
        "encryption_scheme": "cenc-aes-ctr", "encryption_key": "00112233445566778899aabbccddeeff",
        "encryption_kid": "112233445566778899aabbccddeeff00"}, bframes=0)  # fmt: skip

    with pytest.raises(VideoEncrypted, match="without encryption"):
        probe(str(clip.path), "a.mp4", Limits())


def test_facts_are_those_of_the_displayed_video(tmp_path):
    clip = make(
        tmp_path / "a.mp4", sar=Fraction(3, 2), rotation=270, seconds=2, fps=Fraction(30_000, 1001), audio="aac"
    )

    facts = probe(str(clip.path), "a.mp4", Limits())

    assert (facts.width, facts.height) == (96, 192)
    assert (facts.coded_width, facts.coded_height, facts.sample_aspect_ratio) == (128, 96, (3, 2))
    assert (facts.rotation_clockwise, facts.mirrored) == (270, False)
    assert facts.frame_rate == pytest.approx(29.97, abs=0.01)
    assert (facts.codec, facts.frame_count, facts.variable_frame_rate, facts.interlaced) == ("h264", 60, False, False)
    assert facts.duration_us == pytest.approx(2_002_000, abs=100_000)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("h264_vfr_mp4", {"variable_frame_rate": True}),
        ("h264_mkv", {"variable_frame_rate": False}),
        ("h264_interlaced_mp4", {"interlaced": True}),
        ("av1_mkv", {"codec": "av1"}),
        ("h264_start_offset_ts", {"guessed_times": False}),
    ],
)
def test_kinds_are_recognised(name, expected, tmp_path):
    clip = MAKERS[name](tmp_path)

    facts = probe(str(clip.path), clip.path.name, Limits()).model_dump()

    assert {key: facts[key] for key in expected} == expected


@pytest.mark.parametrize(("orientation", "size"), [(1, (128, 96)), (6, (96, 128))])
def test_pictures_with_exif_as_cameras_write_it_are_read_and_turned(orientation, size, tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    jpeg = io.BytesIO()
    Image.fromarray(numbered(0, (128, 96))).save(jpeg, "JPEG", exif=exif)
    with av.open(str(tmp_path / "a.avi"), "w") as container:
        stream = container.add_stream("mjpeg", rate=25, width=128, height=96, pix_fmt="yuvj420p")
        for number in range(3):
            packet = av.Packet(jpeg.getvalue())
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, number, number, Fraction(1, 25)
            container.mux(packet)

    facts = probe(str(tmp_path / "a.avi"), "a.avi", Limits())

    assert (facts.width, facts.height, facts.frame_count) == (*size, 3)


def test_hdr_is_recognised_from_the_picture(tmp_path):
    pq = probe(str(MAKERS["hevc_pq_mp4"](tmp_path).path), "a.mp4", Limits()).colour
    hlg = probe(str(MAKERS["hevc_hlg_mkv"](tmp_path).path), "a.mkv", Limits()).colour

    assert (pq.hdr, pq.transfer, pq.primaries) == ("pq", "smpte2084", "bt2020")
    assert hlg.hdr == "hlg"


def test_a_recording_without_its_index_says_what_to_do(tmp_path):
    clip = make(tmp_path / "a.mp4")
    broken = tmp_path / "b.mp4"
    broken.write_bytes(damage.without_moov(clip.path.read_bytes()))

    with pytest.raises(VideoError, match=r"no readable index \(no moov box\).*upload the whole file"):
        probe(str(broken), "b.mp4", Limits())


def test_a_reader_that_fails_is_not_the_video_at_fault(tmp_path):
    class Broken(io.BytesIO):
        def read(self, size=-1):
            raise ConnectionResetError("the store went away")

    with pytest.raises(ConnectionResetError):
        probe(Broken(Path(make(tmp_path / "a.mp4").path).read_bytes()), "a.mp4", Limits())
