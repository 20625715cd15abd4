"""Track: a run follows every instance of the labels of queued jobs through their videos, segment by segment.

    VideoQueue ──▶ ObjectFollower ──▶ TrackWriter ──▶ this driver: progress, metrics
     claims         pictures           one fenced transaction a segment;
     segments       → tracklets        the last of a video joins its pieces

A segment has 64 times of one video, of which it shares 8 with the next one: nothing grows with the length of a video but
the rows in Postgres. What method has followed (SAM 3's tracker, or detection in every frame where the weights have no
tracker) stands in every row.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from typing import cast
from uuid import UUID

import ray
from ray.data import Dataset

from argus_ray.catalog.connect import Database, worker_url
from argus_ray.pipelines import running
from argus_ray.pipelines.autolabel import (
    FINDER_CPUS,
    FINDER_GPUS,
    IN_FLIGHT,
    device_of,
    follow,
    reading,
    registered,
)
from argus_ray.pipelines.stages.object_follower import ObjectFollower
from argus_ray.pipelines.stages.proposal_writer import TrackWriter
from argus_ray.pipelines.stages.rows import Answered
from argus_ray.pipelines.stages.video_queue import VideoQueue
from argus_ray.schemas.job import JobKind
from argus_ray.schemas.model import Model
from argus_ray.settings import Settings
from argus_ray.telemetry import ConceptMetrics

log = logging.getLogger(__name__)

POOL = "track"


def run(settings: Settings, *, pool: str = POOL) -> bool:
    """Take the pool's place and drain the queue; False at once where another run has the place."""
    with closing(Database(worker_url(settings))) as database:
        model = registered(settings, database)
        with running.placed(settings, database, pool=pool, kind=JobKind.TRACK) as run_id:
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
            VideoQueue(reading(settings, run_id, JobKind.TRACK)), override_num_blocks=1, num_cpus=running.READER_CPUS
        )
        .flat_map(
            ObjectFollower,
            fn_constructor_args=(settings, model.id),
            compute=running.actors(settings.finders, IN_FLIGHT),
            num_cpus=FINDER_CPUS,
            num_gpus=device_gpus,
        )
        .map(
            TrackWriter,
            fn_constructor_args=(worker_url(settings), model.id, device_of(device_gpus), settings.max_attempts),
            compute=running.actors(1, 4),
            num_cpus=running.WRITER_CPUS,
        )
    )
    dataset.set_name("argus_track")
    return dataset
