"""How segments of jobs other than ingest end: in one transaction with what their end means.

`last_of_video` is called where a segment is the last of its video to end, done or failed, before the job is settled:
tracking joins the video's pieces then. Each raises FenceLost where another run holds the segment now.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal
from uuid import UUID

from argus_ray.catalog import segments, work
from argus_ray.catalog.segments import Claim
from argus_ray.catalog.statement import Tx

LastOfVideo = Callable[[Tx], object]
Ended = Literal["done", "succeeded", "failed"]


def finish(tx: Tx, claim: Claim, job_id: UUID, last_of_video: LastOfVideo | None = None) -> Ended:
    """All of the segment is written; the job ends with it if it was the last."""
    tx.maybe(segments.lock_job(job_id))
    tx.one(segments.finish(claim))
    return _settled(tx, claim, job_id, last_of_video) or "done"


def fail(tx: Tx, claim: Claim, job_id: UUID, reason: dict[str, Any], last_of_video: LastOfVideo | None = None) -> Ended:
    """The segment cannot be done; what it has committed stays."""
    tx.maybe(segments.lock_job(job_id))
    tx.one(segments.fail(claim, reason))
    return _settled(tx, claim, job_id, last_of_video) or "failed"


def retry_or_fail(
    tx: Tx,
    claim: Claim,
    job_id: UUID,
    reason: dict[str, Any],
    *,
    max_attempts: int,
    last_of_video: LastOfVideo | None = None,
) -> Literal["again"] | Ended:
    """Queue the segment again for later, or fail it where its attempts are used up."""
    if tx.maybe(segments.retry(claim, max_attempts=max_attempts)) is not None:
        return "again"
    return fail(tx, claim, job_id, reason, last_of_video)


def _settled(tx: Tx, claim: Claim, job_id: UUID, last_of_video: LastOfVideo | None) -> Ended | None:
    if last_of_video is not None and tx.one(work.others_of_video(claim)) == 0:
        last_of_video(tx)
    state = tx.maybe(work.settle(job_id))
    if state is None:
        return None
    return "succeeded" if state == "succeeded" else "failed"
