"""Jobs as people ask for them, watch them and end them. How they are worked off stands in segments.py and work.py."""

from __future__ import annotations

from datetime import datetime
from typing import LiteralString
from uuid import UUID

from argus_ray.catalog.statement import Statement
from argus_ray.errors import JobCancelled, NotFound
from argus_ray.schemas.job import Estimate, Job, Spec

_DONE: LiteralString = (
    "(case when state = 'running' and progress > resumed_at_progress then progress - resumed_at_progress end)"
)
_RUN_FOR_S: LiteralString = "greatest(extract(epoch from now() - started_at), 0.001)"
COLUMNS: LiteralString = f"""
    id, project_id, kind, state, video_id, spec, estimate, priority, progress, attempts, reason, result,
    cancel_requested_at, created_at, started_at, finished_at,
    ((estimate ->> 'frames')::double precision * {_DONE} / {_RUN_FOR_S})::double precision as frames_per_s,
    ({_RUN_FOR_S} * (1 - progress) / {_DONE})::double precision as eta_s
"""


def insert_ingest(project_id: UUID, video_id: UUID, *, priority: int = 0) -> Statement[Job]:
    """Ask for a video's ingest; triggers give it its turn and its first segment, and wake the dispatcher."""
    return Statement(
        Job,
        f"""
        insert into jobs (project_id, kind, video_id, priority, created_by)
        values (%(project_id)s, 'ingest', %(video_id)s, %(priority)s, user_id())
        returning {COLUMNS}
        """,
        project_id=project_id,
        video_id=video_id,
        priority=priority,
    )


def insert(
    project_id: UUID, *, kind: str, spec: Spec, estimate: Estimate, priority: int = 0, video_id: UUID | None = None
) -> Statement[Job]:
    """Ask for any other work; triggers cut it into segments. Raises InvalidRequest where there is nothing to do."""
    return Statement(
        Job,
        f"""
        insert into jobs (project_id, kind, video_id, spec, estimate, priority, created_by)
        values (%(project_id)s, %(kind)s, %(video_id)s, %(spec)s, %(estimate)s, %(priority)s, user_id())
        returning {COLUMNS}
        """,
        project_id=project_id,
        kind=kind,
        video_id=video_id,
        spec=spec,
        estimate=estimate,
        priority=priority,
    )


def get(job_id: UUID) -> Statement[Job]:
    return Statement(Job, f"select {COLUMNS} from jobs where id = %(id)s", id=job_id).or_raise(
        NotFound("there is no such job, or it is not yours")
    )


def lock(job_id: UUID) -> Statement[Job]:
    """The job, held until the transaction ends. No row: it is not there, or the caller may not change it."""
    return Statement(
        Job,
        f"""
        select {COLUMNS} from jobs
        where id = %(id)s and project_id in (select my_projects('editor'))
        for update
        """,
        id=job_id,
    )


def first_of_video(project_id: UUID, video_id: UUID) -> Statement[Job]:
    """The ingest that the upload's end asked for."""
    return Statement(
        Job,
        f"""
        select {COLUMNS} from jobs
        where project_id = %(project_id)s and video_id = %(video_id)s and kind = 'ingest'
        order by created_at, id limit 1
        """,
        project_id=project_id,
        video_id=video_id,
    )


def active_of_video(project_id: UUID, video_id: UUID) -> Statement[Job]:
    """The ingest that is queued or running, if there is one."""
    return Statement(
        Job,
        f"""
        select {COLUMNS} from jobs
        where project_id = %(project_id)s and video_id = %(video_id)s and kind = 'ingest'
          and state in ('queued', 'running')
        """,
        project_id=project_id,
        video_id=video_id,
    )


def page(
    project_id: UUID,
    *,
    kind: str | None = None,
    states: list[str] | None = None,
    video_id: UUID | None = None,
    after: tuple[datetime, UUID] | None,
    rows: int,
) -> Statement[Job]:
    """Newest first."""
    created_at, job_id = after or (None, None)
    return Statement(
        Job,
        f"""
        select {COLUMNS} from jobs
        where project_id = %(project_id)s
          and (%(kind)s::text is null or kind = %(kind)s)
          and (%(states)s::text[] is null or state = any (%(states)s))
          and (%(video_id)s::uuid is null or video_id = %(video_id)s)
          and (%(created_at)s::timestamptz is null or (created_at, id) < (%(created_at)s, %(id)s::uuid))
        order by created_at desc, id desc limit %(rows)s
        """,
        project_id=project_id,
        kind=kind,
        states=states,
        video_id=video_id,
        created_at=created_at,
        id=job_id,
        rows=rows,
    )


def cancel(job_id: UUID) -> Statement[Job]:
    """End it now. What runs of it loses its fence, so that nothing more of it is written, and its video fails with the
    same reason.
    """
    return Statement(
        Job,
        f"""
        update jobs set state = 'cancelled', cancel_requested_at = now(), finished_at = now(), reason = %(reason)s
        where id = %(id)s and state in ('queued', 'running')
        returning {COLUMNS}
        """,
        id=job_id,
        reason=JobCancelled("a person cancelled it: retry the job to go on").reason(),
    )


def retry(job_id: UUID) -> Statement[Job]:
    """Queue it again in a new turn: an ingest from its beginning, other work with what it has not done."""
    return Statement(
        Job,
        f"""
        update jobs set state = 'queued', progress = 0, reason = null, result = null, cancel_requested_at = null,
          started_at = null, finished_at = null
        where id = %(id)s and state in ('failed', 'cancelled')
        returning {COLUMNS}
        """,
        id=job_id,
    )
