"""The queue: segments of one kind of work are claimed by a run, started by a stage, committed chunk by chunk, and end
their job.

              claim (fence + 1)            start (attempts + 1)                 the last chunk
    queued ─────────────────────▶ claimed ──────────────────────▶ running ───────────────────────▶ done
      ▲                              │                               │ │      an error of the file
      │         give back, reclaim   │       give back, retry        │ └─────────────────────────▶ failed
      └──────────────────────────────┴───────────────────────────────┘
                                         a cancelled job takes its segments along ▶ cancelled

Claimed is `state = 'running' and started_at is null`. Every statement of a worker names the run and the fence that it
holds, and touches nothing when another holds the segment now: a zombie's commit fails. `ahead` bounds what a run holds
unstarted, since Ray Data counts bytes and would claim the whole queue.

What a start and an end mean beside that stands in ingest.py for an ingest, whose video they change, and in work.py for
every other kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from argus_ray.catalog.statement import Statement
from argus_ray.errors import FenceLost
from argus_ray.schemas.job import JobKind

MOST_PREEMPTIONS = 20
"""After so many lost runs and nodes a start counts as an attempt again: the segment may be what kills them."""


@dataclass(frozen=True)
class Claim:
    """What names a segment and proves who holds it."""

    segment_id: UUID
    run_id: UUID
    fence: int


@dataclass(frozen=True)
class Pulse:
    """What a reader asks while it waits: whether its run takes new work, whether there is any work left to stay for, and
    whether work of another kind waits for a place on the machine.
    """

    accepting: bool
    busy: bool
    others_wait: bool


def lost(claim: Claim) -> FenceLost:
    """What a statement says that found another holding the segment."""
    return FenceLost(
        f"segment {claim.segment_id} was taken over (fence {claim.fence} is old): nothing was written",
        segment_id=str(claim.segment_id),
    )


# -- the reader ----------------------------------------------------------------------------------


def claim(
    run_id: UUID, *, ahead: int, no: int, kind: str = JobKind.INGEST, now: datetime | None = None
) -> Statement[Claim]:
    """Claim the kind's next segment in turn, if the run is alive, takes new work, and holds fewer than `ahead` unstarted.

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
          where s.state = 'queued' and s.kind = %(kind)s and s.not_before <= clock.now and exists (select from room)
          order by s.priority desc, s.turn, s.job_id, s.number
          limit 1 for update of s skip locked
        ), claimed as (
          update segments s set
            state = 'running', run_id = %(run_id)s, fence = s.fence + 1, claimed_at = clock.now, started_at = null,
            started_on = null, progressed_at = null, progress = 0, chunks = '{}', chunk_count = null, frames_kept = 0,
            frames_dropped = 0, found = 0, compute_s = 0, warnings = '[]', reason = null
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
        kind=kind,
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


def pulse(run_id: UUID, *, kinds: Sequence[str] = (JobKind.INGEST,), now: datetime | None = None) -> Statement[Pulse]:
    """Whether the run takes new work, and whether any of its kinds is queued (be it for later) or in its hands.

    Work of another kind waits where some is due, or claimed, and none is under way: its run may want for logical CPUs.
    """
    return Statement(
        Pulse,
        """
        with clock as (select coalesce(%(now)s::timestamptz, now()) as now)
        select
          exists (select from runs r, clock
                  where r.id = %(run_id)s and r.lease_until > clock.now and r.accepts_until > clock.now) as accepting,
          exists (select from segments s where s.state = 'queued' and s.kind = any (%(kinds)s))
            or exists (select from segments s where s.run_id = %(run_id)s and s.state = 'running') as busy,
          exists (
            select from unnest(%(others)s::text[]) as other (kind), clock
            where not exists (select from segments s
                              where s.state = 'running' and s.kind = other.kind and s.started_at is not null)
              and (exists (select from segments s where s.state = 'running' and s.kind = other.kind)
                   or (select true from segments s
                       where s.state = 'queued' and s.kind = other.kind and s.not_before <= clock.now
                       order by s.priority desc, s.turn, s.job_id, s.number limit 1))  -- in the order of its index
          ) as others_wait
        """,
        run_id=run_id,
        kinds=[str(kind) for kind in kinds],
        others=[str(other) for other in JobKind if other not in kinds],
        now=now,
    )


# -- the stage that starts it -------------------------------------------------------------------------------


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
    ).or_raise(lost(claim))


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
    ).or_raise(lost(claim))


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
    ).or_raise(lost(claim))


# -- the run and the dispatcher ------------------------------------------------------------------


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


def depth(kind: str = JobKind.INGEST) -> Statement[Depth]:
    """How many segments of a kind wait, counted no further than says "very many", and how many runs hold."""
    return Statement(
        Depth,
        """
        select (select count(*) from (select from segments where state = 'queued' and kind = %(kind)s limit 100000) q) as queued,
               (select count(*) from segments where state = 'running' and kind = %(kind)s) as running
        """,
        kind=kind,
    )


def wanted(kind: str = JobKind.INGEST) -> Statement[bool]:
    """Whether a run of that kind would find work: a segment is queued and due."""
    return Statement(
        bool,
        "select exists (select from segments where state = 'queued' and kind = %(kind)s and not_before <= now())",
        kind=kind,
    )
