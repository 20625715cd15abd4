"""Line 4: a backlog of clips, from S3 to rows in Postgres.

Two questions. What does the pipeline cost over its bare engine? The same stage classes run in plain Ray actors that claim,
extract, embed and write by themselves; the two take turns, on the same machine with the same servers, and only the middle
of each backlog counts. And what does a video-second cost against the way that Ray publishes, `ray.data.read_videos` and
`map_batches`, with the same model, JPEGs in S3 and vectors in Postgres? Its reader decodes every frame, whatever it
keeps, and takes whole frames a second only, so that of these one in five is taken afterwards.

The model is a stub of a few thousand weights, the same for all. Daft is not here: its video reader asks for a PyAV below
17.1 and Argus for 18, so that the two do not share an environment.
"""

from __future__ import annotations

import io
import logging
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import psutil
import psycopg
from PIL import Image
from psycopg.types.json import Jsonb

from argus_ray.catalog import models, runs, segments
from argus_ray.catalog.connect import Database
from argus_ray.local import postgres, seaweedfs
from argus_ray.models.loading import resolve, weights_id
from argus_ray.pipelines.stages.catalog_writer import CatalogWriter
from argus_ray.pipelines.stages.frame_embedder import FrameEmbedder
from argus_ray.pipelines.stages.frame_extractor import FrameExtractor
from argus_ray.pipelines.stages.rows import ClaimedSegment
from argus_ray.schemas.model import EmbeddingModel
from argus_ray.settings import Settings
from tests.bench.clips import FPS, clip
from tests.bench.measure import Line
from tests.bench.sizes import Sizes
from tests.ingesting import Place, place, running

SIZE, MBIT_S, DRAWN = (1280, 720), 3.0, 4
ENDS = 4  # clips at the beginning and at the end of a backlog that do not count: two for each of two extractors
SECOND = {"policy": "fps", "fps": 1.0, "dedupe": False}
PATIENCE_S = 900
FIVE_SECONDS = {"policy": "fps", "fps": 0.2, "dedupe": False}


def lines(sizes: Sizes) -> list[Line]:
    clips = [clip(sizes.backlog_clip_s, SIZE, MBIT_S, seed) for seed in range(DRAWN)]
    with _place() as here, quiet_ray():
        model = _model(here.settings)
        pipeline, plain = [], []
        for _ in range(sizes.long_rounds):
            with _bare(here.settings, model) as drain:
                plain.append(_backlog(here, clips, sizes.backlog, SECOND, drain))
            with _pipeline(here) as drain:
                pipeline.append(_backlog(here, clips, sizes.backlog, SECOND, drain))
        with _pipeline(here) as drain:
            sparse = _backlog(here, clips, sizes.backlog, FIVE_SECONDS, drain)
        _store(here, clips)
        _usual_cpu_s(here, clips, sizes.backlog_clip_s, every_s=1)  # starts Ray's workers, which stay for the next ones
        theirs = _read_videos(here, clips, sizes.read_videos, seconds=sizes.backlog_clip_s, every_s=1)
        theirs_sparse = _read_videos(here, clips, sizes.read_videos, seconds=sizes.backlog_clip_s, every_s=5)
    ours_clips_s = statistics.median(one.clips_per_s for one in pipeline)
    plain_clips_s = statistics.median(one.clips_per_s for one in plain)
    video_s = sizes.backlog_clip_s
    ours, ours_sparse = statistics.median(one.cpu_s / one.clips for one in pipeline), sparse.cpu_s / sparse.clips
    light = statistics.median(one.cpu_s / one.clips for one in plain)

    def per_video_second(name: str, cpu_s: float) -> str:
        return f"{name}{1e3 * cpu_s / video_s:.1f} CPU-ms per video-s"

    return [
        Line(
            "4a",
            "ingest: speed of light",
            f"{ours_clips_s:.2f} clips/s",
            f"bare stages in plain Ray actors: {plain_clips_s:.2f} clips/s",
            ours_clips_s / plain_clips_s,
            0.85,
            f"clips of {video_s} s, a frame a second: {ours:.2f} CPU-s each, bare {light:.2f}; "
            f"{sizes.long_rounds} turns of {sizes.backlog} clips",
        ),
        Line(
            "4b",
            "ingest: CPU, 1 frame per s",
            per_video_second("", ours),
            per_video_second("ray.data.read_videos: ", theirs),
            theirs / ours,
            2.5,
        ),
        Line(
            "4c",
            "ingest: CPU, 1 frame per 5 s",
            per_video_second("", ours_sparse),
            per_video_second("ray.data.read_videos: ", theirs_sparse),
            theirs_sparse / ours_sparse,
            5,
        ),
    ]


# -- a backlog -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Drained:
    """The middle of a backlog: how many clips, how fast, and the CPU time of every process of this benchmark meanwhile."""

    clips: int
    wall_s: float
    cpu_s: float

    @property
    def clips_per_s(self) -> float:
        return self.clips / self.wall_s


Drain = Callable[[], None]
"""Returns when nothing is queued or running any more."""


def _backlog(here: Place, clips: list[Path], count: int, sampling: dict[str, Any], drain: Drain) -> Drained:
    """Drain a few clips, so that all processes are up, then many; and look at when each of these ended."""

    def upload(number: int) -> UUID:
        return here.upload(clips[number % len(clips)], sampling=Jsonb(sampling))

    for number in range(ENDS):
        upload(number)
    drain()
    videos = [upload(number) for number in range(count)]
    with _watched() as watched:
        drain()
    jobs = here.all(
        "select state, extract(epoch from finished_at)::float8 as ended from jobs where video_id = any(%s) order by 2",
        videos,
    )
    if {job["state"] for job in jobs} != {"succeeded"}:
        raise AssertionError(f"not every clip was ingested: {sorted(job['state'] for job in jobs)}")
    first, last = jobs[ENDS - 1]["ended"], jobs[-ENDS]["ended"]
    return Drained(count - 2 * ENDS + 1, last - first, watched.between(first, last))


@contextmanager
def _pipeline(here: Place) -> Iterator[Drain]:
    """A run that is alive."""

    def drain() -> None:
        end = time.monotonic() + PATIENCE_S
        while here.one("select exists (select from jobs where finished_at is null) as busy")["busy"]:
            if time.monotonic() > end:
                raise AssertionError(f"the backlog was not drained in {PATIENCE_S} s")
            time.sleep(0.2)

    with running(here):
        yield drain


class _Watched:
    """CPU seconds of this process and all below it, by time. Processes that end keep what they had used."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, float]] = []
        self._used: dict[tuple[int, float], float] = {}

    def look(self) -> None:
        me = psutil.Process()
        for process in (me, *me.children(recursive=True)):
            try:
                times = process.cpu_times()
                self._used[process.pid, process.create_time()] = times.user + times.system
            except psutil.NoSuchProcess:
                continue
        self.seen.append((time.time(), sum(self._used.values())))

    def between(self, start: float, end: float) -> float:
        at, used = zip(*self.seen, strict=True)
        return float(np.interp(end, at, used) - np.interp(start, at, used))


@contextmanager
def _watched() -> Iterator[_Watched]:
    watched, over = _Watched(), threading.Event()

    def watch() -> None:
        while not over.wait(0.25):
            watched.look()

    watched.look()
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield watched
    finally:
        over.set()
        thread.join()
        watched.look()


# -- the bare engine -------------------------------------------------------------------------------


class Bare:
    """Claims, extracts, embeds and writes, one segment after the other: the stages without a pipeline around them."""

    def __init__(self, settings: Settings, model: EmbeddingModel, run_id: UUID, number: int, of: int) -> None:
        url = settings.secret("worker_database_url") or ""
        self.database, self.run_id, self.number, self.of = Database(url), run_id, number, of
        self.extract = FrameExtractor(settings, model.image_size)
        self.embed = FrameEmbedder(settings)
        self.write = CatalogWriter(url, model.number, settings.max_attempts)

    def drain(self) -> None:
        while True:
            claim = self.database.retry(lambda tx: tx.maybe(segments.claim(self.run_id, ahead=1_000, no=self.number)))
            if claim is None:
                return
            self.number += self.of
            row = ClaimedSegment(segment_id=str(claim.segment_id), run_id=str(claim.run_id), fence=claim.fence)
            for chunk in self.extract(row):
                self.write(self.embed(chunk))


@contextmanager
def _bare(settings: Settings, model: EmbeddingModel) -> Iterator[Drain]:
    import ray

    run_id, count = uuid4(), settings.extractors
    with closing(Database(settings.secret("worker_database_url") or "")) as database:
        database.retry(
            lambda tx: tx.one(runs.place(run_id, pool=f"bare-{run_id}", kind="ingest", lease_s=3600, max_life_s=3600))
        )
    actors = [
        ray.remote(Bare).options(num_cpus=1).remote(settings, model, run_id, number, count) for number in range(count)
    ]
    try:
        yield lambda: ray.get([actor.drain.remote() for actor in actors], timeout=PATIENCE_S)
    finally:
        for actor in actors:
            ray.kill(actor)


# -- the published way -----------------------------------------------------------------------------


class Usual:
    """A batch of pictures becomes vectors, JPEGs in S3 and rows in Postgres, as one writes it in an afternoon."""

    def __init__(self, settings: Settings, url: str, stride: int) -> None:
        import boto3

        from argus_ray.models import siglip2

        self.model = siglip2.load(settings.siglip2_model, settings.device, towers="vision")
        self.s3 = boto3.client(
            "s3",
            endpoint_url=settings.s3_endpoint,
            aws_access_key_id=settings.secret("s3_access_key"),
            aws_secret_access_key=settings.secret("s3_secret_key"),
            region_name=settings.s3_region,
        )
        self.bucket, self.connection = settings.bucket, psycopg.connect(url, autocommit=True)
        self.stride = stride

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        wanted = batch["frame_index"] % self.stride == 0
        batch = {name: column[wanted] for name, column in batch.items()}
        if not wanted.any():
            return {"frame_index": batch["frame_index"]}
        pictures = [Image.fromarray(frame) for frame in batch["frame"]]
        small = [np.asarray(picture.resize((self.model.image_size,) * 2)) for picture in pictures]
        vectors = self.model.embed_images(np.stack(small))
        rows = []
        for picture, path, number, vector in zip(pictures, batch["path"], batch["frame_index"], vectors, strict=True):
            jpeg, key = io.BytesIO(), f"usual/{Path(path).stem}/{number}.jpg"
            picture.save(jpeg, "JPEG", quality=85)
            self.s3.put_object(Bucket=self.bucket, Key=key, Body=jpeg.getvalue())
            rows.append((key, str(vector.tolist())))
        with self.connection.cursor() as cursor:
            cursor.executemany(
                "insert into usual values (%s, %s::extensions.halfvec) on conflict (key) do update set embedding = excluded.embedding",
                rows,
            )
        return {"frame_index": batch["frame_index"]}


def _read_videos(here: Place, clips: list[Path], count: int, *, seconds: int, every_s: int) -> float:
    """CPU seconds a clip: what `count` clips more cost, so that starting Ray's workers counts for neither side."""
    few = _usual_cpu_s(here, clips, seconds, every_s)  # as many as keep every core busy
    more = _usual_cpu_s(here, clips + [clips[number % len(clips)] for number in range(count)], seconds, every_s)
    return (more - few) / count


def _store(here: Place, clips: list[Path]) -> None:
    """What the usual way needs: the clips in a folder of the bucket, and a table."""
    here.owner.execute("create table public.usual (key text primary key, embedding extensions.halfvec)")
    for path in clips:
        here.s3.upload_file(str(path), here.settings.bucket, f"clips/{path.name}")


def _usual_cpu_s(here: Place, clips: list[Path], seconds: int, every_s: int) -> float:
    import ray
    from pyarrow.fs import S3FileSystem

    settings = here.settings
    files = S3FileSystem(
        endpoint_override=settings.s3_endpoint,
        access_key=settings.secret("s3_access_key"),
        secret_key=settings.secret("s3_secret_key"),
        region=settings.s3_region,
    )
    ray.data.DataContext.get_current().target_max_block_size = 128 * 2**20  # as it is when nobody sets it
    with _watched() as watched:
        frames = ray.data.read_videos(
            [f"{settings.bucket}/clips/{path.name}" for path in clips], filesystem=files, fps=1, include_paths=True
        )
        args = settings, settings.secret("database_url"), every_s * FPS
        one = ray.data.ActorPoolStrategy(size=1)
        done = frames.map_batches(Usual, fn_constructor_args=args, batch_size=32, compute=one)
        kept = sum(len(batch["frame_index"]) for batch in done.iter_batches(batch_size=None))
    wanted = len(clips) * -(-seconds // every_s)
    if kept != wanted:
        raise AssertionError(f"read_videos kept {kept} frames and {wanted} are wanted: the sides do not do the same")
    return watched.seen[-1][1] - watched.seen[0][1]


# -- around them -----------------------------------------------------------------------------------


@contextmanager
def _place() -> Iterator[Place]:
    """Postgres (durable) and S3 of this benchmark's own, with a project and the stub model."""
    with tempfile.TemporaryDirectory(prefix="argus-bench-") as home:
        folder = Path(home)
        database, store = postgres.start(folder / "postgres"), seaweedfs.start(folder / "s3")
        try:
            here = place(database, store, folder, linger_s=1.0, lease_s=60)
            try:
                yield here
            finally:
                here.close()
        finally:
            store.stop()
            database.stop()


@contextmanager
def quiet_ray() -> Iterator[None]:
    """A local Ray of four logical CPUs, as `argus up` has it; quiet."""
    import ray

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as folder:  # its sockets need a short path
        ray.init(
            num_cpus=4,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=2**30,
            _temp_dir=folder,
        )
        try:
            yield
        finally:
            ray.shutdown()


def _model(settings: Settings) -> EmbeddingModel:
    with closing(Database(settings.secret("worker_database_url") or "")) as database:
        wanted = weights_id(resolve(settings.siglip2_model))
        return database.retry(lambda tx: tx.one(models.by_weights("siglip2", wanted)))
