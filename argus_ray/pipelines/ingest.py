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
from typing import cast
from uuid import UUID

import ray
from ray.data import Dataset

from argus_ray.catalog import ingest, models, segments
from argus_ray.catalog.connect import Database, listen_url, worker_url
from argus_ray.models.loading import resolve, weights_id
from argus_ray.pipelines import running
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
EXTRACTOR_CPUS = 0.5
EMBEDDER_CPUS = 0.3
EMBEDDER_GPUS = 0.5  # where there are any: one GPU then also holds the deployment that search asks
PROGRESS_S = 1.0
GAUGES_S = 5.0


def run(settings: Settings, *, pool: str = POOL) -> bool:
    """Take the pool's place and drain the queue; False at once where another run has the place."""
    url = worker_url(settings)
    with closing(Database(url)) as database:
        return _run(settings, pool, database)


def _run(settings: Settings, pool: str, database: Database) -> bool:
    model = database.retry(lambda tx: tx.one(models.by_weights("siglip2", _weights_id(settings))))
    with running.placed(settings, database, pool=pool, kind="ingest") as run_id:
        if run_id is None:
            return False
        log.info("it embeds with model %s", model.uri)
        follow(written(pipeline(settings, run_id, model)), database, IngestMetrics(pool))
    return True


def pipeline(settings: Settings, run_id: UUID, model: EmbeddingModel) -> Dataset:
    """The stages. Lazy: nothing is claimed before its rows are read."""
    running.set_context()
    url = worker_url(settings)
    reading = Reading(
        database_url=url,
        listen_url=listen_url(settings),
        run_id=run_id,
        ahead=settings.extractors * (IN_FLIGHT - 1),
        linger_s=settings.linger_s,
    )
    dataset = (
        ray.data.read_datasource(VideoQueue(reading), override_num_blocks=1, num_cpus=running.READER_CPUS)
        .flat_map(
            FrameExtractor,
            fn_constructor_args=(settings, model.image_size),
            compute=running.actors(settings.extractors, IN_FLIGHT),
            num_cpus=EXTRACTOR_CPUS,
        )
        .map(
            FrameEmbedder,
            fn_constructor_args=(settings,),
            compute=running.actors(settings.embedders, IN_FLIGHT),
            num_cpus=EMBEDDER_CPUS,
            num_gpus=running.gpus(settings, EMBEDDER_GPUS),
        )
        .map(
            CatalogWriter,
            fn_constructor_args=(url, model.number, settings.max_attempts),
            compute=running.actors(1, 4),
            num_cpus=running.WRITER_CPUS,
        )
    )
    dataset.set_name("argus_ingest")
    return dataset


def written(dataset: Dataset) -> Iterator[Written]:
    """What the writer says, as it says it."""
    return cast("Iterator[Written]", running.said(dataset))


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


def _weights_id(settings: Settings) -> str:
    from argus_ray.weights import fetcher

    return weights_id(resolve(settings.siglip2_model, fetch=fetcher(settings)))
