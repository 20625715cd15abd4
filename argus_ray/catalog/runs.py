"""Runs: one execution of a pipeline, and the lease that keeps everything it has claimed.

                place                     retire                        release
    (none) ──────────────▶ in its pool ────────────▶ finishing ─────────────────▶ (none)
                               │  takes new work       │  takes nothing new, keeps what it holds
                               └───────────────────────┴──▶ lapsed: whoever finds it gives its segments back

One run of a pool is alive at a time, since the pool's name is the key of its row. A run that is too old leaves that name
to the next one and goes on under its own id until it holds nothing: code and models are renewed so.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from argus_ray.catalog.statement import Statement
from argus_ray.errors import FenceLost


@dataclass(frozen=True)
class Run:
    id: UUID
    pool: str
    kind: str
    ray_job_id: str | None
    lease_until: datetime
    accepts_until: datetime


def place(
    run_id: UUID,
    *,
    pool: str,
    kind: str,
    lease_s: float,
    max_life_s: float,
    ray_job_id: str | None = None,
    now: datetime | None = None,
) -> Statement[Run]:
    """Take the pool's place, if nobody alive has it: no row otherwise."""
    return Statement(
        Run,
        """
        insert into runs (pool, id, kind, ray_job_id, started_at, lease_until, accepts_until)
        select %(pool)s, %(id)s, %(kind)s, %(ray_job_id)s, t.now,
               t.now + make_interval(secs => %(lease_s)s), t.now + make_interval(secs => %(max_life_s)s)
        from (select coalesce(%(now)s::timestamptz, now()) as now) t
        on conflict (pool) do update set
          id = excluded.id, kind = excluded.kind, ray_job_id = excluded.ray_job_id, started_at = excluded.started_at,
          lease_until = excluded.lease_until, accepts_until = excluded.accepts_until
        where runs.lease_until < excluded.started_at
        returning id, pool, kind, ray_job_id, lease_until, accepts_until
        """,
        id=run_id,
        pool=pool,
        kind=kind,
        ray_job_id=ray_job_id,
        lease_s=lease_s,
        max_life_s=max_life_s,
        now=now,
    )


def renew(run_id: UUID, *, lease_s: float, now: datetime | None = None) -> Statement[Run]:
    """Keep everything that the run holds. Raises FenceLost when its place was taken.

    A lease that lapsed while Postgres was away is renewed too: where its segments were given back meanwhile, the fences
    know.
    """
    return Statement(
        Run,
        """
        update runs set lease_until = coalesce(%(now)s::timestamptz, now()) + make_interval(secs => %(lease_s)s)
        where id = %(id)s
        returning id, pool, kind, ray_job_id, lease_until, accepts_until
        """,
        id=run_id,
        lease_s=lease_s,
        now=now,
    ).or_raise(FenceLost(f"run {run_id} was taken for dead and has lost its place: what it held is with others"))


def retire(run_id: UUID) -> Statement[None]:
    """Leave the pool's name to the next run, and take nothing new."""
    return Statement(
        type(None),
        """
        update runs set pool = pool || '/' || id, accepts_until = least(accepts_until, now())
        where id = %(id)s and pool not like '%%/' || id
        """,
        id=run_id,
    )


def release(run_id: UUID) -> Statement[None]:
    """The run is over. Whatever it still holds lapses with this."""
    return Statement(
        type(None),
        """
        with forgotten as (delete from claims where run_id = %(id)s)
        delete from runs where id = %(id)s
        """,
        id=run_id,
    )


def bury(*, now: datetime | None = None) -> Statement[UUID]:
    """Forget runs whose lease lapsed and that hold nothing any more, and what readers of forgotten runs have said."""
    return Statement(
        UUID,
        """
        with buried as (
          delete from runs r
          where r.lease_until < coalesce(%(now)s::timestamptz, now())
            and not exists (select from segments s where s.run_id = r.id and s.state = 'running')
          returning id
        ), forgotten as (
          delete from claims c where not exists (select from runs r where r.id = c.run_id)
        )
        select id from buried
        """,
        now=now,
    )


def accepting(pool: str, *, now: datetime | None = None) -> Statement[Run]:
    """The run that takes new work in this pool, if there is one."""
    return Statement(
        Run,
        """
        select id, pool, kind, ray_job_id, lease_until, accepts_until from runs,
          (select coalesce(%(now)s::timestamptz, now()) as now) t
        where pool = %(pool)s and lease_until > t.now and accepts_until > t.now
        """,
        pool=pool,
        now=now,
    )


def clock() -> Statement[float]:
    """Postgres's time, in seconds since 1970: the same for everybody who asks."""
    return Statement(float, "select extract(epoch from now())::double precision")
