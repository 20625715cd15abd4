"""What a dataset's query finds, in order of video and time, to be read with a cursor in one snapshot.

Every keyframe of a track comes with what the next one says, so that whoever reads along interpolates with no more in
memory than the tracks that are open. A keyframe from which a track is not to be seen passes every filter: without it
the track would go on.
"""

from __future__ import annotations

from typing import Any, LiteralString
from uuid import UUID

from argus_ray.catalog.statement import Statement
from argus_ray.schemas.dataset import DatasetQuery

_VIDEOS: LiteralString = """
    v.project_id = %(project_id)s and v.state = 'ready'
    and (%(videos)s::uuid[] is null or v.id = any (%(videos)s))
    and (%(metadata)s::jsonb is null or v.metadata @> %(metadata)s)
"""


def repeatable() -> Statement[None]:
    """One snapshot for all that the transaction reads. Its first statement."""
    return Statement(type(None), "set transaction isolation level repeatable read")


def _scope(project_id: UUID, query: DatasetQuery) -> dict[str, Any]:
    return {
        "project_id": project_id,
        "videos": query.video_ids,
        "metadata": query.metadata or None,
        "labels": query.label_ids,
    }


def ontology(project_id: UUID, label_ids: list[UUID] | None) -> Statement[dict[str, Any]]:
    """The labels, archived ones too: what was annotated with them keeps its number. Merged ones have nothing left."""
    return Statement(
        dict,
        """
        select id::text, number, name, names, colour, prompts, attributes, archived_at is not null as archived
        from labels
        where project_id = %(project_id)s and merged_into is null and (%(labels)s::uuid[] is null or id = any (%(labels)s))
        order by number
        """,
        project_id=project_id,
        labels=label_ids,
    )


def videos(project_id: UUID, query: DatasetQuery) -> Statement[dict[str, Any]]:
    return Statement(
        dict,
        f"""
        select v.id, v.name, v.width, v.height, v.frame_rate, v.sha256 from videos v where {_VIDEOS} order by v.id
        """,
        **_scope(project_id, query),
    )


def frames(project_id: UUID, query: DatasetQuery) -> Statement[dict[str, Any]]:
    """The pictures kept of those videos."""
    return Statement(
        dict,
        f"""
        select f.video_id, f.pts_us, f.id, f.width, f.height
        from frames f join videos v on v.project_id = f.project_id and v.id = f.video_id
        where f.project_id = %(project_id)s and {_VIDEOS}
        order by f.video_id, f.pts_us
        """,
        **_scope(project_id, query),
    )


def selected(project_id: UUID, query: DatasetQuery) -> Statement[dict[str, Any]]:
    """What the query selects, and of a keyframe the next one of its track as `next_…`."""
    return Statement(
        dict,
        f"""
        select a.video_id, a.pts_us, a.id, a.label_id, t.number as track, a.kind, a.x, a.y, a.w, a.h, a.polygon, a.points,
          a.counts, a.area_px, a.end_us, a.outside, a.occluded,
          case when t.id is null then a.attributes else t.attributes || a.attributes end as attributes, a.score, a.state,
          a.source, m.uri as model, a.reviewed_by,
          lead(a.pts_us) over next as next_pts_us, lead(a.kind) over next as next_kind,
          lead(a.x) over next as next_x, lead(a.y) over next as next_y, lead(a.w) over next as next_w,
          lead(a.h) over next as next_h, lead(a.polygon) over next as next_polygon
        from annotations a
        join videos v on v.project_id = a.project_id and v.id = a.video_id
        left join tracks t on t.project_id = a.project_id and t.id = a.track_id
        left join models m on m.id = a.model_id
        where a.project_id = %(project_id)s and a.deleted_at is null and t.deleted_at is null and {_VIDEOS}
          and (%(labels)s::uuid[] is null or a.label_id = any (%(labels)s))
          and (a.state = any (%(states)s)
               and (%(sources)s::text[] is null or a.source = any (%(sources)s))
               and (%(min_score)s::real is null or a.score is null or a.score >= %(min_score)s)
               or a.outside and a.state <> 'rejected')
        window next as (partition by a.video_id, coalesce(a.track_id, a.id) order by a.pts_us)
        order by a.video_id, a.pts_us, t.number nulls last, a.id
        """,
        **_scope(project_id, query),
        states=[str(state) for state in query.states],
        sources=[str(source) for source in query.sources] if query.sources else None,
        min_score=query.min_score,
    )


def verdicts(project_id: UUID, query: DatasetQuery) -> Statement[dict[str, Any]]:
    return Statement(
        dict,
        f"""
        select w.video_id, w.pts_us, w.label_id, w.verdict
        from verdicts w join videos v on v.project_id = w.project_id and v.id = w.video_id
        where w.project_id = %(project_id)s and {_VIDEOS}
          and (%(labels)s::uuid[] is null or w.label_id = any (%(labels)s))
        order by w.video_id, w.pts_us, w.label_id
        """,
        **_scope(project_id, query),
    )


def vectors(project_id: UUID, video_ids: list[UUID], *, of_each: int) -> Statement[dict[str, Any]]:
    """So many vectors of each of these videos, evenly spread over its frames, under the last model that embedded them."""
    return Statement(
        dict,
        """
        with numbered as (
          select e.video_id, e.pts_us, e.indexed, e.model_number,
            row_number() over one - 1 as place, count(*) over (partition by e.video_id) as number
          from embeddings e
          where e.project_id = %(project_id)s and e.video_id = any (%(videos)s)
            and e.model_number = (select max(l.model_number) from embeddings l
                                  where l.project_id = %(project_id)s and l.video_id = any (%(videos)s))
          window one as (partition by e.video_id order by e.pts_us)
        )
        select n.video_id, e.embedding::real[] as vector
        from numbered n
        join embeddings e on e.project_id = %(project_id)s and e.video_id = n.video_id and e.pts_us = n.pts_us
          and e.model_number = n.model_number and e.indexed = n.indexed
        where n.place * %(of_each)s / n.number <> (n.place - 1) * %(of_each)s / n.number or n.place = 0
        order by n.video_id, n.pts_us
        """,
        project_id=project_id,
        videos=video_ids,
        of_each=of_each,
    )
