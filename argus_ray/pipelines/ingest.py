"""Ingest: a run drains the queue of segments through four stages, for as long as it lives.

    VideoQueue ──▶ FrameExtractor ──▶ FrameEmbedder ──▶ CatalogWriter ──▶ this driver: progress, metrics
     claims         S3 → frames        pixels → vectors   one fenced
     segments       frames → S3                           transaction a chunk

Postgres steers (what is claimed, what was said, what counts as an attempt, what is finished), Ray carries: pools,
backpressure of bytes between CPU and GPU, placement, metrics. One row is one block in every stage, so that a chunk
leaves its stage when it is made.

Logical CPUs are fractions chosen so that a run, the API and the models fit on two cores: extraction takes what the
machine has left, whatever the number says.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any, cast
from uuid import UUID, uuid4

import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset

from argus_ray import leases
from argus_ray.catalog import ingest, models, runs, segments
from argus_ray.catalog.connect import Database, listen_url, worker_url
from argus_ray.models.loading import resolve, weights_id
from argus_ray.pipelines.stages.catalog_writer import CatalogWriter
from argus_ray.pipelines.stages.frame_embedder import FrameEmbedder
from argus_ray.pipelines.stages.frame_extractor import FrameExtractor
from argus_ray.pipelines.stages.rows import Written
from argus_ray.pipelines.stages.video_queue import Reading, VideoQueue
from argus_ray.schemas.model import EmbeddingModel
from argus_ray.settings import Settings
from argus_ray.telemetry import IngestMetrics

log = logging.getLogger(__name__)

POOL = "ingest"
IN_FLIGHT = 2  # rows in an actor's hands: enough for segments of a CPU-second, the scheduling loop ticks at 0.1 s
READER_CPUS = WRITER_CPUS = 0.01
EXTRACTOR_CPUS = 0.5
EMBEDDER_CPUS = 0.3
EMBEDDER_GPUS = 0.5  # where there are any: one GPU then also holds the deployment that search asks
PROGRESS_S = 1.0
GAUGES_S = 5.0


def run(settings: Settings, *, pool: str = POOL) -> bool:
    """Take the pool's place and drain the queue; False at once where another run has the place."""
    url = worker_url(settings)
    with closing(Database(url)) as database:
        return _run(settings, pool, url, database)


def _run(settings: Settings, pool: str, url: str, database: Database) -> bool:
    model = database.retry(lambda tx: tx.one(models.by_weights("siglip2", _weights_id(settings))))
    run_id, ray_job_id = uuid4(), ray.get_runtime_context().get_job_id()
    placed = database.retry(
        lambda tx: tx.maybe(
            runs.place(
                run_id,
                pool=pool,
                kind="ingest",
                lease_s=settings.lease_s,
                max_life_s=settings.max_life_s,
                ray_job_id=ray_job_id,
            )
        )
    )
    if placed is None:
        log.info("another run of pool %s is alive", pool)
        return False
    log.info("run %s of pool %s begins with model %s", run_id, pool, model.uri)
    with leases.kept(url, run_id, lease_s=settings.lease_s, max_life_s=settings.max_life_s):
        follow(written(pipeline(settings, run_id, model)), database, IngestMetrics(pool))
    log.info("run %s of pool %s has ended", run_id, pool)
    return True


def pipeline(settings: Settings, run_id: UUID, model: EmbeddingModel) -> Dataset:
    """The stages. Lazy: nothing is claimed before its rows are read."""
    _set_context()
    url = worker_url(settings)
    reading = Reading(
        database_url=url,
        listen_url=listen_url(settings),
        run_id=run_id,
        ahead=settings.extractors * (IN_FLIGHT - 1),
        linger_s=settings.linger_s,
    )
    dataset = (
        ray.data.read_datasource(VideoQueue(reading), override_num_blocks=1, num_cpus=READER_CPUS)
        .flat_map(
            FrameExtractor,
            fn_constructor_args=(settings, model.image_size),
            compute=_pool(settings.extractors, IN_FLIGHT),
            num_cpus=EXTRACTOR_CPUS,
        )
        .map(
            FrameEmbedder,
            fn_constructor_args=(settings,),
            compute=_pool(settings.embedders, IN_FLIGHT),
            num_cpus=EMBEDDER_CPUS,
            num_gpus=_embedder_gpus(settings),
        )
        .map(
            CatalogWriter,
            fn_constructor_args=(url, model.number, settings.max_attempts),
            compute=_pool(1, 4),
            num_cpus=WRITER_CPUS,
        )
    )
    dataset.set_name("argus_ingest")
    return dataset


def written(dataset: Dataset) -> Iterator[Written]:
    """What the writer says, as it says it."""
    for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        yield from cast("list[Written]", batch.to_pylist())


def follow(rows: Iterator[Written], database: Database, metrics: IngestMetrics) -> None:
    """Tell videos their progress, at most once a second, and count."""
    moved: set[UUID] = set()
    told = gauged = 0.0
    for row in rows:
        _count(metrics, row)
        moved.add(UUID(row["job_id"]))
        now = time.monotonic()
        if now - told >= PROGRESS_S:
            database.retry(lambda tx: tx.run(ingest.progress(sorted(moved))))
            moved.clear()
            told = now
        if now - gauged >= GAUGES_S:
            _gauge(database, metrics)
            gauged = now
    _gauge(database, metrics)


def _count(metrics: IngestMetrics, row: Written) -> None:
    if row["frames"]:
        metrics.frames_kept.inc(row["frames"])
    if row["dropped"]:
        metrics.frames_dropped.inc(row["dropped"])
    counter = {"ready": metrics.videos_ready, "failed": metrics.videos_failed, "lost": metrics.chunks_lost}
    if row["outcome"] in counter:
        counter[row["outcome"]].inc()


def _gauge(database: Database, metrics: IngestMetrics) -> None:
    depth = database.retry(lambda tx: tx.one(segments.depth()))
    metrics.segments_queued.set(depth.queued)
    metrics.segments_running.set(depth.running)


def _embedder_gpus(settings: Settings) -> float | None:
    """Ray hides the GPUs from whoever does not ask for one. None: there is none, or it is not wanted."""
    wanted = settings.device == "cuda" or (settings.device == "auto" and ray.cluster_resources().get("GPU", 0) > 0)
    return EMBEDDER_GPUS if wanted else None


def _set_context() -> None:
    """Before a dataset is made. Each of these was measured."""
    context = DataContext.get_current()
    context.target_max_block_size = 1  # else a reader that holds work yields nothing until it ends
    context.enable_progress_bars = False
    context.execution_no_progress_timeout_s = -1  # an idle run is no failure; leases and give-back watch instead
    context.issue_detectors_config.detectors = []  # a hint about memory every 30 s


def _pool(size: int, in_flight: int) -> Any:
    return ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=in_flight)


def _weights_id(settings: Settings) -> str:
    from argus_ray.weights import fetcher

    return weights_id(resolve(settings.siglip2_model, fetch=fetcher(settings)))
