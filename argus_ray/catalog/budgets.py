"""What work costs: device seconds of a project by month, its limit, and the rates by which the next job is estimated.

A second of the device counts the same whether it is a GPU or, where there is none, the CPU that stands in for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from argus_ray.catalog.statement import Statement
from argus_ray.errors import BudgetExceeded


@dataclass(frozen=True)
class Spent:
    """Device seconds of a project's month. `limit_s` is null where no owner has set one; `promised_s` is what its queued
    and running jobs are thought to take still.
    """

    used_s: float
    promised_s: float
    limit_s: int | None

    @property
    def is_used_up(self) -> bool:
        return self.limit_s is not None and self.used_s >= self.limit_s

    def reached(self) -> BudgetExceeded:
        """Why a job ends."""
        return BudgetExceeded(
            f"the project has used {self.used_s:.0f} of its {self.limit_s} GPU-seconds of this month: what was committed "
            "stays; ask an owner to raise gpu_seconds_per_month, or retry the job next month",
            used_s=round(self.used_s, 1),
            limit_s=self.limit_s,
        )


def spent(project_id: UUID, *, now: datetime | None = None) -> Statement[Spent]:
    """How much of its month a project has used. For people and for workers."""
    return Statement(
        Spent,
        """
        select
          coalesce((select sum(u.gpu_seconds) from gpu_usage u
                    where u.project_id = p.id
                      and u.month = date_trunc('month', coalesce(%(now)s::timestamptz, now()) at time zone 'utc')::date), 0
          ) as used_s,
          coalesce((select sum((j.estimate ->> 'gpu_seconds')::double precision * (1 - j.progress)) from jobs j
                    where j.project_id = p.id and j.state in ('queued', 'running')), 0) as promised_s,
          p.gpu_seconds_per_month as limit_s
        from projects p where p.id = %(project_id)s
        """,
        project_id=project_id,
        now=now,
    )


def spend(project_id: UUID, *, kind: str, gpu_seconds: float, frames: int) -> Statement[None]:
    """Add to what the project has used this month."""
    return Statement(
        type(None),
        """
        insert into gpu_usage as u (project_id, month, kind, gpu_seconds, frames)
        values (%(project_id)s, date_trunc('month', now() at time zone 'utc')::date, %(kind)s, %(gpu_seconds)s, %(frames)s)
        on conflict (project_id, month, kind) do update
        set gpu_seconds = u.gpu_seconds + excluded.gpu_seconds, frames = u.frames + excluded.frames
        """,
        project_id=project_id,
        kind=kind,
        gpu_seconds=gpu_seconds,
        frames=frames,
    )


def measure(segment_id: UUID, *, kind: str, model_id: UUID, device: str, labels: int) -> Statement[None]:
    """Let the installation's rate learn from a segment that is done: what its frames, each asked for so many labels, took.

    Old measurements fade, so that a faster device is believed after some thousand questions.
    """
    return Statement(
        type(None),
        """
        insert into measured_rates as r (kind, model_id, device, asked, seconds)
        select %(kind)s, %(model_id)s, %(device)s, s.frames_kept * %(labels)s, s.compute_s
        from segments s where s.id = %(segment_id)s and s.frames_kept > 0 and s.compute_s > 0
        on conflict (kind, model_id, device) do update set
          asked = case when r.asked > 10000 then r.asked / 2 else r.asked end + excluded.asked,
          seconds = case when r.asked > 10000 then r.seconds / 2 else r.seconds end + excluded.seconds, updated_at = now()
        """,
        segment_id=segment_id,
        kind=kind,
        model_id=model_id,
        device=device,
        labels=labels,
    )


@dataclass(frozen=True)
class Rate:
    """Seconds of a device for one label on one frame, measured on so many of them."""

    device: str
    seconds: float
    asked: int


def rate(kind: str, model_uri: str) -> Statement[Rate]:
    """The one measured last for this kind of work with the model of this name. No row: it never ran here."""
    return Statement(
        Rate,
        """
        select r.device, r.seconds / r.asked as seconds, r.asked
        from measured_rates r join models m on m.id = r.model_id
        where r.kind = %(kind)s and m.family = 'sam3' and m.uri = %(model_uri)s and r.asked > 0
        order by r.updated_at desc limit 1
        """,
        kind=kind,
        model_uri=model_uri,
    )
