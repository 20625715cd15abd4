"""Asking for the ingest of a video again; for any job no longer, and once more.

Who may see a thing and not change it is told Forbidden; who may not see it, NotFound. Whatever changes a job, a video or
an upload locks their rows first, and in this order, as pipelines do: two callers at once get one after the other, and
never wait for each other.

A cancelled ingest leaves its video `failed`, with a reason that says so, and nothing of it kept; that holds for a video
that was `ready` before, too, since frames of two policies may be mixed by then. Retrying the job, or another ingest,
starts from the beginning. Other jobs keep what they have committed when they are cancelled, and a retry goes on with what
is not done.
"""

from __future__ import annotations

from typing import TypeVar
from uuid import UUID

from argus_ray.catalog import jobs, videos
from argus_ray.catalog.statement import AsyncTx, Statement
from argus_ray.errors import Conflict, Forbidden
from argus_ray.schemas.job import ENDED, Job, JobKind, JobState
from argus_ray.schemas.video import Reingest, VideoState

R = TypeVar("R")


async def reingest(tx: AsyncTx, video_id: UUID, asked: Reingest) -> Job:
    """Ingest a video again, under another policy where one is given. Raises Conflict unless it is ready or failed."""
    video = await to_change(tx, videos.lock(video_id), videos.get(video_id))
    if video.state is VideoState.AWAITING_UPLOAD:
        raise Conflict("the video's bytes have not arrived: complete its upload first", state=video.state)
    if await tx.maybe(videos.take_again(video_id, asked.sampling)) is None:
        active = await tx.one(jobs.active_of_video(video.project_id, video_id))
        raise Conflict(
            f"the video is being ingested by job {active.id}: wait for it, or cancel it", job_id=str(active.id)
        )
    return await tx.one(jobs.insert_ingest(video.project_id, video_id))


async def cancel(tx: AsyncTx, job_id: UUID) -> Job:
    """End a job that has not ended, at once. Again is the same as once. Raises Conflict when it ended otherwise."""
    job = await to_change(tx, jobs.lock(job_id), jobs.get(job_id))
    if job.state is JobState.CANCELLED:
        return job
    if job.state in ENDED:
        raise Conflict(f"the job has {job.state} already: there is nothing to cancel", state=job.state)
    return await tx.one(jobs.cancel(job_id))


async def retry(tx: AsyncTx, job_id: UUID) -> Job:
    """Queue a failed or cancelled job again. Raises Conflict when it is neither, or another took its place."""
    job = await to_change(tx, jobs.lock(job_id), jobs.get(job_id))
    if job.state not in {JobState.FAILED, JobState.CANCELLED}:
        raise Conflict(f"the job is {job.state}: only a failed or cancelled one can be retried", state=job.state)
    if (
        job.kind is JobKind.INGEST
        and job.video_id is not None
        and await tx.maybe(videos.take_again(job.video_id, None)) is None
    ):
        raise Conflict("the video is being ingested by another job, or was deleted: there is nothing to retry")
    return await tx.one(jobs.retry(job_id))


async def to_change(tx: AsyncTx, lock: Statement[R], look: Statement[R]) -> R:
    """The row that `lock` holds until the transaction ends. Raises NotFound as `look` does, else Forbidden."""
    locked = await tx.maybe(lock)
    if locked is None:
        await tx.one(look)
        raise Forbidden("your role in this project does not allow that: ask an owner")
    return locked
