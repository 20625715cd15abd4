"""Jobs: ask, list, watch, cancel, try again."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.requests import Request
from fastapi.responses import Response

from argus_ray import asking, auth, ingests
from argus_ray.catalog import jobs
from argus_ray.catalog.connect import as_caller
from argus_ray.schemas.common import Page
from argus_ray.schemas.job import ENDED, Estimate, Job, JobCreate, JobKind, JobState
from serve_apps.api.dependencies import Caller, EditableProjectId, NewestFirst, ProjectId, Settings, UserTx, newest
from serve_apps.api.problems import documented
from serve_apps.api.route import Idempotent, Route

FIRST_LOOK_S, LONGEST_PAUSE_S = 0.1, 0.5
_places_to_wait = asyncio.Semaphore(50)
"""Who waits holds one of the requests that a replica answers at a time (100): half of them are for everybody else."""

router = APIRouter(prefix="/v1", tags=["jobs"], route_class=Route, responses=documented(401))


@router.get("/projects/{project_id}/jobs", operation_id="list_jobs", responses=documented(404, 422))
async def list_jobs(
    project_id: ProjectId,
    paging: NewestFirst,
    tx: UserTx,
    kind: Annotated[JobKind | None, Query(description="Of this kind.")] = None,
    state: Annotated[list[JobState] | None, Query(max_length=5, description="In one of these states.")] = None,
    video_id: Annotated[UUID | None, Query(description="Of this video.")] = None,
) -> Page[Job]:
    """The project's jobs, newest first."""
    states = [str(one) for one in state] if state else None
    found = jobs.page(project_id, kind=kind, states=states, video_id=video_id, after=paging.after, rows=paging.rows)
    return paging.page(await tx.all(found), newest)


@router.post(
    "/projects/{project_id}/jobs",
    status_code=201,
    operation_id="create_job",
    dependencies=[Idempotent],
    responses=documented(402, 403, 404, 422, 503),
)
async def create_job(
    project_id: EditableProjectId, asked: JobCreate, tx: UserTx, settings: Settings, response: Response
) -> Job:
    """Ask for work: label frames by a model, follow things through videos, freeze, export, import. Its `estimate` says what
    it is thought to take; a project that has set `gpu_seconds_per_month` refuses what would pass it.
    """
    job = await asking.ask(tx, project_id, asked, sam3_model=settings.sam3_model)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job


@router.post("/projects/{project_id}/jobs:estimate", operation_id="estimate_job", responses=documented(403, 404, 422))
async def estimate_job(project_id: ProjectId, asked: JobCreate, tx: UserTx, settings: Settings) -> Estimate:
    """How many frames such a job is about, and about how many GPU-seconds it takes, without queueing it."""
    return await asking.estimate(tx, project_id, asked.spec, sam3_model=settings.sam3_model)


@router.post(
    "/jobs/{job_id}:cancel",
    operation_id="cancel_job",
    dependencies=[Idempotent],
    responses=documented(403, 404, 409, 422),
)
async def cancel_job(job_id: UUID, tx: UserTx) -> Job:
    """End a job that is queued or running, at once. The video of an ingest has failed then, and can be ingested again;
    other work keeps what it has committed.
    """
    return await ingests.cancel(tx, job_id)


@router.post(
    "/jobs/{job_id}:retry",
    operation_id="retry_job",
    dependencies=[Idempotent],
    responses=documented(403, 404, 409, 422),
)
async def retry_job(job_id: UUID, tx: UserTx) -> Job:
    """Queue a failed or cancelled job again. An ingest starts from its beginning; other work goes on with what it has not
    done, on the frames that it was queued for.
    """
    return await ingests.retry(tx, job_id)


@router.get("/jobs/{job_id}", operation_id="get_job", responses=documented(404, 422))
async def get_job(
    job_id: UUID,
    who: Caller,
    request: Request,
    response: Response,
    wait: Annotated[int, Query(ge=0, le=60, description="Seconds to wait for the job to end.")] = 0,
) -> Job:
    """A job. With `wait` the answer comes when it has ended, or after that time, or at once when too many wait already.

    `Retry-After` says when to ask again for one that has not ended.
    """
    if wait and not _places_to_wait.locked():
        async with _places_to_wait:
            job = await _look(job_id, who, request, wait)
    else:
        job = await _look(job_id, who, request, 0)
    if job.state not in ENDED:
        response.headers["Retry-After"] = "2"
    return job


async def _look(job_id: UUID, who: auth.Caller, request: Request, wait_s: float) -> Job:
    """The job when it has ended, or after that time; no connection is held meanwhile."""
    end, pause = time.monotonic() + wait_s, FIRST_LOOK_S
    while True:
        async with as_caller(request.app.state.database, who.claims) as tx:
            job = await tx.one(jobs.get(job_id))
        left = end - time.monotonic()
        if job.state in ENDED or left <= 0 or await request.is_disconnected():
            return job
        await asyncio.sleep(min(pause, left))
        pause = min(pause * 1.5, LONGEST_PAUSE_S)
