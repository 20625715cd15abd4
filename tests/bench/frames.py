"""Lines 1 to 3: a few frames out of a long 1080p clip, as model pixels and as 720p JPEGs, against the usual ways.

Everybody makes the same of each kept frame: 384 x 384 RGB and a JPEG of 1280 x 720 at quality 85. Decoders have one
thread each, and what counts is CPU time, since a machine that ingests has work for all its cores.
"""

from __future__ import annotations

import io
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import simplejpeg
from av.filter import Graph
from numpy.typing import NDArray
from PIL import Image

from argus_ray.local import seaweedfs
from argus_ray.schemas.video import SamplingPolicy
from argus_ray.video.decode import Kept, extract
from argus_ray.video.limits import Limits
from argus_ray.video.pictures import Output
from argus_ray.video.probe import examine
from argus_ray.video.segments import plan_segments
from argus_ray.video.source import RangeReader, open_source
from argus_ray.video.work import Stored, begin
from tests.bench.clips import FPS, GOP_S, clip
from tests.bench.measure import Line, side_by_side
from tests.bench.sizes import Sizes

EVERY_S = 5
MODEL, JPEG, QUALITY = 384, (1280, 720), 85
SIZE, MBIT_S = (1920, 1080), 5.5
_OUTPUT = Output(long_side=JPEG[0], quality=QUALITY, model_size=MODEL)
_EXACT = SamplingPolicy(policy="fps", fps=1 / EVERY_S, dedupe=False)
_NEAR = SamplingPolicy(policy="fps", fps=1 / EVERY_S, dedupe=False, tolerance_s=GOP_S / 2)
_BUDGET_FRAMES = 3000


def local(sizes: Sizes) -> list[Line]:
    """Lines 1 and 2, from a file."""
    path = clip(sizes.clip_s, SIZE, MBIT_S)
    wanted_s = [float(at) for at in range(0, sizes.clip_s, EVERY_S)]
    exact, near, torchcodec, decord, ffmpeg = side_by_side(
        lambda: _argus(path, _EXACT, len(wanted_s)),
        lambda: _argus(path, _NEAR, len(wanted_s)),
        lambda: _torchcodec(path, wanted_s),
        lambda: _decord(path, wanted_s),
        lambda: _ffmpeg(path, len(wanted_s)),
        rounds=sizes.rounds,
    )

    def rate(cpu_s: float) -> str:
        return f"{len(wanted_s) / cpu_s:.1f} kept/CPU-s"

    off_s = [abs(kept.pts_us / 1e6 - at) for kept, at in zip(_argus(path, _NEAR, len(wanted_s)), wanted_s, strict=True)]
    return [
        Line(
            "1a",
            f"frames: 1080p, one each {EVERY_S} s, exact",
            rate(exact.cpu_s),
            f"torchcodec approximate + PIL: {rate(torchcodec.cpu_s)}",
            torchcodec.cpu_s / exact.cpu_s,
            1.9,
            f"decord2 + PIL: {rate(decord.cpu_s)}",
        ),
        Line(
            "1b",
            "frames: the same",
            rate(exact.cpu_s),
            f"FFmpeg, fps filter: {rate(ffmpeg.cpu_s)}",
            ffmpeg.cpu_s / exact.cpu_s,
            6.5,
        ),
        Line(
            "2",
            f"frames: nearest keyframe within {GOP_S / 2:.0f} s",
            rate(near.cpu_s),
            f"torchcodec approximate + PIL: {rate(torchcodec.cpu_s)}",
            torchcodec.cpu_s / near.cpu_s,
            6.5,
            f"off by {statistics.fmean(off_s):.2f} s in the mean, {max(off_s):.2f} s at most",
        ),
    ]


def remote(sizes: Sizes) -> list[Line]:
    """Line 3, from S3."""
    path = clip(sizes.clip_s, SIZE, MBIT_S)
    wanted_s = [float(at) for at in range(0, sizes.clip_s, EVERY_S)]
    size_bytes = path.stat().st_size
    with _in_s3(path) as (client, bucket, url), tempfile.TemporaryDirectory(prefix="argus-bench-") as folder:
        copy = Path(folder) / path.name

        def downloaded(decode: Callable[[Path], object]) -> None:
            client.download_file(bucket, path.name, str(copy))
            decode(copy)

        ours, usual, ours_downloaded = side_by_side(
            lambda: _argus(url, _EXACT, len(wanted_s), size_bytes),
            lambda: downloaded(lambda file: _torchcodec(file, wanted_s)),
            lambda: downloaded(lambda file: _argus(file, _EXACT, len(wanted_s))),
            rounds=sizes.rounds,
        )
        moved_bytes, requests = _moved(url, size_bytes)
    return [
        Line(
            "3a",
            "frames from S3: bytes moved",
            f"{moved_bytes / 2**20:.1f} MiB in {requests} requests",
            f"download: {size_bytes / 2**20:.1f} MiB",
            moved_bytes / size_bytes,
            0.35,
            smaller_is_better=True,
        ),
        Line(
            "3b",
            "frames from S3: wall",
            f"{ours.wall_s:.2f} s",
            f"download, then torchcodec + PIL: {usual.wall_s:.2f} s",
            usual.wall_s / ours.wall_s,
            2,
            f"S3 on the same machine, where bytes cost next to nothing; download, then our decoder: "
            f"{ours_downloaded.wall_s:.2f} s",
        ),
    ]


# -- ours ------------------------------------------------------------------------------------------


def _argus(location: Path | str, policy: SamplingPolicy, count: int, size_bytes: int | None = None) -> list[Kept]:
    """What the decoding child does for a video that nobody has seen, here in this process as the others are."""
    stored = Stored(str(location), "clip.mp4", size_bytes or Path(location).stat().st_size)
    return _checked([x for x in begin(stored, policy, _OUTPUT, Limits(), _BUDGET_FRAMES) if isinstance(x, Kept)], count)


def _moved(url: str, size_bytes: int) -> tuple[int, int]:
    """Bytes and requests: the steps of `begin`, with the reader in hand."""
    with open_source(url, size_bytes=size_bytes) as source:
        assert isinstance(source, RangeReader), "the clip is so small that it is fetched whole"
        probe, index = examine(source, "clip.mp4", Limits())
        (segment,) = plan_segments(probe, index, _EXACT, _BUDGET_FRAMES, Limits())
        for _ in extract(source, probe, segment, _EXACT, _OUTPUT, Limits()):
            pass
        return source.bytes_fetched, source.requests


def _checked(kept: list[Any], count: int) -> list[Any]:
    if len(kept) != count:
        raise AssertionError(f"{len(kept)} frames were kept and {count} are wanted: the sides do not do the same")
    return kept


# -- theirs ----------------------------------------------------------------------------------------


def _torchcodec(path: Path, wanted_s: list[float]) -> None:
    from torchcodec.decoders import VideoDecoder  # type: ignore[attr-defined]  # it is exported, without saying so

    decoder = VideoDecoder(str(path), seek_mode="approximate", num_ffmpeg_threads=1, dimension_order="NHWC")
    _checked([_by_pillow(frame.numpy()) for frame in decoder.get_frames_played_at(wanted_s).data], len(wanted_s))


def _decord(path: Path, wanted_s: list[float]) -> None:
    import decord

    reader = decord.VideoReader(str(path), num_threads=1)
    frames = reader.get_batch([round(at * FPS) for at in wanted_s]).asnumpy()
    _checked([_by_pillow(frame) for frame in frames], len(wanted_s))


def _by_pillow(frame: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], bytes]:
    picture, jpeg = Image.fromarray(frame), io.BytesIO()
    picture.resize(JPEG, Image.Resampling.BILINEAR).save(jpeg, "JPEG", quality=QUALITY)
    return np.asarray(picture.resize((MODEL, MODEL), Image.Resampling.BILINEAR)), jpeg.getvalue()


def _ffmpeg(path: Path, count: int) -> None:
    """What `ffmpeg -vf fps=1/5` does, through the same libraries; only kept pictures are converted, and fast."""
    kept = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        graph = Graph()
        graph.threads = 1
        source, sink = graph.add_buffer(template=stream), graph.add("buffersink")
        thinned = graph.add("fps", f"fps=1/{EVERY_S}:round=near")
        source.link_to(thinned)
        thinned.link_to(sink)
        graph.configure()
        for frame in _then_end(container.decode(stream)):
            graph.vpush(frame)
            kept += [_by_swscale(picture) for picture in _pulled(graph)]
    _checked(kept, count)


def _then_end(frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame | None]:
    yield from frames
    yield None


def _pulled(graph: Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            yield graph.vpull()
        except (av.BlockingIOError, av.EOFError):
            return


def _by_swscale(frame: av.VideoFrame) -> tuple[NDArray[np.uint8], bytes]:
    jpeg = simplejpeg.encode_jpeg(
        frame.reformat(*JPEG, "rgb24").to_ndarray(), quality=QUALITY, colorspace="RGB", colorsubsampling="420"
    )
    return frame.reformat(MODEL, MODEL, "rgb24").to_ndarray(), jpeg


# -- around them -----------------------------------------------------------------------------------


@contextmanager
def _in_s3(path: Path) -> Iterator[tuple[Any, str, str]]:
    """The clip in a server of its own: a client, the bucket, and a presigned URL."""
    with tempfile.TemporaryDirectory(prefix="argus-bench-") as home:
        server = seaweedfs.start(Path(home))
        try:
            client = server.client()
            client.upload_file(str(path), server.bucket, path.name)
            what = {"Bucket": server.bucket, "Key": path.name}
            yield client, server.bucket, client.generate_presigned_url("get_object", Params=what, ExpiresIn=3600)
        finally:
            server.stop()


def lent_ffmpeg() -> Path:
    """A folder with the FFmpeg that PyAV brings, under the names that torchcodec looks for.

    So torchcodec needs none of the system's, and all decode by the same one.
    """
    folder = Path("bench-results/ffmpeg").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for library in Path(av.__file__).parent.with_name("av.libs").glob("lib[as]*-*.so.*"):
        name, _, version = library.name.partition(".so.")
        plain = folder / f"{name.rpartition('-')[0]}.so.{version.split('.')[0]}"
        plain.unlink(missing_ok=True)
        plain.symlink_to(library)
    return folder
