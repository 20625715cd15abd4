"""What every run of a dataset needs: its place in a pool, Ray Data set up for a queue, and what its last stage says."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast
from uuid import UUID, uuid4

import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset

from argus_ray import leases
from argus_ray.catalog import runs
from argus_ray.catalog.connect import Database, worker_url
from argus_ray.settings import Settings

log = logging.getLogger(__name__)

READER_CPUS = WRITER_CPUS = 0.01


@contextmanager
def placed(settings: Settings, database: Database, *, pool: str, kind: str) -> Iterator[UUID | None]:
    """A run's id, whose lease is kept until the block ends; None where another run has the pool's place."""
    run_id, ray_job_id = uuid4(), ray.get_runtime_context().get_job_id()
    lease_s, max_life_s = settings.lease_s, settings.max_life_s
    place = runs.place(run_id, pool=pool, kind=kind, lease_s=lease_s, max_life_s=max_life_s, ray_job_id=ray_job_id)
    if database.retry(lambda tx: tx.maybe(place)) is None:
        log.info("another run of pool %s is alive", pool)
        yield None
        return
    log.info("run %s of pool %s begins", run_id, pool)
    with leases.kept(worker_url(settings), run_id, lease_s=lease_s, max_life_s=max_life_s):
        yield run_id
    log.info("run %s of pool %s has ended", run_id, pool)


def set_context() -> None:
    """Before a dataset is made. Each of these was measured."""
    context = DataContext.get_current()
    context.target_max_block_size = 1  # else a reader that holds work yields nothing until it ends
    context.enable_progress_bars = False
    context.execution_no_progress_timeout_s = -1  # an idle run is no failure; leases and give-back watch instead
    context.issue_detectors_config.detectors = []  # a hint about memory every 30 s


def actors(size: int, in_flight: int) -> Any:
    """A pool of so many, each with so many rows in its hands."""
    return ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=in_flight)


def gpus(settings: Settings, share: float) -> float | None:
    """Ray hides the GPUs from whoever does not ask for one. None: there is none, or it is not wanted."""
    wanted = settings.device == "cuda" or (settings.device == "auto" and ray.cluster_resources().get("GPU", 0) > 0)
    return share if wanted else None


def said(dataset: Dataset) -> Iterator[dict[str, Any]]:
    """What the last stage says, as it says it."""
    for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        yield from cast("list[dict[str, Any]]", batch.to_pylist())
