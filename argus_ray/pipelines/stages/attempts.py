"""Attempts: a stage that starts segments counts each start under the fence, and writes by itself how one ends early.

Ray replays a crashed actor's call for ever, with the same row, and drops by position what was delivered before. So the
start is counted in Postgres, and a segment that cannot be done is ended here, in one fenced statement that yields
nothing: a row could be swallowed.

    fault                                        what happens
    what the asker can mend (status below 500)   the segment fails
    what the work needs is away                  given back for later; the attempt does not count
    another run holds the segment, cancelled     the work stops, nothing is written
    the actor or its node dies                   Ray calls again; an attempt counts unless it was the node
    anything else                                queued again for later; fails when its attempts are used up
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TypeVar
from uuid import UUID

import ray

from argus_ray.catalog import budgets, segments, work
from argus_ray.catalog.connect import Database
from argus_ray.catalog.segments import Claim
from argus_ray.catalog.statement import Tx
from argus_ray.catalog.work import Started
from argus_ray.errors import ArgusError, ConfigurationError, FenceLost, ModelUnavailable, Unavailable
from argus_ray.pipelines import ends
from argus_ray.pipelines.stages.rows import ClaimedSegment

log = logging.getLogger(__name__)

Row = TypeVar("Row")
LastOfVideo = Callable[[Tx, Started], None]


def claim_of(row: ClaimedSegment) -> Claim:
    return Claim(UUID(row["segment_id"]), UUID(row["run_id"]), int(row["fence"]))


def attempt(
    database: Database,
    row: ClaimedSegment,
    do: Callable[[Started], Iterator[Row]],
    *,
    max_attempts: int,
    last_of_video: LastOfVideo | None = None,
) -> Iterator[Row]:
    """Start the segment and do its work, which yields rows; whatever keeps it from its last row is written here.

    A job whose project has used up its month ends here, before it costs more.
    """
    claim = claim_of(row)
    preempted = is_preempted(database, claim)
    started = database.retry(lambda tx: tx.maybe(work.start(claim, node=this_node(), preempted=preempted)))
    if started is None or _is_over_budget(database, started):
        return
    if started.attempts > max_attempts:
        _again(database, started, _used_up(started), max_attempts, last_of_video)
        return
    try:
        yield from do(started)
    except FenceLost:
        log.info("segment %s is with another run or cancelled: its work stops", started.segment_id)
    except (Unavailable, ConfigurationError, ModelUnavailable) as error:
        log.warning("segment %s is given back: %s", started.segment_id, error)
        database.retry(lambda tx: tx.maybe(segments.give_back(claim)))
    except ArgusError as error:
        log.warning("segment %s, attempt %d: %s", started.segment_id, started.attempts, error)
        most = 0 if error.status < 500 else max_attempts  # the asker's own: no retry helps
        _again(database, started, error, most, last_of_video)
    except Exception as error:
        log.exception("segment %s, attempt %d", started.segment_id, started.attempts)
        failure = ArgusError(f"{started.kind} failed: {type(error).__name__}: {error}")
        _again(database, started, failure, max_attempts, last_of_video)


def still_held(database: Database, claim: Claim) -> None:
    """Raises FenceLost where the segment was cancelled or given to another run meanwhile."""
    if database.retry(lambda tx: tx.maybe(segments.held(claim))) is None:
        raise FenceLost(f"segment {claim.segment_id} was taken over")


def is_preempted(database: Database, claim: Claim) -> bool:
    """Whether this very claim was started before, on a node that is lost."""
    before = database.retry(lambda tx: tx.maybe(segments.started_before(claim)))
    return before is not None and before not in _alive_nodes()


def this_node() -> str:
    return str(ray.get_runtime_context().get_node_id()) if ray.is_initialized() else "local"


def _alive_nodes() -> set[str]:
    """Nodes that may still hold a process of an earlier call. Empty answers would forgive every crash, so never empty."""
    if not ray.is_initialized():
        return {"local"}
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def _is_over_budget(database: Database, started: Started) -> bool:
    def stop(tx: Tx) -> bool:
        spent = tx.one(budgets.spent(started.project_id))
        if not spent.is_used_up:
            return False
        tx.maybe(segments.lock_job(started.job_id))
        tx.maybe(work.stop(started.job_id, spent.reached().reason()))
        return True

    return database.retry(stop)


def _again(
    database: Database,
    started: Started,
    error: ArgusError,
    max_attempts: int,
    last_of_video: LastOfVideo | None,
) -> None:
    """Queue the segment again, or fail it where its attempts are used up."""

    def end(tx: Tx) -> None:
        ends.retry_or_fail(
            tx,
            started.claim,
            started.job_id,
            error.reason(),
            max_attempts=max_attempts,
            last_of_video=None if last_of_video is None else lambda tx: last_of_video(tx, started),
        )

    try:
        database.retry(end)
    except FenceLost:
        log.info("segment %s is with another run already", started.segment_id)


def _used_up(started: Started) -> ArgusError:
    return ArgusError(
        f"the work was started {started.attempts - 1} times and its process died each time: it may be too heavy for this "
        "machine",
        attempts=started.attempts - 1,
    )
