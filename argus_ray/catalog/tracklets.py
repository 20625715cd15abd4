"""Tracklets: the pieces of tracks that a job's segments have followed, until they are joined into tracks.

A piece is a row of `tracks` with the number of its segment. What a person has had a hand in is no piece any more: it is
neither joined nor changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString
from uuid import UUID

from psycopg.types.json import Jsonb

from argus_ray.catalog.statement import Statement

_UNTOUCHED: LiteralString = """
    t.job_id = %(job_id)s and t.video_id = %(video_id)s and t.segment_number is not null and t.source = 'model'
    and t.state = 'proposed' and t.version = 1 and t.deleted_at is null and not exists (
      select from annotations a
      where a.project_id = t.project_id and a.track_id = t.id and (a.version > 1 or a.source <> 'model' or a.state <> 'proposed'))
"""


def insert(
    project_id: UUID,
    video_id: UUID,
    *,
    job_id: UUID,
    model_id: UUID,
    segment_number: int,
    rows: Sequence[dict[str, Any]],
) -> Statement[None]:
    """Pieces of a segment, before their keyframes: each has `id`, `label_id`, `score`, `method`, `first_vector` and
    `last_vector`. A label that was merged meanwhile is the one that it went into.
    """
    return Statement(
        type(None),
        """
        insert into tracks (project_id, id, video_id, label_id, source, state, score, method, first_vector, last_vector,
                            segment_number, model_id, job_id)
        select %(project_id)s, r.id, %(video_id)s, coalesce(l.merged_into, l.id), 'model', 'proposed', r.score, r.method,
          r.first_vector, r.last_vector, %(segment_number)s, %(model_id)s, %(job_id)s
        from jsonb_to_recordset(%(rows)s) as r (
          id uuid, label_id uuid, score real, method text, first_vector real[], last_vector real[])
        join labels l on l.project_id = %(project_id)s and l.id = r.label_id
        order by r.id
        on conflict do nothing
        """,
        project_id=project_id,
        video_id=video_id,
        job_id=job_id,
        model_id=model_id,
        segment_number=segment_number,
        rows=Jsonb(list(rows)),
    )


def forget_outside(project_id: UUID, track_ids: Sequence[UUID]) -> Statement[None]:
    """Before `mark_outside`: what it has said before."""
    return Statement(
        type(None),
        """
        delete from annotations a
        where a.project_id = %(project_id)s and a.track_id = any (%(ids)s) and a.outside and a.source = 'model'
          and a.state = 'proposed' and a.version = 1
        """,
        project_id=project_id,
        ids=list(track_ids),
    )


def mark_outside(
    project_id: UUID, track_ids: Sequence[UUID], *, job_id: UUID, model_id: UUID, until_us: int | None = None
) -> Statement[None]:
    """Where these tracks are lost: an `outside` keyframe at the first time at which the job has looked (no later than
    `until_us`) and not found it. Its shape is the last one.
    """
    return Statement(
        type(None),
        """
        with seen as (
          select a.*, lead(a.pts_us) over (partition by a.track_id order by a.pts_us) as next_us from annotations a
          where a.project_id = %(project_id)s and a.track_id = any (%(ids)s) and a.deleted_at is null
        ), lost as (
          select s.*, (
            select min(q.pts_us) from answers q
            where q.project_id = s.project_id and q.video_id = s.video_id and q.label_id = s.label_id
              and q.model_id = %(model_id)s and q.job_id = %(job_id)s and q.pts_us > s.pts_us
              and (%(until_us)s::bigint is null or q.pts_us <= %(until_us)s)) as lost_us
          from seen s where not s.outside
        )
        insert into annotations (project_id, video_id, pts_us, id, label_id, track_id, kind, x, y, w, h, counts, area_px,
                                 outside, source, state, score, method, model_id, job_id)
        select project_id, video_id, lost_us, md5(track_id || '/outside/' || lost_us)::uuid, label_id, track_id, kind,
          x, y, w, h, counts, area_px, true, 'model', 'proposed', score, method, %(model_id)s, %(job_id)s
        from lost where lost_us < coalesce(next_us, lost_us + 1)
        on conflict do nothing
        """,
        project_id=project_id,
        ids=list(track_ids),
        job_id=job_id,
        model_id=model_id,
        until_us=until_us,
    )


@dataclass(frozen=True)
class Range:
    """What a segment that is done has looked at."""

    segment: int
    start_us: int
    end_us: int


def ranges(job_id: UUID, video_id: UUID) -> Statement[Range]:
    return Statement(
        Range,
        """
        select number as segment, (plan ->> 'start_us')::bigint as start_us, (plan ->> 'end_us')::bigint as end_us
        from segments where job_id = %(job_id)s and video_id = %(video_id)s and state = 'done' order by number
        """,
        job_id=job_id,
        video_id=video_id,
    )


@dataclass(frozen=True)
class Piece:
    """`times_us` are those at which it was seen, ascending."""

    id: UUID
    label_id: UUID
    segment: int
    first_vector: list[float] | None
    last_vector: list[float] | None
    times_us: list[int]


def pieces(project_id: UUID, job_id: UUID, video_id: UUID) -> Statement[Piece]:
    """The pieces of a video that nobody has touched, held until the transaction ends."""
    return Statement(
        Piece,
        f"""
        with held as materialized (
          select t.project_id, t.id, t.label_id, t.segment_number, t.first_vector, t.last_vector from tracks t
          where t.project_id = %(project_id)s and {_UNTOUCHED}
          order by t.id for no key update
        )
        select h.id, h.label_id, h.segment_number as segment, h.first_vector, h.last_vector,
          array(select a.pts_us from annotations a
                where a.project_id = h.project_id and a.track_id = h.id and not a.outside and a.deleted_at is null
                order by a.pts_us) as times_us
        from held h
        """,
        project_id=project_id,
        job_id=job_id,
        video_id=video_id,
    )


@dataclass(frozen=True)
class PieceShape:
    track_id: UUID
    pts_us: int
    counts: str


def shapes(project_id: UUID, video_id: UUID, wanted: Sequence[tuple[UUID, int]]) -> Statement[PieceShape]:
    """Masks of pieces at these times."""
    return Statement(
        PieceShape,
        """
        select a.track_id, a.pts_us, a.counts
        from unnest(%(ids)s::uuid[], %(times)s::bigint[]) as w (track_id, pts_us)
        join annotations a on a.project_id = %(project_id)s and a.track_id = w.track_id and a.pts_us = w.pts_us
        where a.video_id = %(video_id)s and a.kind = 'mask' and not a.outside and a.deleted_at is null
        """,
        project_id=project_id,
        video_id=video_id,
        ids=[track_id for track_id, _ in wanted],
        times=[pts_us for _, pts_us in wanted],
    )


def drop_times(project_id: UUID, track_id: UUID, times_us: Sequence[int]) -> Statement[None]:
    """Keyframes of a piece that another piece has at the same time."""
    return Statement(
        type(None),
        """
        delete from annotations a
        where a.project_id = %(project_id)s and a.track_id = %(track_id)s and a.pts_us = any (%(times)s)
        """,
        project_id=project_id,
        track_id=track_id,
        times=list(times_us),
    )


def join(project_id: UUID, first: UUID, others: Sequence[UUID]) -> Statement[None]:
    """Give the first piece what the others have. Run `forget` after it."""
    return Statement(
        type(None),
        """
        with whole as (
          update tracks t set
            last_vector = (select o.last_vector from tracks o
                           where o.project_id = t.project_id and o.id = %(last)s),
            score = (select avg(o.score) from tracks o where o.project_id = t.project_id and o.id = any (%(all)s))
          where t.project_id = %(project_id)s and t.id = %(first)s
        )
        update annotations a set track_id = %(first)s
        where a.project_id = %(project_id)s and a.track_id = any (%(others)s)
        """,
        project_id=project_id,
        first=first,
        last=others[-1],
        all=[first, *others],
        others=list(others),
    )


def forget(project_id: UUID, track_ids: Sequence[UUID]) -> Statement[None]:
    """Pieces that went into others."""
    return Statement(
        type(None),
        "delete from tracks t where t.project_id = %(project_id)s and t.id = any (%(ids)s)",
        project_id=project_id,
        ids=list(track_ids),
    )


def link(project_id: UUID, video_id: UUID, *, job_id: UUID, rows: Sequence[dict[str, Any]]) -> Statement[None]:
    """Note what was joined, and why: `id`, `track_id`, `border_us`, `iou`, `similarity`, `score`."""
    return Statement(
        type(None),
        """
        insert into track_links (project_id, id, video_id, job_id, track_id, border_us, iou, similarity, score)
        select %(project_id)s, r.id, %(video_id)s, %(job_id)s, r.track_id, r.border_us, r.iou, r.similarity, r.score
        from jsonb_to_recordset(%(rows)s) as r (
          id uuid, track_id uuid, border_us bigint, iou real, similarity real, score real)
        on conflict do nothing
        """,
        project_id=project_id,
        video_id=video_id,
        job_id=job_id,
        rows=Jsonb(list(rows)),
    )


def number(project_id: UUID, video_id: UUID, track_ids: Sequence[UUID], *, aside: bool) -> Statement[None]:
    """These are tracks now, and count in the order given from the first number that no other track of the video has.

    Run it twice, first `aside`, above all numbers: no two may have the same at any time.
    """
    return Statement(
        type(None),
        """
        with taken as materialized (
          select pg_advisory_xact_lock(hashtext('argus.tracks'), hashtext(%(video_id)s::text))
        ), high as materialized (
          select coalesce(max(t.number) filter (where t.id <> all (%(ids)s)), 0) as others, max(t.number) as every
          from taken, tracks t where t.project_id = %(project_id)s and t.video_id = %(video_id)s
        )
        update tracks t set segment_number = null,
          number = case when %(aside)s then high.every else high.others end + n.place
        from high, unnest(%(ids)s::uuid[]) with ordinality as n (id, place)
        where t.project_id = %(project_id)s and t.id = n.id
        """,
        project_id=project_id,
        video_id=video_id,
        ids=list(track_ids),
        aside=aside,
    )
