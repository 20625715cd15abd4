"""An ingest's segments: started and planned by an extractor, committed chunk by chunk, and what their end means for the
video. How they are queued, claimed and given back stands in segments.py.

The last segment of a job ends the job: the video is `ready` when any segment kept frames (with a warning for each one
that failed), else `failed` with the first reason. Frames that this job did not name go with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from argus_ray.catalog.segments import MOST_PREEMPTIONS, Claim, lost
from argus_ray.catalog.statement import Statement


@dataclass(frozen=True)
class Started:
    """What an extractor needs to know of a segment it has started. `plan` is null where nobody has probed the video."""

    segment_id: UUID
    run_id: UUID
    fence: int
    attempts: int
    number: int
    plan: dict[str, Any] | None
    job_id: UUID
    project_id: UUID
    video_id: UUID
    name: str
    source_uri: str | None
    size_bytes: int | None
    sha256_to_check: str | None
    sampling: dict[str, Any]
    probe: dict[str, Any] | None

    @property
    def claim(self) -> Claim:
        return Claim(self.segment_id, self.run_id, self.fence)


def start(claim: Claim, *, node: str, preempted: bool = False) -> Statement[Started]:
    """Mark the start of the work, which counts as an attempt and frees a place ahead; the job runs from now on.

    `preempted`: this claim was started before on a node that is lost, and the attempt is given back. No row: another
    holds the segment.
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
            state = 'running', started_at = coalesce(j.started_at, now()), attempts = greatest(j.attempts, started.attempts)
          from started
          where j.id = started.job_id and (j.state = 'queued' or j.state = 'running' and j.attempts < started.attempts)
        ), video as (
          update videos v set state = 'processing', progress = 0, reason = null
          from started
          where v.project_id = started.project_id and v.id = started.video_id and v.state in ('uploaded', 'ready', 'failed')
        )
        select s.id as segment_id, s.run_id, s.fence, s.attempts, s.number, s.plan, s.job_id, s.project_id, s.video_id,
          v.name, v.source_uri, v.size_bytes, coalesce(v.sampling, p.sampling) as sampling, v.probe,
          case when exists (select from uploads u
                            where u.project_id = s.project_id and u.video_id = s.video_id
                              and u.kind = 'multipart' and u.state = 'completed') then v.sha256 end as sha256_to_check
        from started s
        join videos v on v.project_id = s.project_id and v.id = s.video_id
        join projects p on p.id = s.project_id
        cross join lateral (select pg_notify('argus_segments', '')) told
        """,
        node=node,
        preempted=preempted,
        most=MOST_PREEMPTIONS,
        **vars(claim),
    )


def plan(claim: Claim, *, facts: dict[str, Any], plans: Sequence[dict[str, Any]]) -> Statement[int]:
    """Write a probed video's facts and its segments: the first plan is this segment's, the others queue behind it.

    `facts` has the columns of a video that a probe knows. A retried extractor writes the same again. Raises FenceLost.
    """
    return Statement(
        int,
        """
        with held as (
          update segments s set plan = %(plans)s::jsonb -> 0, progressed_at = now()
          where s.id = %(segment_id)s and s.run_id = %(run_id)s and s.fence = %(fence)s and s.state = 'running'
          returning s.*
        ), known as (
          update videos v set
            container = f.container, codec = f.codec, width = f.width, height = f.height, duration_us = f.duration_us,
            start_us = f.start_us, frame_rate = f.frame_rate, variable_frame_rate = f.variable_frame_rate,
            probe = %(facts)s::jsonb -> 'probe', warnings = coalesce(f.warnings, '[]')
          from held, jsonb_to_record(%(facts)s::jsonb) as f (
            container text, codec text, width integer, height integer, duration_us bigint, start_us bigint,
            frame_rate double precision, variable_frame_rate boolean, warnings jsonb)
          where v.project_id = held.project_id and v.id = held.video_id
        ), more as (
          insert into segments (project_id, job_id, video_id, number, plan, priority, turn)
          select held.project_id, held.job_id, held.video_id, p.place - 1, p.plan, held.priority, held.turn + p.place - 1
          from held, jsonb_array_elements(%(plans)s::jsonb) with ordinality as p (plan, place)
          where p.place > 1
          on conflict (job_id, number) do nothing
        )
        select held.number from held cross join lateral (select pg_notify('argus_segments', '')) told
        """,
        facts=facts,
        plans=list(plans),
        **vars(claim),
    ).or_raise(lost(claim))


def join_chunk(
    claim: Claim,
    *,
    chunk: int,
    last: bool,
    kept: int,
    dropped: int,
    progress: float,
    warnings: Sequence[dict[str, Any]] = (),
) -> Statement[bool]:
    """A chunk's number joins the segment's set; true when the set is complete. Run it with the chunk's frames, in one
    transaction. Again is the same as once. Raises FenceLost.
    """
    return Statement(
        bool,
        """
        update segments s set
          chunks = case when %(chunk)s = any (s.chunks) then s.chunks else s.chunks || %(chunk)s::integer end,
          chunk_count = case when %(last)s then %(chunk)s + 1 else s.chunk_count end,
          frames_kept = s.frames_kept + case when %(chunk)s = any (s.chunks) then 0 else %(kept)s end,
          frames_dropped = s.frames_dropped + case when %(chunk)s = any (s.chunks) then 0 else %(dropped)s end,
          warnings = s.warnings || case when %(chunk)s = any (s.chunks) then '[]' else %(warnings)s end,
          progress = greatest(s.progress, %(progress)s::real), progressed_at = now()
        where s.id = %(segment_id)s and s.run_id = %(run_id)s and s.fence = %(fence)s and s.state = 'running'
        returning coalesce(cardinality(s.chunks) = s.chunk_count, false)
        """,
        chunk=chunk,
        last=last,
        kept=kept,
        dropped=dropped,
        progress=progress,
        warnings=Jsonb(list(warnings)),
        **vars(claim),
    ).or_raise(lost(claim))


def settle(job_id: UUID) -> Statement[str]:
    """End the job if its last segment has ended, and its video with it; the video's new state, or no row.

    Run it after `lock_job`, in the transaction that ended a segment.
    """
    return Statement(
        str,
        """
        with ended as materialized (
          select s.job_id, s.project_id, s.video_id,
            coalesce(sum(s.frames_kept) filter (where s.state = 'done'), 0) as kept,
            coalesce(sum(s.frames_dropped) filter (where s.state = 'done'), 0) as dropped,
            bool_or(s.state = 'done') as any_done,
            array_agg(s.number) filter (where s.state = 'failed') as failed,
            (array_agg(s.reason order by s.number) filter (where s.state = 'failed'))[1] as reason,
            coalesce((select jsonb_agg(w order by t.number, w.place)
                      from segments t, jsonb_array_elements(t.warnings) with ordinality as w (w, place)
                      where t.job_id = s.job_id and t.state = 'done'), '[]') as warnings,
            coalesce(jsonb_agg(jsonb_build_object(
              'type', 'segment-failed', 'detail', s.reason ->> 'detail',
              'ranges_us', jsonb_build_array(jsonb_build_array(s.plan -> 'start_us', s.plan -> 'end_us'))) order by s.number)
              filter (where s.state = 'failed'), '[]') as losses
          from segments s where s.job_id = %(job_id)s
          group by s.job_id, s.project_id, s.video_id
          having count(*) filter (where s.state in ('queued', 'running')) = 0
        ), verdict as materialized (
          select *, case when failed is null or kept > 0 then 'ready' else 'failed' end as outcome from ended
          where exists (select from jobs j where j.id = ended.job_id and j.state = 'running')
        ), job as (
          update jobs j set
            state = case outcome when 'ready' then 'succeeded' else 'failed' end, progress = 1, finished_at = now(),
            reason = case outcome when 'failed' then verdict.reason end,
            result = jsonb_build_object('frames_kept', kept, 'frames_dropped', dropped)
          from verdict where j.id = verdict.job_id
        ), video as (
          update videos v set
            state = outcome, reason = case outcome when 'failed' then verdict.reason end,
            progress = case outcome when 'ready' then 1 else v.progress end,
            frames_kept = case outcome when 'ready' then kept else 0 end,
            frames_dropped = case outcome when 'ready' then dropped else 0 end,
            warnings = v.warnings || verdict.warnings || case outcome when 'ready' then losses else '[]' end,
            ready_at = case outcome when 'ready' then now() else v.ready_at end
          from verdict where v.project_id = verdict.project_id and v.id = verdict.video_id
        )
        select outcome from verdict cross join lateral doom_frames(
          project_id, video_id, case outcome when 'ready' then job_id end, coalesce(failed, '{}')) as gone
        """,
        job_id=job_id,
    )


def progress(job_ids: Sequence[UUID]) -> Statement[None]:
    """Tell videos and jobs how far their segments are. Run it at most once a second."""
    return Statement(
        type(None),
        """
        with far as materialized (
          select s.job_id, s.project_id, s.video_id, sum(s.frames_kept) as kept, sum(s.frames_dropped) as dropped,
            (sum(case when s.state in ('done', 'failed') then 1 else s.progress end) / count(*))::real as progress
          from segments s where s.job_id = any (%(job_ids)s)
          group by s.job_id, s.project_id, s.video_id
        ), shown as (
          update videos v set progress = far.progress, frames_kept = far.kept, frames_dropped = far.dropped
          from far
          where v.project_id = far.project_id and v.id = far.video_id and v.state = 'processing'
            and (v.progress, v.frames_kept, v.frames_dropped) is distinct from (far.progress, far.kept, far.dropped)
        )
        update jobs j set progress = far.progress from far
        where j.id = far.job_id and j.state = 'running' and j.progress <> far.progress
        """,
        job_ids=list(job_ids),
    )
