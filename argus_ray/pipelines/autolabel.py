"""Autolabel: a run asks SAM 3 for the labels of queued jobs, frame by frame, for as long as it lives.

    VideoQueue ──▶ ConceptFinder ──▶ ProposalWriter ──▶ this driver: progress, metrics
     claims         S3 → pictures     one fenced
     segments       → instances       transaction a chunk

Each chunk is committed on its own: a lost node costs the rest of a segment, a cancelled job keeps what it finished.
Running again with another model or other phrases adds that model's proposals; what people made or judged is never
touched.
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

from argus_ray.catalog import models, work
from argus_ray.catalog.connect import Database, listen_url, worker_url
from argus_ray.models.loading import resolve, weights_id
from argus_ray.pipelines import running
from argus_ray.pipelines.stages.concept_finder import ConceptFinder
from argus_ray.pipelines.stages.proposal_writer import ProposalWriter
from argus_ray.pipelines.stages.rows import Answered
from argus_ray.pipelines.stages.video_queue import Reading, VideoQueue
from argus_ray.schemas.job import JobKind
from argus_ray.schemas.model import Model
from argus_ray.settings import Settings
from argus_ray.telemetry import ConceptMetrics
from argus_ray.weights import fetcher

log = logging.getLogger(__name__)

POOL = "autolabel"
IN_FLIGHT = 2
FINDER_CPUS = 0.5
FINDER_GPUS = 0.25  # where there are any: one GPU also holds the deployments that answer requests, and another run
PROGRESS_S = 1.0


def run(settings: Settings, *, pool: str = POOL) -> bool:
    """Take the pool's place and drain the queue; False at once where another run has the place."""
    with closing(Database(worker_url(settings))) as database:
        model = registered(settings, database)
        with running.placed(settings, database, pool=pool, kind=JobKind.AUTOLABEL) as run_id:
            if run_id is None:
                return False
            dataset = pipeline(settings, run_id, model)
            follow(cast("Iterator[Answered]", running.said(dataset)), database, ConceptMetrics(pool))
    return True


def pipeline(settings: Settings, run_id: UUID, model: Model) -> Dataset:
    """The stages. Lazy: nothing is claimed before its rows are read."""
    running.set_context()
    device_gpus = running.gpus(settings, FINDER_GPUS)
    dataset = (
        ray.data.read_datasource(
            VideoQueue(reading(settings, run_id, JobKind.AUTOLABEL)),
            override_num_blocks=1,
            num_cpus=running.READER_CPUS,
        )
        .flat_map(
            ConceptFinder,
            fn_constructor_args=(settings,),
            compute=running.actors(settings.finders, IN_FLIGHT),
            num_cpus=FINDER_CPUS,
            num_gpus=device_gpus,
        )
        .map(
            ProposalWriter,
            fn_constructor_args=(worker_url(settings), model.id, device_of(device_gpus), settings.max_attempts),
            compute=running.actors(1, 4),
            num_cpus=running.WRITER_CPUS,
        )
    )
    dataset.set_name("argus_autolabel")
    return dataset


def reading(settings: Settings, run_id: UUID, kind: JobKind) -> Reading:
    """What the reader of a run of this kind is told."""
    return Reading(
        database_url=worker_url(settings),
        listen_url=listen_url(settings),
        run_id=run_id,
        ahead=settings.finders * (IN_FLIGHT - 1),
        linger_s=settings.linger_s,
        kind=kind,
    )


def registered(settings: Settings, database: Database) -> Model:
    """The catalogue's row of the weights that the settings name. Raises ModelUnavailable, Unavailable."""
    wanted = weights_id(resolve(settings.sam3_model, fetch=fetcher(settings)))
    return database.retry(lambda tx: tx.one(models.known("sam3", wanted)))


def device_of(device_gpus: float | None) -> str:
    return "cpu" if device_gpus is None else "cuda"


def follow(rows: Iterator[Answered], database: Database, metrics: ConceptMetrics) -> None:
    """Tell jobs their progress, at most once a second, and count."""
    moved: set[UUID] = set()
    told = 0.0
    for row in rows:
        metrics.count(row["outcome"], frames=row["frames"], found=row["found"], compute_s=row["compute_s"])
        moved.add(UUID(row["job_id"]))
        now = time.monotonic()
        if now - told >= PROGRESS_S:
            database.retry(lambda tx: tx.run(work.progress(sorted(moved))))
            moved.clear()
            told = now
