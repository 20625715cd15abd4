"""Re-tracking in the catalogue: a track with its keyframes as a run finds them, and what takes the place of the model's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from argus_ray.catalog.statement import Statement
from argus_ray.errors import NotFound


@dataclass(frozen=True)
class Corrected:
    """A track that is to be followed again. `fps` is the rate at which it was followed, null: at the kept frames."""

    track_id: UUID
    video_id: UUID
    label_id: UUID
    phrase: str
    fps: float | None
    first_us: int
    last_us: int


def corrected(project_id: UUID, track_id: UUID) -> Statement[Corrected]:
    return Statement(
        Corrected,
        """
        select t.id as track_id, t.video_id, t.label_id, l.prompts[1] as phrase,
          (j.spec ->> 'fps')::double precision as fps, coalesce(f.first_us, 0) as first_us,
          greatest(f.last_us, case when (j.spec ->> 'fps') is not null then v.duration_us end, 0) as last_us
        from tracks t
        join labels l on l.project_id = t.project_id and l.id = t.label_id
        join videos v on v.project_id = t.project_id and v.id = t.video_id
        left join jobs j on j.id = t.job_id
        cross join lateral (select min(f.pts_us) as first_us, max(f.pts_us) as last_us from frames f
                            where f.project_id = t.project_id and f.video_id = t.video_id) f
        where t.project_id = %(project_id)s and t.id = %(track_id)s and t.deleted_at is null
        """,
        project_id=project_id,
        track_id=track_id,
    ).or_raise(NotFound("the track was deleted meanwhile", track_id=str(track_id)))


@dataclass(frozen=True)
class Key:
    """A keyframe. Its box in fractions of the picture; `counts` of a mask."""

    pts_us: int
    is_human: bool
    outside: bool
    counts: str | None
    x: float
    y: float
    w: float
    h: float


def keys(project_id: UUID, track_id: UUID) -> Statement[Key]:
    """By time. What was drawn, imported or accepted is a person's."""
    return Statement(
        Key,
        """
        select a.pts_us, a.source <> 'model' or a.state = 'accepted' as is_human, a.outside, a.counts, a.x, a.y, a.w, a.h
        from annotations a
        where a.project_id = %(project_id)s and a.track_id = %(track_id)s and a.deleted_at is null
        order by a.pts_us
        """,
        project_id=project_id,
        track_id=track_id,
    )


def times(project_id: UUID, video_id: UUID, *, from_us: int, to_us: int) -> Statement[int]:
    """Of kept frames, both ends included."""
    return Statement(
        int,
        """
        select f.pts_us from frames f
        where f.project_id = %(project_id)s and f.video_id = %(video_id)s and f.pts_us between %(from_us)s and %(to_us)s
        order by f.pts_us
        """,
        project_id=project_id,
        video_id=video_id,
        from_us=from_us,
        to_us=to_us,
    )


def hold(project_id: UUID, track_id: UUID) -> Statement[UUID]:
    """The track, held until the transaction ends: whoever changes its keyframes does so first."""
    return Statement(
        UUID,
        """
        select t.id from tracks t where t.project_id = %(project_id)s and t.id = %(track_id)s and t.deleted_at is null
        for no key update
        """,
        project_id=project_id,
        track_id=track_id,
    ).or_raise(NotFound("the track was deleted meanwhile", track_id=str(track_id)))


def take_back(project_id: UUID, track_id: UUID, times_us: Sequence[int]) -> Statement[None]:
    """Delete the model's keyframes at these times, and nobody else's."""
    return Statement(
        type(None),
        """
        delete from annotations a
        where a.project_id = %(project_id)s and a.track_id = %(track_id)s and a.pts_us = any (%(times)s)
          and a.source = 'model' and a.state <> 'accepted' and a.deleted_at is null
        """,
        project_id=project_id,
        track_id=track_id,
        times=list(times_us),
    )
