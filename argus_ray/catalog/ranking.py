"""What is worth a person's next look, ranked. Taking from a ranking stands in reviews.py.

An item is a time range of one video: a segment, or a frame, which ends a microsecond after it begins. What somebody holds,
or a part of it, is in no ranking. A ranking may take a second and locks nothing: `seen`, the sum of the versions of the
reviews that an item overlaps, tells `reviews.claim` whether something has happened to it since.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from argus_ray.catalog.statement import Statement
from argus_ray.schemas.review import ReviewNext, Why

SEGMENT_US = 10_000_000
"""The segments that are offered: ten seconds each, so that those of different rankings never overlap in part."""

MOST_CANDIDATES, MOST_KNOWN = 2000, 1000
"""Frames that a ranking by diversity looks at, and frames already reviewed to which it compares them: an even sample of
each, since frames' ids are hashes. Comparing them takes about a tenth of a second."""

BREAK = 0.75
"""How uncertain a break of a track makes: more than a score halfway to its threshold, less than one on it."""

NOW: LiteralString = "coalesce(%(now)s::timestamptz, now())"
LIVE: LiteralString = f"r.state = 'open' and r.assignee is not null and (r.until is null or r.until > {NOW})"
"""Somebody has the review `r`. `now` is a parameter, since holds lapse; None is the transaction's own time."""

SEEN: LiteralString = """
    coalesce((select sum(r.version) from reviews r
              where r.project_id = %(project_id)s and r.video_id = w.video_id and r.pts_us < w.end_us
                and r.end_us > w.pts_us), 0)::bigint
"""


@dataclass(frozen=True)
class Ranked:
    """An item worth a look, why, and `seen`, by which `claim` knows whether it still is."""

    video_id: UUID
    pts_us: int
    end_us: int
    seen: int
    uncertainty: float | None = None
    from_threshold: float | None = None
    disagreement: float | None = None
    track_break: bool | None = None
    link_score: float | None = None
    distance: float | None = None
    waiting_since: datetime | None = None

    @property
    def why(self) -> Why:
        return Why.model_validate(self, from_attributes=True)


# What turns the time of a signal into the item that it belongs to, and how a ranking ends.
_START: LiteralString = """
    case when %(segment_us)s::bigint is null then pts_us
         else floor(pts_us / %(segment_us)s::float8)::bigint * %(segment_us)s end
"""
_LENGTH: LiteralString = "coalesce(%(segment_us)s::bigint, 1)"
_ASKED: LiteralString = """
    asked as materialized (
      select l.id, l.threshold, l.learnt -> 'models' as models from labels l
      where l.project_id = %(project_id)s and l.archived_at is null
        and (%(label_ids)s::uuid[] is null or l.id = any (%(label_ids)s))
    )
"""
_FREE: LiteralString = f"""
    free as (
      select i.* from items i join videos v on v.project_id = %(project_id)s and v.id = i.video_id and v.state = 'ready'
      where (%(video_ids)s::uuid[] is null or i.video_id = any (%(video_ids)s))
        and not exists (
          select from reviews r
          where r.project_id = %(project_id)s and r.video_id = i.video_id and r.pts_us < i.end_us and r.end_us > i.pts_us
            and {LIVE})
    )
"""


def parameters(project_id: UUID, asked: ReviewNext, now: datetime | None) -> dict[str, Any]:
    return {
        "project_id": project_id,
        "label_ids": asked.label_ids,
        "video_ids": asked.video_ids,
        "segment_us": SEGMENT_US if asked.unit == "segment" else None,
        "now": now,
    }


# The proposals whose scores count, each with its distance to the threshold: the one learnt for the model, else the
# label's, else 0.5. All of them, or so many on either side of each threshold, which an index finds; for that, thresholds
# are values by then: Postgres takes no expression that might tell what it reads to an index before row-level security.
_THRESHOLD: LiteralString = "coalesce((t.models -> {model}::text ->> 'threshold')::float8, t.threshold, 0.5)"
_PROPOSED: LiteralString = "a.project_id = %(project_id)s and a.state = 'proposed' and a.deleted_at is null"
_ALL: LiteralString = f"""
    scores as (
      select a.video_id, a.pts_us, abs(a.score - {_THRESHOLD.replace("{model}", "a.model_id")}) as from_threshold
      from annotations a join asked t on t.id = a.label_id
      where {_PROPOSED} and a.score is not null
        and (%(video_ids)s::uuid[] is null or a.video_id = any (%(video_ids)s))
    )
"""
_NEAREST: LiteralString = f"""
    thresholds as materialized (
      select t.id as label_id, m.id as model_id, {_THRESHOLD.replace("{model}", "m.id")} as threshold
      from asked t cross join models m where m.family = 'sam3'
    ), scores as (
      select a.video_id, a.pts_us, abs(a.score - t.threshold) as from_threshold
      from thresholds t cross join lateral (
        (select a.video_id, a.pts_us, a.score from annotations a
         where {_PROPOSED} and a.label_id = t.label_id and a.model_id = t.model_id and a.score >= t.threshold
         order by a.score limit %(nearest)s)
        union all
        (select a.video_id, a.pts_us, a.score from annotations a
         where {_PROPOSED} and a.label_id = t.label_id and a.model_id = t.model_id and a.score < t.threshold
         order by a.score desc limit %(nearest)s)
      ) a
    )
"""


def by_uncertainty(
    project_id: UUID, asked: ReviewNext, rows: int, now: datetime | None = None, *, nearest: int | None = None
) -> Statement[Ranked]:
    """Where a model is least sure of what is proposed, or contradicts itself: see schemas/review.py, `Why`.

    With `nearest`, of the proposals of each label and model only so many on either side of the threshold: the first items
    are the same, and a million proposals cost no more than some thousands. What is said of a frame counts until a person
    has finished there with the label, or has a verdict on it.
    """
    return Statement(
        Ranked,
        f"""
        with {_ASKED}, {_ALL if nearest is None else _NEAREST}, signals as (
          select s.*, null::float8 as disagreement, null::boolean as track_break, null::float8 as link_score from scores s
          union all
          select n.video_id, n.pts_us, null, case when n.found = 0 then n.presence else 1 - n.presence end, null, null
          from answers n join asked t on t.id = n.label_id
          where n.project_id = %(project_id)s and n.presence <> 0.5 and (n.presence > 0.5) = (n.found = 0)
            and not {_looked("n.video_id", "n.pts_us", "n.label_id", "n.at")}
            and not exists (select from verdicts d
                            where d.project_id = n.project_id and d.video_id = n.video_id and d.pts_us = n.pts_us
                              and d.label_id = n.label_id)
          union all
          -- a track that ends amid the picture, while the video goes on; at the picture's edge an object has left
          select t.video_id, a.pts_us, null, null, true, null
          from tracks t join asked l on l.id = t.label_id
          join annotations a on a.project_id = t.project_id and a.track_id = t.id and a.deleted_at is null
            and a.pts_us in (t.start_us, t.end_us)
          where t.project_id = %(project_id)s and t.source = 'model' and t.state = 'proposed' and t.deleted_at is null
            and a.x > 0.02 and a.y > 0.02 and a.x + a.w < 0.98 and a.y + a.h < 0.98
            and exists (select from frames f
                        where f.project_id = t.project_id and f.video_id = t.video_id
                          and case when a.pts_us = t.start_us then f.pts_us < a.pts_us else f.pts_us > a.pts_us end)
            and not {_looked("t.video_id", "a.pts_us", "t.label_id", "t.created_at")}
          union all
          select k.video_id, f.pts_us, null, null, null, k.score
          from track_links k join tracks t on t.project_id = k.project_id and t.id = k.track_id join asked l on l.id = t.label_id
          cross join lateral (
            select f.pts_us from frames f
            where f.project_id = k.project_id and f.video_id = k.video_id and f.pts_us >= k.border_us
            order by f.pts_us limit 1) f
          where k.project_id = %(project_id)s and k.state = 'joined' and k.score < 0.5 and t.deleted_at is null
            and not {_looked("k.video_id", "f.pts_us", "t.label_id", "k.created_at")}
        ), items as (
          select video_id, {_START} as pts_us, {_START} + {_LENGTH} as end_us, min(from_threshold) as from_threshold,
            max(disagreement) as disagreement, bool_or(track_break) as track_break, min(link_score) as link_score
          from signals group by 1, 2, 3
        ), {_FREE}, w as (
          select f.*, greatest(0, 1 - 2 * from_threshold, disagreement, case when track_break then {BREAK} end,
                               1 - link_score) as uncertainty
          from free f order by uncertainty desc, video_id, pts_us limit %(rows)s
        )
        select w.*, {SEEN} as seen from w order by uncertainty desc, video_id, pts_us
        """,
        rows=rows,
        nearest=nearest,
        **parameters(project_id, asked, now),
    )


def _looked(
    video_id: LiteralString, pts_us: LiteralString, label_id: LiteralString, at: LiteralString
) -> LiteralString:
    """A person has finished there with the label since."""
    return f"""exists (
              select from reviews r
              where r.project_id = %(project_id)s and r.video_id = {video_id} and r.pts_us <= {pts_us}
                and r.end_us > {pts_us} and (r.looked ->> {label_id}::text)::timestamptz >= {at})"""


def by_age(project_id: UUID, asked: ReviewNext, rows: int, now: datetime | None = None) -> Statement[Ranked]:
    """Where a proposal has waited longest."""
    return Statement(
        Ranked,
        f"""
        with {_ASKED}, items as (
          select a.video_id, {_START} as pts_us, {_START} + {_LENGTH} as end_us, min(a.created_at) as waiting_since
          from annotations a join asked t on t.id = a.label_id
          where a.project_id = %(project_id)s and a.state = 'proposed' and a.deleted_at is null
          group by 1, 2, 3
        ), {_FREE}, w as (
          select * from free order by waiting_since, video_id, pts_us limit %(rows)s
        )
        select w.*, {SEEN} as seen from w order by waiting_since, video_id, pts_us
        """,
        rows=rows,
        **parameters(project_id, asked, now),
    )


# -- diversity: the caller ranks, see diversity.py -------------------------------------------------


def newest_model(project_id: UUID) -> Statement[int]:
    """The number of the last registered model under which the project has vectors; no row where it has none."""
    return Statement(
        int,
        """
        select m.number from models m
        where m.family = 'siglip2'
          and exists (select from embeddings e where e.project_id = %(project_id)s and e.model_number = m.number)
        order by m.number desc limit 1
        """,
        project_id=project_id,
    )


@dataclass(frozen=True)
class Candidate:
    """A frame with the item that it would stand for. `vector`: as `vector_of` reads it."""

    video_id: UUID
    pts_us: int
    end_us: int
    seen: int
    vector: bytes


# Frames that a person has looked at, has a word on, or holds now.
_KNOWN: LiteralString = f"""
    known as materialized (
      select f.video_id, f.pts_us
      from reviews r join frames f on f.project_id = r.project_id and f.video_id = r.video_id
        and f.pts_us >= r.pts_us and f.pts_us < r.end_us
      where r.project_id = %(project_id)s
        and ({LIVE} or case when %(label_ids)s::uuid[] is null then r.looked <> '{{}}'
                             else r.looked ?| (%(label_ids)s::uuid[])::text[] end)
      union
      select a.video_id, a.pts_us from annotations a
      where a.project_id = %(project_id)s and a.deleted_at is null
        and (a.source = 'human' or starts_with(a.reviewed_by, 'user:'))
        and (%(label_ids)s::uuid[] is null or a.label_id = any (%(label_ids)s))
      union
      select d.video_id, d.pts_us from verdicts d
      where d.project_id = %(project_id)s and (%(label_ids)s::uuid[] is null or d.label_id = any (%(label_ids)s))
    )
"""


def candidates(
    project_id: UUID, asked: ReviewNext, model_number: int, now: datetime | None = None
) -> Statement[Candidate]:
    """At most `MOST_CANDIDATES` frames that nobody has looked at, an even sample."""
    return Statement(
        Candidate,
        f"""
        with {_KNOWN}, w as (
          select f.id, f.video_id, f.pts_us as frame_us, s.pts_us, s.pts_us + {_LENGTH} as end_us
          from frames f join videos v on v.project_id = f.project_id and v.id = f.video_id and v.state = 'ready'
          cross join lateral (select {_START} as pts_us) s
          where f.project_id = %(project_id)s and (%(video_ids)s::uuid[] is null or f.video_id = any (%(video_ids)s))
            and exists (select from embeddings e
                        where e.project_id = f.project_id and e.video_id = f.video_id and e.pts_us = f.pts_us
                          and e.model_number = %(model)s)
            and not exists (select from known k where k.video_id = f.video_id and k.pts_us = f.pts_us)
            and not exists (
              select from reviews r
              where r.project_id = f.project_id and r.video_id = f.video_id and r.pts_us < s.pts_us + {_LENGTH}
                and r.end_us > s.pts_us and {LIVE})
          order by f.id limit {MOST_CANDIDATES}
        )
        select distinct on (w.id) w.video_id, w.pts_us, w.end_us, {SEEN} as seen, halfvec_send(e.embedding) as vector
        from w join embeddings e on e.project_id = %(project_id)s and e.video_id = w.video_id and e.pts_us = w.frame_us
          and e.model_number = %(model)s
        order by w.id
        """,
        model=model_number,
        **parameters(project_id, asked, now),
    )


def known(project_id: UUID, asked: ReviewNext, model_number: int, now: datetime | None = None) -> Statement[bytes]:
    """The vectors of at most `MOST_KNOWN` frames that a person has looked at, an even sample."""
    return Statement(
        bytes,
        f"""
        with {_KNOWN}, sample as (
          select f.id, f.video_id, f.pts_us
          from known k join frames f on f.project_id = %(project_id)s and f.video_id = k.video_id and f.pts_us = k.pts_us
          order by f.id limit {MOST_KNOWN}
        )
        select halfvec_send(e.embedding) from sample f
        join embeddings e on e.project_id = %(project_id)s and e.video_id = f.video_id and e.pts_us = f.pts_us
          and e.model_number = %(model)s
        """,
        model=model_number,
        **parameters(project_id, asked, now),
    )
