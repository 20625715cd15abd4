"""VideoQueue: the rows of a Ray dataset are what the run claims from Postgres, for as long as it lives.

Ray drops by position what a retried reader delivers again, and claiming is not deterministic: a retried reader
therefore first says again, in order, all that the log of the run's claims says. Nothing in Ray bounds how far a reader
runs ahead (its backpressure counts bytes, and a claim has a hundred): the claiming statement does.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import pyarrow as pa
from ray.data import Datasource, ReadTask
from ray.data.block import BlockMetadata

from argus_ray.catalog import segments
from argus_ray.catalog.bell import Bell
from argus_ray.catalog.connect import Database
from argus_ray.catalog.segments import Claim
from argus_ray.errors import Conflict
from argus_ray.pipelines.stages.rows import ClaimedSegment
from argus_ray.schemas.job import JobKind

T = TypeVar("T")

POLL_S = 0.5
"""How often an idle reader looks by itself: notifications may be lost, and back-offs end unannounced."""


@dataclass(frozen=True)
class Reading:
    """What the reader needs to know. `listen_url` must be a session connection."""

    database_url: str
    listen_url: str
    run_id: UUID
    ahead: int
    linger_s: float
    kind: str = JobKind.INGEST


class VideoQueue(Datasource):  # type: ignore[misc]  # ray is not typed
    """One reader, on the driver's node: a spot node must not take it along."""

    supports_distributed_reads = False

    def __init__(self, reading: Reading) -> None:
        super().__init__()
        self.reading = reading

    def get_name(self) -> str:
        return "VideoQueue"

    def estimate_inmemory_data_size(self) -> int | None:
        return None  # a number would be divided by the block size, into as many expected blocks

    def get_read_tasks(
        self,
        parallelism: int,  # noqa: ARG002  the names are Ray's
        per_task_row_limit: int | None = None,  # noqa: ARG002
        data_context: Any = None,  # noqa: ARG002
    ) -> list[ReadTask]:
        """Called more than once while Ray plans: it claims nothing."""
        return [ReadTask(partial(_tables, self.reading), BlockMetadata(None, None, None, None))]


def _tables(reading: Reading) -> Iterator[pa.Table]:
    for claim in claimed(reading):
        row = ClaimedSegment(segment_id=str(claim.segment_id), run_id=str(claim.run_id), fence=claim.fence)
        yield pa.table({name: [value] for name, value in row.items()})


def claimed(reading: Reading) -> Iterator[Claim]:
    """What the run has claimed, then what it claims, until it may not or the queue has stayed empty for `linger_s`.

    An idle run leaves the machine at once where work of another kind waits for a place on it.
    """
    with (
        closing(Database(reading.database_url)) as database,
        Bell(reading.listen_url, "argus_segments", "argus_jobs") as bell,
    ):
        said = database.retry(lambda tx: tx.all(segments.said(reading.run_id)))
        yield from said
        for no in itertools.count(len(said)):
            claim = _next(database, bell, reading, no)
            if claim is None:
                return
            yield claim


def _next(database: Database, bell: Bell, reading: Reading, no: int) -> Claim | None:
    """The claim at place `no` of the run; None when there is nothing to stay for."""
    seen = time.monotonic()
    while True:
        claim = _claim(database, reading, no)
        if claim is not None:
            return claim
        pulse = database.retry(lambda tx: tx.one(segments.pulse(reading.run_id, kinds=[reading.kind])))
        if pulse.busy:
            seen = time.monotonic()
        lingers_s = 0 if pulse.others_wait else reading.linger_s
        if not pulse.accepting or time.monotonic() - seen > lingers_s:
            return None
        bell.wait(POLL_S)


def _claim(database: Database, reading: Reading, no: int) -> Claim | None:
    try:
        statement = segments.claim(reading.run_id, ahead=reading.ahead, no=no, kind=reading.kind)
        return database.retry(lambda tx: tx.maybe(statement))
    except Conflict:
        # this place is taken: by this very reader before a lost connection, or by one that Ray took for dead
        return database.retry(lambda tx: tx.maybe(segments.said(reading.run_id, since=no)))
