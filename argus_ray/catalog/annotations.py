"""Annotations as people see, make and change them. What a model or an import brings stands in arriving.py.

A row holds one shape in columns of its own; what people see of it (`_SHOWN`) is built here, for one row and for windows of
ten thousand alike. A deleted one keeps its row, so that it can be restored; nothing else here sees it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString
from uuid import UUID

from psycopg.types.json import Jsonb

from argus_ray.catalog.statement import Statement
from argus_ray.errors import NotFound
from argus_ray.schemas.annotation import Annotation, AnnotationFilter, Reviewed, State

SHOWN: LiteralString = """
    a.id, a.project_id, a.video_id, a.pts_us, a.end_us, a.label_id, a.track_id, a.kind,
    case when a.x is not null then json_build_object('x', a.x, 'y', a.y, 'w', a.w, 'h', a.h) end as box, a.polygon,
    case when a.counts is not null
         then json_build_object('size', json_build_array(v.height, v.width), 'counts', a.counts) end as mask,
    a.points, a.area_px, a.outside, a.occluded, false as interpolated, a.attributes, a.source, a.state, a.reason, a.score,
    a.presence, a.method, a.model_id, a.job_id, a.author, a.reviewed_by,
    to_char(a.reviewed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as reviewed_at, a.version,
    to_char(a.created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as created_at,
    to_char(a.updated_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as updated_at
"""
_OF_VIDEO: LiteralString = "join videos v on v.project_id = a.project_id and v.id = a.video_id"
_EDITED: LiteralString = """
    label_id, kind, x, y, w, h, polygon, points, counts, area_px, end_us, outside, occluded, attributes, source, state, reason
"""
_FILTERED: LiteralString = """
    a.project_id = %(project_id)s and a.deleted_at is null
    and (%(video_ids)s::uuid[] is null or a.video_id = any (%(video_ids)s))
    and (%(label_ids)s::uuid[] is null or a.label_id = any (%(label_ids)s))
    and (%(track_ids)s::uuid[] is null or a.track_id = any (%(track_ids)s))
    and (%(job_id)s::uuid is null or a.job_id = %(job_id)s)
    and (%(model_id)s::uuid is null or a.model_id = %(model_id)s)
    and (%(source)s::text[] is null or a.source = any (%(source)s))
    and (%(from_us)s::bigint is null or a.pts_us >= %(from_us)s)
    and (%(to_us)s::bigint is null or a.pts_us < %(to_us)s)
    and (%(min_score)s::double precision is null or a.score >= %(min_score)s)
    and (%(max_score)s::double precision is null or a.score <= %(max_score)s)
"""
NO_ANNOTATION = NotFound("there is no such annotation, or it is not yours")

Row = dict[str, Any]
"""The columns of one annotation."""


@dataclass(frozen=True)
class Canvas:
    """What an annotation of a video is measured by: its size in pixels as displayed, and the times of its frames.

    Sizes are null until the video has been probed.
    """

    video_id: UUID
    width: int | None
    height: int | None
    first_us: int
    last_us: int


def canvases(project_id: UUID, video_ids: Sequence[UUID]) -> Statement[Canvas]:
    """Those of these videos that the project has."""
    return Statement(
        Canvas,
        """
        select v.id as video_id, v.width, v.height, least(0, f.first_us) as first_us,
          greatest(v.duration_us, f.last_us, 0) as last_us
        from videos v, lateral (
          select min(f.pts_us) as first_us, max(f.pts_us) as last_us from frames f
          where f.project_id = v.project_id and f.video_id = v.id) f
        where v.project_id = %(project_id)s and v.id = any (%(ids)s) and v.state <> 'deleted'
        """,
        project_id=project_id,
        ids=list(video_ids),
    )


def insert(project_id: UUID, rows: Sequence[Row]) -> Statement[Annotation]:
    """All of them, in their order; a row without an id gets one. A person's, or a proposal that a person asked a model for:
    its author is whoever is signed in.
    """
    return Statement(
        Annotation,
        f"""
        with given as materialized (
          select coalesce(r.id, uuid_v7()) as new_id, r.*
          from rows from (jsonb_to_recordset(%(rows)s) as (
            id uuid, video_id uuid, pts_us bigint, label_id uuid, track_id uuid, kind text, x double precision,
            y double precision, w double precision, h double precision, polygon jsonb, points jsonb, counts text,
            area_px integer, end_us bigint, outside boolean, occluded boolean, attributes jsonb, source text, state text,
            score real, presence real, method text, model_id uuid)) with ordinality r
        ), made as (
          insert into annotations (
            project_id, video_id, pts_us, id, label_id, track_id, kind, x, y, w, h, polygon, points, counts, area_px,
            end_us, outside, occluded, attributes, source, state, score, presence, method, model_id)
          select %(project_id)s, video_id, pts_us, new_id, label_id, track_id, kind, x, y, w, h, polygon, points, counts,
            area_px, end_us, coalesce(outside, false), coalesce(occluded, false), coalesce(attributes, '{{}}'), source, state,
            score, presence, method, model_id
          from given
          returning *
        )
        select {SHOWN} from made a {_OF_VIDEO} join given g on g.new_id = a.id order by g.ordinality
        """,
        project_id=project_id,
        rows=Jsonb(list(rows)),
    )


def get(annotation_id: UUID) -> Statement[Annotation]:
    return Statement(
        Annotation,
        f"select {SHOWN} from annotations a {_OF_VIDEO} where a.id = %(id)s and a.deleted_at is null",
        id=annotation_id,
    ).or_raise(NO_ANNOTATION)


def get_even_deleted(annotation_id: UUID) -> Statement[Annotation]:
    """One that was deleted too."""
    return Statement(
        Annotation, f"select {SHOWN} from annotations a {_OF_VIDEO} where a.id = %(id)s", id=annotation_id
    ).or_raise(NO_ANNOTATION)


def update(annotation_id: UUID, changes: Row, versions: list[int] | None) -> Statement[Annotation]:
    """Change these of its columns. No row: see `edit` in the API's dependencies."""
    return Statement(
        Annotation,
        f"""
        with changed as (
          update annotations a set ({_EDITED}) = (
            select {_EDITED} from jsonb_populate_record(a, %(changes)s))
          where a.id = %(id)s and a.deleted_at is null
            and (%(versions)s::bigint[] is null or a.version = any (%(versions)s))
          returning *
        )
        select {SHOWN} from changed a {_OF_VIDEO}
        """,
        id=annotation_id,
        changes=Jsonb(changes),
        versions=versions,
    )


def delete(annotation_id: UUID, versions: list[int] | None) -> Statement[UUID]:
    """Delete it; it can be restored."""
    return Statement(
        UUID,
        """
        update annotations set deleted_at = now()
        where id = %(id)s and deleted_at is null and (%(versions)s::bigint[] is null or version = any (%(versions)s))
        returning id
        """,
        id=annotation_id,
        versions=versions,
    )


def restore(annotation_id: UUID, version: int, versions: list[int] | None) -> Statement[Annotation]:
    """As it was at that version, a deleted one too. It stays a keyframe of the track that it is one of now, whose label it
    has; the label of another is the one that its own was merged into, where it was.
    """
    return Statement(
        Annotation,
        f"""
        with restored as (
          update annotations a set ({_EDITED}) = (
            select {_EDITED} from jsonb_populate_record(null::annotations, h.row || jsonb_build_object('label_id',
              case when a.track_id is not null then a.label_id else l.id end))),
            deleted_at = null
          from history h, (
            select l.project_id, l.id as was, coalesce(l.merged_into, l.id) as id from labels l) l
          where a.id = %(id)s and h.subject_id = a.id and h.project_id = a.project_id and h.version = %(version)s
            and l.project_id = h.project_id and l.was = (h.row ->> 'label_id')::uuid
            and (%(versions)s::bigint[] is null or a.version = any (%(versions)s))
          returning a.*
        )
        select {SHOWN} from restored a {_OF_VIDEO}
        """,
        id=annotation_id,
        version=version,
        versions=versions,
    )


# -- windows ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shown:
    """An annotation as the JSON text that people get, and its place."""

    pts_us: int
    id: UUID
    track_id: UUID | None
    item: str


def window(
    project_id: UUID,
    video_id: UUID,
    *,
    from_us: int | None = None,
    to_us: int | None = None,
    label_ids: Sequence[UUID] | None = None,
    states: Sequence[str] | None = None,
    track_ids: Sequence[UUID] | None = None,
    after: tuple[int, UUID] | None = None,
    rows: int,
) -> Statement[Shown]:
    """What lies in a time window of a video, `to_us` not included, and tags that began before it and last into it: the first
    rows by (pts_us, id), themselves in no order, since to sort ten thousand texts takes Postgres longer than to write them.
    """
    after_us, after_id = after or (None, None)
    wanted: LiteralString = """
        a.project_id = %(project_id)s and a.video_id = %(video_id)s and a.deleted_at is null
        and (%(label_ids)s::uuid[] is null or a.label_id = any (%(label_ids)s))
        and (%(states)s::text[] is null or a.state = any (%(states)s))
        and (%(track_ids)s::uuid[] is null or a.track_id = any (%(track_ids)s))
    """
    in_window: LiteralString = " and a.pts_us >= %(first_us)s" if from_us is not None or after_us is not None else ""
    if to_us is not None:
        in_window += " and a.pts_us < %(to_us)s"
    if after_us is not None:
        in_window += " and (a.pts_us, a.id) > (%(after_us)s, %(after_id)s)"
    lasting: LiteralString = ""
    if from_us is not None:
        unseen: LiteralString = " and (a.pts_us, a.id) > (%(after_us)s, %(after_id)s)" if after_us is not None else ""
        lasting = f"""
          union all
          select a.* from annotations a
          where {wanted} and a.end_us > %(from_us)s and a.pts_us < %(from_us)s {unseen}
        """
    return Statement(
        Shown,
        f"""
        with found as (
          select f.* from (
            (select a.* from annotations a where {wanted} {in_window} order by a.pts_us, a.id limit %(rows)s)
            {lasting}
          ) f order by f.pts_us, f.id limit %(rows)s
        )
        select s.pts_us, s.id, s.track_id, row_to_json(s)::text as item
        from (select {SHOWN} from found a {_OF_VIDEO}) s
        """,
        project_id=project_id,
        video_id=video_id,
        from_us=from_us,
        first_us=max(bound for bound in (from_us, after_us) if bound is not None)
        if from_us is not None or after_us is not None
        else None,
        to_us=to_us,
        label_ids=None if label_ids is None else list(label_ids),
        states=None if states is None else list(states),
        track_ids=None if track_ids is None else list(track_ids),
        after_us=after_us,
        after_id=after_id,
        rows=rows,
    )


@dataclass(frozen=True)
class KeyframeRow:
    """A keyframe: its shape, where that moves, and the JSON text that people get of it."""

    track_id: UUID
    pts_us: int
    kind: str
    x: float | None
    y: float | None
    w: float | None
    h: float | None
    polygon: list[Any] | None
    outside: bool
    occluded: bool
    item: str


def keyframes(
    project_id: UUID,
    video_id: UUID,
    from_us: int,
    to_us: int,
    *,
    label_ids: Sequence[UUID] | None = None,
    states: Sequence[str] | None = None,
    track_ids: Sequence[UUID] | None = None,
) -> Statement[KeyframeRow]:
    """Of the tracks that are there at some time from `from_us` to `to_us`, both included: the keyframes in it, and one before
    and one after. Those that were rejected are none, unless asked for.
    """
    return Statement(
        KeyframeRow,
        f"""
        with followed as (
          select t.project_id, t.id from tracks t
          where t.project_id = %(project_id)s and t.video_id = %(video_id)s and t.deleted_at is null and t.keyframes > 0
            and t.start_us <= %(to_us)s and t.end_us >= %(from_us)s
            and (%(label_ids)s::uuid[] is null or t.label_id = any (%(label_ids)s))
            and (%(track_ids)s::uuid[] is null or t.id = any (%(track_ids)s))
        ), bounds as (
          select f.project_id, f.id,
            coalesce((select max(k.pts_us) from annotations k
                      where k.project_id = f.project_id and k.track_id = f.id and k.deleted_at is null
                        and k.pts_us <= %(from_us)s and k.state = any (%(states)s)), %(from_us)s) as from_us,
            coalesce((select min(k.pts_us) from annotations k
                      where k.project_id = f.project_id and k.track_id = f.id and k.deleted_at is null
                        and k.pts_us >= %(to_us)s and k.state = any (%(states)s)), %(to_us)s) as to_us
          from followed f
        )
        select s.track_id, s.pts_us, s.kind, s.x, s.y, s.w, s.h, s.polygon, s.outside, s.occluded, s.item from (
          select a.track_id, a.pts_us, a.kind, a.x, a.y, a.w, a.h, a.polygon, a.outside, a.occluded,
            row_to_json(i)::text as item
          from bounds b
          join annotations a on a.project_id = b.project_id and a.track_id = b.id and a.deleted_at is null
            and a.pts_us between b.from_us and b.to_us and a.state = any (%(states)s)
          {_OF_VIDEO}, lateral (select {SHOWN}) i
        ) s order by s.track_id, s.pts_us
        """,
        project_id=project_id,
        video_id=video_id,
        from_us=from_us,
        to_us=to_us,
        label_ids=None if label_ids is None else list(label_ids),
        states=list(states or [State.PROPOSED, State.ACCEPTED]),
        track_ids=None if track_ids is None else list(track_ids),
    )


# -- many at once ----------------------------------------------------------------------------------


def accept(project_id: UUID, which: AnnotationFilter) -> Statement[Reviewed]:
    """Accept all that the filter lets through, and the tracks of which that is a keyframe; of what is proposed, unless the
    filter says otherwise.
    """
    return Statement(
        Reviewed,
        f"""
        with changed as (
          update annotations a set state = 'accepted', reason = null
          where {_FILTERED} and a.state = any (%(states)s) and a.state <> 'accepted'
          returning a.track_id
        ), followed as (
          update tracks t set state = 'accepted', reason = null
          where t.project_id = %(project_id)s and t.id in (select track_id from changed) and t.state <> 'accepted'
          returning 1
        )
        select (select count(*) from changed) as annotations, (select count(*) from followed) as tracks
        """,
        **_filter(project_id, which),
    )


def reject(project_id: UUID, which: AnnotationFilter, reason: str) -> Statement[Reviewed]:
    """Reject all that the filter lets through, and the tracks that have nothing else left; of what is proposed, unless the
    filter says otherwise.
    """
    return Statement(
        Reviewed,
        f"""
        with changed as (
          update annotations a set state = 'rejected', reason = %(reason)s
          where {_FILTERED} and a.state = any (%(states)s) and a.state <> 'rejected'
          returning a.id, a.track_id
        ), followed as (
          update tracks t set state = 'rejected', reason = %(reason)s
          where t.project_id = %(project_id)s and t.id in (select track_id from changed) and t.state <> 'rejected'
            and not exists (
              select from annotations k
              where k.project_id = t.project_id and k.track_id = t.id and k.deleted_at is null and k.state <> 'rejected'
                and k.id not in (select id from changed))
          returning 1
        )
        select (select count(*) from changed) as annotations, (select count(*) from followed) as tracks
        """,
        reason=reason,
        **_filter(project_id, which),
    )


def _filter(project_id: UUID, which: AnnotationFilter) -> dict[str, Any]:
    given = {name: value for name, value in which if name != "state"}
    return {"project_id": project_id, "states": list(which.state or [State.PROPOSED]), **given}


def delete_all(project_id: UUID, annotation_ids: Sequence[UUID]) -> Statement[None]:
    """Delete these; each can be restored."""
    return Statement(
        type(None),
        """
        update annotations set deleted_at = now()
        where project_id = %(project_id)s and id = any (%(ids)s) and deleted_at is null
        """,
        project_id=project_id,
        ids=list(annotation_ids),
    )
