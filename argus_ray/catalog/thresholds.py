"""What people have said about models' scores, and what is accepted by it.

A trial is one proposal of a model that a person has judged: what they accepted, rejected, corrected or deleted. All the
keyframes of a track are one trial, whose score is the mean of theirs: a person judges an object, and a hundred keyframes
of it are no hundred independent words. What `auto` accepted is nobody's word, and neither is an API key's.

A correction makes an annotation a person's; the last version that was the model's is in the history. It is a trial that was
accepted where the box that is there now and the model's overlap by half (IoU), under the same label; else the model was
wrong. What a person deletes was not there. A label counts as the one that it was merged into.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from argus_ray.catalog.statement import Statement
from argus_ray.errors import NotFound
from argus_ray.schemas.review import AutoAcceptedLabel, Threshold


@dataclass(frozen=True)
class Trials:
    """Of one model and label: scores, and whether each was accepted, in no order."""

    label_id: UUID
    name: str
    model_id: UUID
    scores: list[float]
    accepted: list[bool]


def settings(project_id: UUID) -> Statement[dict]:  # type: ignore[type-arg]  # as asked of a row
    """The project's own settings, as `settings`."""
    return Statement(dict, "select settings from projects where id = %(id)s", id=project_id).or_raise(
        NotFound("there is no such project, or it is not yours")
    )


def trials(project_id: UUID, label_ids: Sequence[UUID] | None) -> Statement[Trials]:
    return Statement(
        Trials,
        """
        with words as (
          select coalesce(m.label_id, a.label_id) as label_id, a.model_id, a.track_id, a.id, a.score,
            a.deleted_at is null and a.state = 'accepted' and coalesce(m.label_id, a.label_id) = a.label_id as accepted
          from annotations a
          left join tracks t on t.project_id = a.project_id and t.id = a.track_id
          -- the label under which the model followed a track that a person has given another
          left join lateral (
            select coalesce(l.merged_into, l.id) as label_id
            from history h join labels l on l.project_id = h.project_id and l.id = (h.row ->> 'label_id')::uuid
            where h.subject_id = t.id and h.project_id = t.project_id and h.row ->> 'source' = 'model'
            order by h.version desc limit 1) m on t.source = 'human'
          where a.project_id = %(project_id)s and a.source = 'model' and not a.outside
            and case when a.deleted_at is null then a.state <> 'proposed' and starts_with(a.reviewed_by, 'user:')
                     -- the end of a track that is cut off says when an object has left, not that there was none
                     else a.state <> 'accepted' and (a.track_id is null or t.deleted_at is not null) end
          union all
          select m.label_id, m.model_id, a.track_id, a.id, m.score,
            a.deleted_at is null and a.state = 'accepted' and a.label_id = m.label_id
              and (a.kind = 'tag' or m.x is null or coalesce(i.area / nullif(a.w * a.h + m.w * m.h - i.area, 0), 0) >= 0.5)
          from annotations a
          cross join lateral (
            select coalesce(l.merged_into, l.id) as label_id, made.model_id, made.score, made.x, made.y, made.w, made.h
            from history h, jsonb_to_record(h.row) as made (
              label_id uuid, model_id uuid, score real, x float8, y float8, w float8, h float8), labels l
            where h.subject_id = a.id and h.project_id = a.project_id and h.row ->> 'source' = 'model'
              and l.project_id = h.project_id and l.id = made.label_id
            order by h.version desc limit 1) m
          cross join lateral (
            select greatest(0, least(a.x + a.w, m.x + m.w) - greatest(a.x, m.x))
                 * greatest(0, least(a.y + a.h, m.y + m.h) - greatest(a.y, m.y)) as area) i
          where a.project_id = %(project_id)s and a.source = 'human' and a.model_id is not null
        ), judged as (
          select w.label_id, w.model_id, avg(w.score) as score, avg(w.accepted::integer) > 0.5 as accepted
          from words w where w.score is not null and w.model_id is not null
          group by w.label_id, w.model_id, coalesce(w.track_id, w.id)
        )
        select l.id as label_id, l.name, j.model_id, array_agg(j.score) as scores, array_agg(j.accepted) as accepted
        from judged j join labels l on l.project_id = %(project_id)s and l.id = j.label_id and l.archived_at is null
        where %(label_ids)s::uuid[] is null or l.id = any (%(label_ids)s)
        group by l.id, l.name, l.number, j.model_id order by l.number, j.model_id
        """,
        project_id=project_id,
        label_ids=_listed(label_ids),
    )


def keep(
    project_id: UUID, label_ids: Sequence[UUID] | None, learnt: dict[str, dict[str, Any]], at: datetime
) -> Statement[None]:
    """What was learnt, by label and model, is all that these labels have learnt. What stays the same keeps its time."""
    return Statement(
        type(None),
        """
        update labels l
        set learnt = case when %(learnt)s::jsonb ? l.id::text
                          then jsonb_build_object('at', %(at)s::timestamptz, 'models', %(learnt)s::jsonb -> l.id::text) end
        where l.project_id = %(project_id)s and l.archived_at is null
          and (%(label_ids)s::uuid[] is null or l.id = any (%(label_ids)s))
          and l.learnt -> 'models' is distinct from %(learnt)s::jsonb -> l.id::text
        """,
        project_id=project_id,
        label_ids=_listed(label_ids),
        learnt=learnt,
        at=at,
    )


def listed(project_id: UUID) -> Statement[Threshold]:
    """What the project's labels have learnt, in the order of their numbers."""
    return Statement(
        Threshold,
        """
        select l.id as label_id, l.name, m.key::uuid as model_id, (l.learnt ->> 'at')::timestamptz as at, r.*
        from labels l, jsonb_each(l.learnt -> 'models') m, jsonb_to_record(m.value) as r (
          threshold float8, accepted integer, rejected integer, precision float8, bound float8, target float8, missing integer)
        where l.project_id = %(project_id)s and l.archived_at is null order by l.number, m.key
        """,
        project_id=project_id,
    )


# A track is accepted as a whole, or not at all; not where a person has rejected a part of it. Nothing is accepted where a
# person has said that there is none.
_ACCEPTABLE: LiteralString = """
    given as (
      select * from unnest(%(labels)s::uuid[], %(models)s::uuid[], %(thresholds)s::float8[]) as g (label_id, model_id, threshold)
    ), proposed as materialized (
      select a.id, a.video_id, a.pts_us, a.label_id, a.model_id, a.track_id, a.score, g.threshold
      from annotations a join given g on g.label_id = a.label_id and g.model_id = a.model_id
      where a.project_id = %(project_id)s and a.source = 'model' and a.state = 'proposed' and a.deleted_at is null
        and not exists (select from verdicts d
                        where d.project_id = a.project_id and d.video_id = a.video_id and d.pts_us = a.pts_us
                          and d.label_id = a.label_id and d.verdict = 'exhaustive_absent')
        and not exists (select from annotations o
                        where o.project_id = a.project_id and o.track_id = a.track_id and o.state = 'rejected'
                          and o.deleted_at is null)
    ), sure as (
      select coalesce(p.track_id, p.id) as unit from proposed p
      group by 1 having avg(p.score) >= min(p.threshold)
    ), acceptable as (
      select p.* from proposed p join sure s on s.unit = coalesce(p.track_id, p.id)
    )
"""


def accept(project_id: UUID, thresholds: Sequence[Threshold]) -> Statement[AutoAcceptedLabel]:
    """Accept what reaches these thresholds, as nobody's word, and the tracks of which it is a keyframe; how many of each."""
    return Statement(
        AutoAcceptedLabel,
        f"""
        with {_ACCEPTABLE}, done as (
          update annotations a set state = 'accepted', reason = null, reviewed_by = 'auto', reviewed_at = now()
          from acceptable c
          where a.project_id = %(project_id)s and a.video_id = c.video_id and a.pts_us = c.pts_us and a.id = c.id
            and a.state = 'proposed'
          returning a.label_id, a.model_id, a.track_id, c.threshold
        ), followed as (
          update tracks t set state = 'accepted', reason = null
          where t.project_id = %(project_id)s and t.id in (select track_id from done) and t.state = 'proposed'
        )
        select label_id, model_id, threshold, count(*) as annotations, count(distinct track_id) as tracks
        from done group by 1, 2, 3 order by 1, 2
        """,
        project_id=project_id,
        **_given(thresholds),
    )


def acceptable(project_id: UUID, thresholds: Sequence[Threshold]) -> Statement[AutoAcceptedLabel]:
    """What `accept` would do."""
    return Statement(
        AutoAcceptedLabel,
        f"""
        with {_ACCEPTABLE}
        select label_id, model_id, threshold, count(*) as annotations, count(distinct track_id) as tracks
        from acceptable group by 1, 2, 3 order by 1, 2
        """,
        project_id=project_id,
        **_given(thresholds),
    )


def _given(thresholds: Sequence[Threshold]) -> dict[str, Any]:
    reached = [one for one in thresholds if one.threshold is not None]
    return {
        "labels": [one.label_id for one in reached],
        "models": [one.model_id for one in reached],
        "thresholds": [one.threshold for one in reached],
    }


def _listed(label_ids: Sequence[UUID] | None) -> list[UUID] | None:
    return None if label_ids is None else list(label_ids)
