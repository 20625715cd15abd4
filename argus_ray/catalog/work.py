"""Segments of every job that is not an ingest: started, committed chunk by chunk, and what their end means for the job.

How they are queued, claimed, given back and ended stands in segments.py. What is committed stays, whatever becomes of the
rest: a job has succeeded when any of its segments is done (and names what is missing among its warnings), and failed with
the first reason when none is. Its progress is the share of its frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from argus_ray.catalog.segments import MOST_PREEMPTIONS, Claim, lost
from argus_ray.catalog.statement import Statement


@dataclass(frozen=True)
class Started:
    """What whoever has started a segment needs to know of it. `plan` and `video_id` are null where the job is one piece.

    `asked_by` is the person who asked for the job, as `user:…`; null: an API key, or Argus itself.
    """

    segment_id: UUID
    run_id: UUID
    fence: int
    attempts: int
    number: int
    plan: dict[str, Any] | None
    frames_total: int | None
    job_id: UUID
    kind: str
    spec: dict[str, Any]
    project_id: UUID
    video_id: UUID | None
    asked_by: str | None

    @property
    def claim(self) -> Claim:
        return Claim(self.segment_id, self.run_id, self.fence)


@dataclass(frozen=True)
class Joined:
    """`is_new`: the chunk was not in the segment's set, and its effects are to be written. `is_complete`: all of them are
    in it now.
    """

    is_new: bool
    is_complete: bool


def start(claim: Claim, *, node: str | None = None, preempted: bool = False) -> Statement[Started]:
    """Mark the start of the work, which counts as an attempt and frees a place ahead; the job runs from now on.

    `node` is Ray's, null where the work is the run's own process. `preempted`: this claim was started before on a node
    that is lost, and the attempt is given back. No row: another holds the segment.
    """
    return Statement(
        Started,
        """
        with started as (
          update segments s set
            attempts = s.attempts + case when %(preempted)s and s.preemptions < %(most)s then 0 else 1 end,
            preemptions = s.preemptions + %(preempted)s::integer,
            started_at = now(), started_on = %(node)s, progressed_at = now()
          where s.id = %(segment_id)s and s.run_id = %(run_id)s and s.fence = %(fence)s and s.state = 'running'
          returning s.*
        ), job as (
          update jobs j set
            state = 'running', started_at = coalesce(j.started_at, now()), attempts = greatest(j.attempts, started.attempts),
            resumed_at_progress = case when j.state <> 'queued' then j.resumed_at_progress else coalesce(
              (select (sum(coalesce(d.frames_total, 1)) filter (where d.state = 'done'))::real
                      / greatest(sum(coalesce(d.frames_total, 1)), 1)
               from segments d where d.job_id = j.id), 0) end
          from started
          where j.id = started.job_id and (j.state = 'queued' or j.state = 'running' and j.attempts < started.attempts)
        )
        select s.id as segment_id, s.run_id, s.fence, s.attempts, s.number, s.plan, s.frames_total, s.job_id, s.kind,
          j.spec, s.project_id, s.video_id, 'user:' || j.created_by as asked_by
        from started s join jobs j on j.id = s.job_id
        cross join lateral (select pg_notify('argus_segments', '')) told
        """,
        node=node,
        preempted=preempted,
        most=MOST_PREEMPTIONS,
        **vars(claim),
    )


def join(
    claim: Claim,
    *,
    chunk: int,
    last: bool,
    frames: int,
    found: int,
    compute_s: float,
    progress: float,
    warnings: Sequence[dict[str, Any]] = (),
) -> Statement[Joined]:
    """A chunk's number joins the segment's set. Run it before the chunk's effects, in their transaction.

    `frames` it is about, `found` in them, `compute_s` of the model's device it took. Again is the same as once. Raises
    FenceLost.
    """
    return Statement(
        Joined,
        """
        with before as materialized (
          select s.id, %(chunk)s <> all (s.chunks) as is_new from segments s
          where s.id = %(segment_id)s and s.run_id = %(run_id)s and s.fence = %(fence)s and s.state = 'running'
          for no key update
        )
        update segments s set
          chunks = case when b.is_new then s.chunks || %(chunk)s::integer else s.chunks end,
          chunk_count = case when %(last)s then %(chunk)s + 1 else s.chunk_count end,
          frames_kept = s.frames_kept + case when b.is_new then %(frames)s else 0 end,
          found = s.found + case when b.is_new then %(found)s else 0 end,
          compute_s = s.compute_s + case when b.is_new then %(compute_s)s::double precision else 0 end,
          warnings = s.warnings || case when b.is_new then %(warnings)s else '[]' end,
          progress = greatest(s.progress, %(progress)s::real), progressed_at = now()
        from before b where s.id = b.id
        returning b.is_new, coalesce(cardinality(s.chunks) = s.chunk_count, false) as is_complete
        """,
        chunk=chunk,
        last=last,
        frames=frames,
        found=found,
        compute_s=compute_s,
        progress=progress,
        warnings=Jsonb(list(warnings)),
        **vars(claim),
    ).or_raise(lost(claim))


def tell(claim: Claim, *, progress: float) -> Statement[int]:
    """Say how far the work of one piece is, and that it goes on. Raises FenceLost."""
    return Statement(
        int,
        """
        update segments set progressed_at = now(), progress = greatest(progress, least(%(progress)s, 1)::real)
        where id = %(segment_id)s and run_id = %(run_id)s and fence = %(fence)s and state = 'running'
        returning number
        """,
        progress=progress,
        **vars(claim),
    ).or_raise(lost(claim))


def report(job_id: UUID, result: dict[str, Any]) -> Statement[None]:
    """What the job has to say; `settle` adds its counts and warnings."""
    return Statement(
        type(None),
        "update jobs set result = coalesce(result, '{}') || %(result)s where id = %(job_id)s",
        job_id=job_id,
        result=Jsonb(result),
    )


def settle(job_id: UUID) -> Statement[str]:
    """End the job if nothing of it is queued or held any more; its new state, or no row.

    Run it after `lock_job`, in the transaction that ended a segment. A job whose segments went with their videos has
    succeeded in what was left.
    """
    return Statement(
        str,
        """
        with counted as materialized (
          select j.id, coalesce(bool_or(s.state = 'done'), true) as any_done,
            (array_agg(s.reason order by s.number) filter (where s.state = 'failed'))[1] as reason,
            jsonb_strip_nulls(jsonb_build_object(
              'frames', case when bool_or(s.frames_total is not null) then sum(s.frames_kept) end,
              'found', case when bool_or(s.frames_total is not null) then sum(s.found) end,
              'gpu_seconds', case when sum(s.compute_s) > 0 then round(sum(s.compute_s)::numeric, 3) end,
              'segments_done', count(*) filter (where s.state = 'done'),
              'segments_failed', count(*) filter (where s.state = 'failed'))) as counts,
            coalesce((select jsonb_agg(w order by t.number, w.place)
                      from segments t, jsonb_array_elements(t.warnings) with ordinality as w (w, place)
                      where t.job_id = j.id), '[]')
            || coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
              'type', 'segment-failed', 'detail', s.reason ->> 'detail', 'video_id', s.video_id,
              'ranges_us', case when s.plan is not null then
                jsonb_build_array(jsonb_build_array(s.plan -> 'start_us', s.plan -> 'end_us')) end)) order by s.number)
              filter (where s.state = 'failed'), '[]') as warnings
          from jobs j left join segments s on s.job_id = j.id
          where j.id = %(job_id)s and j.state in ('queued', 'running') and j.kind <> 'ingest'
          group by j.id
          having count(*) filter (where s.state in ('queued', 'running')) = 0
        )
        update jobs j set
          state = case when any_done then 'succeeded' else 'failed' end, progress = 1, finished_at = now(),
          reason = case when not any_done then c.reason end,
          result = coalesce(j.result, '{}') || c.counts || jsonb_build_object('warnings',
            coalesce(j.result -> 'warnings', '[]') || c.warnings)
        from counted c where j.id = c.id
        returning j.state
        """,
        job_id=job_id,
    )


def stop(job_id: UUID, reason: dict[str, Any]) -> Statement[str]:
    """End a job where it is, keeping what is committed: its segments lose their fence. Run it after `lock_job`."""
    return Statement(
        str,
        """
        update jobs j set state = 'cancelled', finished_at = now(), reason = %(reason)s,
          result = coalesce(j.result, '{}') || (
            select jsonb_build_object('frames', coalesce(sum(s.frames_kept), 0), 'found', coalesce(sum(s.found), 0),
              'gpu_seconds', round(coalesce(sum(s.compute_s), 0)::numeric, 3),
              'segments_done', count(*) filter (where s.state = 'done'))
            from segments s where s.job_id = j.id)
        where j.id = %(job_id)s and j.state in ('queued', 'running')
        returning j.state
        """,
        job_id=job_id,
        reason=reason,
    )


def left_alone(*, now: datetime | None = None) -> Statement[UUID]:
    """Running jobs of which nothing is queued or held: what was left of them went with its videos. Settle them."""
    return Statement(
        UUID,
        """
        select j.id from jobs j
        where j.state in ('queued', 'running') and j.kind <> 'ingest'
          and j.created_at < coalesce(%(now)s::timestamptz, now())
          and not exists (select from segments s where s.job_id = j.id and s.state in ('queued', 'running'))
        """,
        now=now,
    )


def others_of_video(claim: Claim) -> Statement[int]:
    """How many other segments of the same job and video have not ended. Run it after `lock_job`."""
    return Statement(
        int,
        """
        select count(*) from segments s join segments mine on mine.job_id = s.job_id and mine.video_id = s.video_id
        where mine.id = %(segment_id)s and s.id <> mine.id and s.state in ('queued', 'running')
        """,
        segment_id=claim.segment_id,
    )


def progress(job_ids: Sequence[UUID]) -> Statement[None]:
    """Tell jobs how far their segments are, by frames. Run it at most once a second."""
    return Statement(
        type(None),
        """
        with far as materialized (
          select s.job_id,
            (sum(coalesce(s.frames_total, 1) * case when s.state in ('done', 'failed') then 1 else s.progress end)
             / greatest(sum(coalesce(s.frames_total, 1)), 1))::real as progress
          from segments s where s.job_id = any (%(job_ids)s)
          group by s.job_id
        )
        update jobs j set progress = least(far.progress, 1) from far
        where j.id = far.job_id and j.state = 'running' and j.progress <> far.progress
        """,
        job_ids=list(job_ids),
    )
