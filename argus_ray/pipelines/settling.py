"""How segments end: the transactions by which a chunk is kept, and by which a segment is failed or queued again.

Each checks the fence before it writes anything and raises FenceLost where another run holds the segment now.
"""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from argus_ray.catalog import embeddings, frames, ingest, posters, segments
from argus_ray.catalog.frames import Arriving
from argus_ray.catalog.segments import Claim
from argus_ray.catalog.statement import Tx

Ended = Literal["done", "ready", "failed"]


def keep(
    tx: Tx,
    claim: Claim,
    arriving: Arriving,
    *,
    job_id: UUID,
    project_id: UUID,
    video_id: UUID,
    segment: int,
    chunk: int,
    last: bool,
    progress: float,
    dropped: int,
    warnings: list[dict[str, Any]],
    has_poster: bool,
    why: str,
    model_number: int,
) -> Literal["kept"] | Ended:
    """One chunk's frames, vectors and number; what is complete by it ends with it."""
    if last:
        tx.maybe(segments.lock_job(job_id))
    complete = tx.one(
        ingest.join_chunk(
            claim,
            chunk=chunk,
            last=last,
            kept=len(arriving.pts_us),
            dropped=dropped,
            progress=progress,
            warnings=warnings,
        )
    )
    if len(arriving.pts_us):
        frames.copy(tx, video_id, arriving)
        tx.run(frames.upsert(project_id, video_id, job_id=job_id, segment_number=segment, why=why))
        tx.run(embeddings.upsert(project_id, video_id, model_number=model_number))
    if has_poster:
        tx.run(posters.note(project_id, video_id))
    if not complete:
        return "kept"
    if not last:
        tx.maybe(segments.lock_job(job_id))
    tx.one(segments.finish(claim))
    return _settled(tx, job_id, "done")


def fail(tx: Tx, claim: Claim, job_id: UUID, reason: dict[str, Any]) -> Ended:
    """The segment cannot be done, and the job ends if it was the last one."""
    tx.maybe(segments.lock_job(job_id))
    tx.one(segments.fail(claim, reason))
    return _settled(tx, job_id, "failed")


def retry_or_fail(
    tx: Tx, claim: Claim, job_id: UUID, reason: dict[str, Any], *, max_attempts: int
) -> Literal["again"] | Ended:
    """Queue the segment again for later, or fail it where its attempts are used up."""
    if tx.maybe(segments.retry(claim, max_attempts=max_attempts)) is not None:
        return "again"
    return fail(tx, claim, job_id, reason)


def _settled(tx: Tx, job_id: UUID, otherwise: Literal["done", "failed"]) -> Ended:
    outcome = tx.maybe(ingest.settle(job_id))
    if outcome == "ready":
        return "ready"
    return "failed" if outcome == "failed" else otherwise
