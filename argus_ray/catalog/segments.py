"""The queue: segments are claimed by a run, started by an extractor, committed chunk by chunk, and end their job.

              claim (fence + 1)            start (attempts + 1)                 the last chunk
    queued ─────────────────────▶ claimed ──────────────────────▶ running ───────────────────────▶ done
      ▲                              │                               │ │      an error of the file
      │         give back, reclaim   │       give back, retry        │ └─────────────────────────▶ failed
      └──────────────────────────────┴───────────────────────────────┘
                                         a cancelled job takes its segments along ▶ cancelled

Claimed is `state = 'running' and started_at is null`. Every statement of a worker names the run and the fence that it
holds, and touches nothing when another holds the segment now: a zombie's commit fails. `ahead` bounds what a run holds
unstarted, since Ray Data counts bytes and would claim the whole queue.

The last segment of a job ends the job: the video is `ready` when any segment kept frames (with a warning for each one
that failed), else `failed` with the first reason. Frames that this job did not name go with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from argus_ray.catalog.statement import Statement
from argus_ray.errors import FenceLost

MOST_PREEMPTIONS = 20
"""After so many lost runs and nodes a start counts as an attempt again: the segment may be what kills them."""


@dataclass(frozen=True)
class Claim:
    """What names a segment and proves who holds it."""

    segment_id: UUID
    run_id: UUID
    fence: int


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


@dataclass(frozen=True)
class Pulse:
    """What a reader asks while it waits: whether its run takes new work, and there is any work left to stay for."""

    accepting: bool
    busy: bool


def _lost(claim: Claim) -> FenceLost:
    return FenceLost(
        f"segment {claim.segment_id} was taken over (fence {claim.fence} is old): nothing was written",
        segment_id=str(claim.segment_id),
    )


# -- the reader ----------------------------------------------------------------------------------


def claim(run_id: UUID, *, ahead: int, no: int, now: datetime | None = None) -> Statement[Claim]:
    """Claim the next segment in turn, if the run is alive, takes new work, and holds fewer than `ahead` unstarted.

    Logs it as what the run's reader yields at place `no`. No row: nothing to claim now. Conflict: another reader of the
    same run was first at this place; `said` tells what it claimed.
    """
    return Statement(
        Claim,
        """
        with clock as (
          select coalesce(%(now)s::timestamptz, now()) as now
        ), room as (
          select from runs r, clock
          where r.id = %(run_id)s and r.lease_until > clock.now and r.accepts_until > clock.now
            and %(ahead)s > (select count(*) from segments h
                             where h.run_id = r.id and h.state = 'running' and h.started_at is null)
        ), next as materialized (
          select s.id from segments s, clock
          where s.state = 'queued' and s.not_before <= clock.now and exists (select from room)
          order by s.priority desc, s.turn, s.job_id, s.number
          limit 1 for update of s skip locked
        ), claimed as (
          update segments s set
            state = 'running', run_id = %(run_id)s, fence = s.fence + 1, claimed_at = clock.now, started_at = null,
            started_on = null, progressed_at = null, progress = 0, chunks = '{}', chunk_count = null, frames_kept = 0,
            frames_dropped = 0, warnings = '[]', reason = null
          from next, clock where s.id = next.id
          returning s.id, s.fence
        )
        insert into claims (run_id, no, segment_id, fence)
        select %(run_id)s, %(no)s, id, fence from claimed
        returning segment_id, run_id, fence
        """,
        run_id=run_id,
        ahead=ahead,
        no=no,
        now=now,
    )


def said(run_id: UUID, *, since: int = 0) -> Statement[Claim]:
    """What the run's reader has yielded, in order, from place `since` on. A retried reader says it again first."""
    return Statement(
        Claim,
        "select segment_id, run_id, fence from claims where run_id = %(run_id)s and no >= %(since)s order by no",
        run_id=run_id,
        since=since,
    )


def pulse(run_id: UUID, *, now: datetime | None = None) -> Statement[Pulse]:
    """Whether the run takes new work, and whether any is queued (be it for later) or in its hands."""
    return Statement(
        Pulse,
        """
        select
          exists (select from runs r, (select coalesce(%(now)s::timestamptz, now()) as now) t
                  where r.id = %(run_id)s and r.lease_until > t.now and r.accepts_until > t.now) as accepting,
          exists (select from segments s where s.state = 'queued')
            or exists (select from segments s where s.run_id = %(run_id)s and s.state = 'running') as busy
        """,
        run_id=run_id,
        now=now,
    )


# -- the extractor -------------------------------------------------------------------------------


def started_before(claim: Claim) -> Statement[str]:
    """The Ray node on which this very claim was started already, if it was: Ray calls again when an actor dies."""
    return Statement(
        str,
        """
        select started_on from segments
        where id = %(segment_id)s and run_id = %(run_id)s and fence = %(fence)s and state = 'running'
          and started_on is not null
        """,
        **vars(claim),
    )


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


def held(claim: Claim) -> Statement[int]:
    """One row while the claim is good: asked between chunks, so that cancelled work ends soon."""
    return Statement(
        int,
        """
        select 1 from segments
        where id = %(segment_id)s and run_id = %(run_id)s and fence = %(fence)s and state = 'running'
        """,
        **vars(claim),
    )


def touch(claim: Claim) -> Statement[int]:
    """Say that the work goes on, where it has nothing to show for a while. Raises FenceLost."""
    return Statement(
        int,
        """
        update segments set progressed_at = now()
        where id = %(segment_id)s and run_id = %(run_id)s and fence = %(fence)s and state = 'running'
        returning number
        """,
        **vars(claim),
    ).or_raise(_lost(claim))


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
    ).or_raise(_lost(claim))


def retry(claim: Claim, *, max_attempts: int, base_s: float = 2, cap_s: float = 300) -> Statement[int]:
    """The attempt failed and the next may do better: back into the queue, later and later (capped, with jitter).

    No row: the attempts are used up, or another holds the segment.
    """
    return Statement(
        int,
        """
        update segments s set
          state = 'queued', run_id = null, started_at = null, started_on = null,
          not_before = now() + make_interval(secs =>
            least(%(cap_s)s, %(base_s)s * 2 ^ least(s.attempts - 1, 30)) * (0.5 + random() / 2))
        where s.id = %(segment_id)s and s.run_id = %(run_id)s and s.fence = %(fence)s and s.state = 'running'
          and s.attempts < %(max_attempts)s
        returning attempts
        """,
        max_attempts=max_attempts,
        base_s=base_s,
        cap_s=cap_s,
        **vars(claim),
    )


def give_back(claim: Claim, *, base_s: float = 5, cap_s: float = 300) -> Statement[int]:
    """What the work needs is away (S3, the node): back into the queue for later, and the attempt does not count.

    No row: another holds the segment.
    """
    return Statement(
        int,
        """
        update segments s set
          state = 'queued', run_id = null, attempts = greatest(s.attempts - (s.started_at is not null)::integer, 0),
          preemptions = s.preemptions + 1, started_at = null, started_on = null,
          not_before = now() + make_interval(secs =>
            least(%(cap_s)s, %(base_s)s * 2 ^ least(s.preemptions, 30)) * (0.5 + random() / 2))
        where s.id = %(segment_id)s and s.run_id = %(run_id)s and s.fence = %(fence)s and s.state = 'running'
        returning preemptions
        """,
        base_s=base_s,
        cap_s=cap_s,
        **vars(claim),
    )


# -- the writer ----------------------------------------------------------------------------------


def lock_job(job_id: UUID) -> Statement[str]:
    """The job's state, its row locked: whoever may end a job takes it before anything else, so that of two last
    segments one sees the other.
    """
    return Statement(str, "select state from jobs where id = %(job_id)s for no key update", job_id=job_id)


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
    ).or_raise(_lost(claim))


def finish(claim: Claim) -> Statement[UUID]:
    """End a segment, all of whose chunks are written. Raises FenceLost."""
    return Statement(
        UUID,
        """
        update segments set state = 'done', progress = 1
        where id = %(segment_id)s and run_id = %(run_id)s and fence = %(fence)s and state = 'running'
        returning job_id
        """,
        **vars(claim),
    ).or_raise(_lost(claim))


def fail(claim: Claim, reason: dict[str, Any]) -> Statement[UUID]:
    """End a segment that cannot be done. Run `settle` after it, in the same transaction. Raises FenceLost."""
    return Statement(
        UUID,
        """
        update segments set state = 'failed', reason = %(reason)s, frames_kept = 0, frames_dropped = 0
        where id = %(segment_id)s and run_id = %(run_id)s and fence = %(fence)s and state = 'running'
        returning job_id
        """,
        reason=reason,
        **vars(claim),
    ).or_raise(_lost(claim))


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


# -- the run and the dispatcher ------------------------------------------------------------------


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


def reclaim(
    *, stale_s: float, nodes: Sequence[str] | None = None, lost_node_s: float = 60, now: datetime | None = None
) -> Statement[UUID]:
    """Give back what lapsed runs held, what was started on a node that is none of `nodes` (the living, where that is
    known) and has not moved for `lost_node_s`, and what shows no progress for `stale_s`.

    With a lost run or node the attempt does not count; a segment that stands still may be the cause itself, and its does.
    """
    return Statement(
        UUID,
        """
        with clock as (
          select coalesce(%(now)s::timestamptz, now()) as now
        ), held as (
          select s.id, r.id is null as orphaned,
            coalesce(s.started_on <> all (%(nodes)s::text[]), false) as node_lost,
            clock.now - coalesce(s.progressed_at, s.claimed_at) as still
          from clock, segments s left join runs r on r.id = s.run_id and r.lease_until > (select now from clock)
          where s.state = 'running'
        ), lost as materialized (
          select s.id, held.orphaned or held.node_lost as innocent
          from held join segments s on s.id = held.id
          where s.state = 'running'
            and (held.orphaned or held.node_lost and held.still > make_interval(secs => %(lost_node_s)s)
                 or held.still > make_interval(secs => %(stale_s)s))
          for update of s skip locked
        )
        update segments s set
          state = 'queued', run_id = null, preemptions = s.preemptions + 1,
          attempts = s.attempts - (lost.innocent and s.started_at is not null and s.attempts > 0
                                   and s.preemptions < %(most)s)::integer,
          started_at = null, started_on = null, not_before = clock.now
        from lost, clock where s.id = lost.id
        returning s.id
        """,
        stale_s=stale_s,
        nodes=list(nodes) if nodes is not None else None,
        lost_node_s=lost_node_s,
        most=MOST_PREEMPTIONS,
        now=now,
    )


@dataclass(frozen=True)
class Depth:
    queued: int
    running: int


def depth() -> Statement[Depth]:
    """How many segments wait, counted no further than says "very many", and how many runs hold."""
    return Statement(
        Depth,
        """
        select (select count(*) from (select from segments where state = 'queued' limit 100000) q) as queued,
               (select count(*) from segments where state = 'running') as running
        """,
    )


def wanted() -> Statement[bool]:
    """Whether a run of ingest would find work: a segment is queued and due."""
    return Statement(bool, "select exists (select from segments where state = 'queued' and not_before <= now())")
