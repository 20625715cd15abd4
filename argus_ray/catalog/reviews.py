"""The queue of what people look at next: what is worth a look, who has it, and what has been finished.

An item is a time range of one video: a segment, or a frame, which ends a microsecond after it begins. Two items that
overlap are never two people's at once. For that, whoever takes, gives or ends an item runs `lock` first, and a ranking,
which takes longer and runs before it, says by `seen` what it knew of the reviews that an item overlaps: `claim` leaves
out an item of which something has changed since.

`now` is a parameter where a hold may lapse; None is the transaction's own time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID

from argus_ray.catalog.statement import Statement
from argus_ray.errors import NotFound
from argus_ray.schemas.review import (
    LabelCount,
    LabelProgress,
    Place,
    ReviewCounts,
    ReviewItem,
    ReviewNext,
    Why,
)

SEGMENT_US = 10_000_000
"""The segments that are offered: ten seconds each, so that those of different rankings never overlap in part."""

MOST_CANDIDATES, MOST_KNOWN = 2000, 1000
"""Frames that a ranking by diversity looks at, and frames already reviewed to which it compares them: an even sample of
each, since frames' ids are hashes. Comparing them takes about a tenth of a second."""

BREAK = 0.75
"""How uncertain a break of a track makes: more than a score halfway to its threshold, less than one on it."""

_NOW: LiteralString = "coalesce(%(now)s::timestamptz, now())"
_LIVE: LiteralString = f"r.state = 'open' and r.assignee is not null and (r.until is null or r.until > {_NOW})"
_ITEM: LiteralString = """
    r.project_id, r.video_id, r.pts_us, nullif(r.end_us, r.pts_us + 1) as end_us, r.state, r.reason, r.assignee,
    r.assigned_by, r.until, r.version, r.updated_at,
    (select f.id from frames f
     where f.project_id = r.project_id and f.video_id = r.video_id and f.pts_us >= r.pts_us and f.pts_us < r.end_us
     order by f.pts_us limit 1) as frame_id,
    array(select a.id from annotations a
          where a.project_id = r.project_id and a.video_id = r.video_id and a.pts_us >= r.pts_us and a.pts_us < r.end_us
            and a.state = 'proposed' and a.deleted_at is null
            and (%(label_ids)s::uuid[] is null or a.label_id = any (%(label_ids)s))
          order by a.pts_us, a.id limit 1000) as proposals
"""


def lock(project_id: UUID) -> Statement[None]:
    """Hold the project's queue until the transaction ends."""
    return Statement(
        type(None),
        "select pg_advisory_xact_lock(hashtext('argus.reviews'), hashtext(%(project_id)s::text))",
        project_id=project_id,
    )


# -- ranking ---------------------------------------------------------------------------------------


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


# `place` turns the time of a signal into the item it belongs to; the rankings end in the same way.
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
            and {_LIVE})
    )
"""
_SEEN: LiteralString = """
    coalesce((select sum(r.version) from reviews r
              where r.project_id = %(project_id)s and r.video_id = w.video_id and r.pts_us < w.end_us
                and r.end_us > w.pts_us), 0)::bigint
"""


def _asked(project_id: UUID, asked: ReviewNext, now: datetime | None) -> dict[str, Any]:
    return {
        "project_id": project_id,
        "label_ids": asked.label_ids,
        "video_ids": asked.video_ids,
        "segment_us": SEGMENT_US if asked.unit == "segment" else None,
        "now": now,
    }


def by_uncertainty(project_id: UUID, asked: ReviewNext, rows: int, now: datetime | None = None) -> Statement[Ranked]:
    """Where a model is least sure of what is proposed, or contradicts itself: see schemas/review.py, `Why`.

    A threshold is the one learnt for the model, else the label's, else 0.5. What is said of a frame counts until a person
    has finished there with the label, or has a verdict on it.
    """
    return Statement(
        Ranked,
        f"""
        with {_ASKED}, signals as (
          select a.video_id, a.pts_us,
            abs(a.score - coalesce((t.models -> a.model_id::text ->> 'threshold')::float8, t.threshold, 0.5)) as from_threshold,
            null::float8 as disagreement, null::boolean as track_break, null::float8 as link_score
          from annotations a join asked t on t.id = a.label_id
          where a.project_id = %(project_id)s and a.state = 'proposed' and a.deleted_at is null and a.score is not null
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
        select w.*, {_SEEN} as seen from w order by uncertainty desc, video_id, pts_us
        """,
        rows=rows,
        **_asked(project_id, asked, now),
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
        select w.*, {_SEEN} as seen from w order by waiting_since, video_id, pts_us
        """,
        rows=rows,
        **_asked(project_id, asked, now),
    )


# -- diversity: ranked by the caller, see diversity.py ---------------------------------------------


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
        and ({_LIVE} or case when %(label_ids)s::uuid[] is null then r.looked <> '{{}}'
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
                and r.end_us > s.pts_us and {_LIVE})
          order by f.id limit {MOST_CANDIDATES}
        )
        select distinct on (w.id) w.video_id, w.pts_us, w.end_us, {_SEEN} as seen, halfvec_send(e.embedding) as vector
        from w join embeddings e on e.project_id = %(project_id)s and e.video_id = w.video_id and e.pts_us = w.frame_us
          and e.model_number = %(model)s
        order by w.id
        """,
        model=model_number,
        **_asked(project_id, asked, now),
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
        **_asked(project_id, asked, now),
    )


# -- who has what ----------------------------------------------------------------------------------


def claim(
    project_id: UUID, asked: ReviewNext, ranked: Sequence[Ranked], count: int, now: datetime | None = None
) -> Statement[ReviewItem]:
    """The first `count` of these that nothing has happened to since they were ranked are the caller's, for `hold`. In no
    order. Run `lock` before.
    """
    return Statement(
        ReviewItem,
        f"""
        with wanted as (
          select * from unnest(%(videos)s::uuid[], %(starts)s::bigint[], %(ends)s::bigint[], %(seen)s::bigint[])
            with ordinality as w (video_id, pts_us, end_us, seen, place)
        ), free as (
          select * from wanted w where w.seen = {_SEEN} order by w.place limit %(count)s
        )
        insert into reviews as r (project_id, video_id, pts_us, end_us, assignee, until)
        select %(project_id)s, video_id, pts_us, end_us, caller(), {_NOW} + %(hold)s from free
        on conflict (project_id, video_id, pts_us, end_us) do update set
          assignee = excluded.assignee, assigned_by = null, until = excluded.until, state = 'open', reason = null
        returning {_ITEM}
        """,
        project_id=project_id,
        label_ids=asked.label_ids,
        videos=[item.video_id for item in ranked],
        starts=[item.pts_us for item in ranked],
        ends=[item.end_us for item in ranked],
        seen=[item.seen for item in ranked],
        count=count,
        hold=asked.hold,
        now=now,
    )


def assigned(project_id: UUID, asked: ReviewNext, now: datetime | None = None) -> Statement[ReviewItem]:
    """What the caller has, what an editor gave them first. A hold that would lapse begins anew. Of any label: something
    may have to be drawn where nothing is proposed.
    """
    return Statement(
        ReviewItem,
        f"""
        with mine as (
          select r.video_id, r.pts_us, r.end_us from reviews r
          where r.project_id = %(project_id)s and r.assignee = caller() and {_LIVE}
            and (%(video_ids)s::uuid[] is null or r.video_id = any (%(video_ids)s))
            and (r.end_us = r.pts_us + 1) = (%(segment_us)s::bigint is null)
          order by r.assigned_by is null, r.created_at, r.video_id, r.pts_us limit %(count)s
        )
        update reviews r set until = case when r.until is not null then greatest(r.until, {_NOW} + %(hold)s) end
        from mine m
        where r.project_id = %(project_id)s and r.video_id = m.video_id and r.pts_us = m.pts_us and r.end_us = m.end_us
        returning {_ITEM}
        """,
        count=asked.count,
        hold=asked.hold,
        **_asked(project_id, asked, now),
    )


@dataclass(frozen=True)
class Holder:
    """Who has an item that overlaps `video_id`, `pts_us`; `name` is a person's e-mail, or the assignee as it stands."""

    video_id: UUID
    pts_us: int
    assignee: str
    name: str
    until: datetime | None


def held(
    project_id: UUID, places: Sequence[Place], by_other_than: str | None = None, now: datetime | None = None
) -> Statement[Holder]:
    """Who has one of these, or a part of it, apart from the caller or `by_other_than`, and the same item where the latter
    is given: an editor may give it to somebody else.
    """
    return Statement(
        Holder,
        f"""
        select w.video_id, w.pts_us, r.assignee, r.until,
          coalesce((select m.email from members m
                    where m.project_id = %(project_id)s and r.assignee = 'user:' || m.user_id), r.assignee) as name
        from unnest(%(videos)s::uuid[], %(starts)s::bigint[], %(ends)s::bigint[]) as w (video_id, pts_us, end_us)
        join reviews r on r.project_id = %(project_id)s and r.video_id = w.video_id and r.pts_us < w.end_us
          and r.end_us > w.pts_us
        where {_LIVE} and r.assignee <> coalesce(%(other)s, caller())
          and (%(other)s::text is null or (r.pts_us, r.end_us) <> (w.pts_us, w.end_us))
        limit 1
        """,
        project_id=project_id,
        other=by_other_than,
        now=now,
        **_columns(places),
    )


def absent(project_id: UUID, places: Sequence[Place]) -> Statement[Place]:
    """One of these where a ready video of the project has neither a frame nor an annotation."""
    return Statement(
        Place,
        """
        select w.video_id, w.pts_us
        from unnest(%(videos)s::uuid[], %(starts)s::bigint[], %(ends)s::bigint[]) as w (video_id, pts_us, end_us)
        where not exists (select from videos v where v.project_id = %(project_id)s and v.id = w.video_id and v.state = 'ready')
          or not exists (select from frames f
                         where f.project_id = %(project_id)s and f.video_id = w.video_id and f.pts_us >= w.pts_us
                           and f.pts_us < w.end_us)
          and not exists (select from annotations a
                          where a.project_id = %(project_id)s and a.video_id = w.video_id and a.pts_us >= w.pts_us
                            and a.pts_us < w.end_us)
        limit 1
        """,
        project_id=project_id,
        **_columns(places),
    )


def may_annotate(project_id: UUID, user_id: UUID) -> Statement[bool]:
    """Whether that person is a member of at least that role; no row where they are not."""
    return Statement(
        bool,
        """
        select true from members
        where project_id = %(project_id)s and user_id = %(user_id)s and role_rank(role) >= role_rank('annotator')
        """,
        project_id=project_id,
        user_id=user_id,
    ).or_raise(NotFound("nobody who may annotate in this project has that user_id: see its members"))


def assign(
    project_id: UUID, places: Sequence[Place], user_id: UUID, hold: timedelta | None, now: datetime | None = None
) -> Statement[ReviewItem]:
    """These are that person's, from the caller; None: until they are finished. Run `lock`, `held` and `absent` before."""
    return Statement(
        ReviewItem,
        f"""
        insert into reviews as r (project_id, video_id, pts_us, end_us, assignee, assigned_by, until)
        select distinct %(project_id)s::uuid, w.video_id, w.pts_us, w.end_us, %(assignee)s, caller(),
          {_NOW} + %(hold)s::interval
        from unnest(%(videos)s::uuid[], %(starts)s::bigint[], %(ends)s::bigint[]) as w (video_id, pts_us, end_us)
        on conflict (project_id, video_id, pts_us, end_us) do update set
          assignee = excluded.assignee, assigned_by = excluded.assigned_by, until = excluded.until, state = 'open',
          reason = null
        returning {_ITEM}
        """,
        project_id=project_id,
        assignee=f"user:{user_id}",
        hold=hold,
        label_ids=None,
        now=now,
        **_columns(places),
    )


def release(project_id: UUID, places: Sequence[Place]) -> Statement[None]:
    """Nobody has these any more. Run `lock` and, unless the caller is an editor, `held` before."""
    return Statement(
        type(None),
        """
        update reviews r set assignee = null, assigned_by = null, until = null
        from unnest(%(videos)s::uuid[], %(starts)s::bigint[], %(ends)s::bigint[]) as w (video_id, pts_us, end_us)
        where r.project_id = %(project_id)s and r.video_id = w.video_id and r.pts_us = w.pts_us and r.end_us = w.end_us
          and r.state = 'open' and r.assignee is not null
        """,
        project_id=project_id,
        **_columns(places),
    )


def is_editor(project_id: UUID) -> Statement[bool]:
    return Statement(bool, "select %(project_id)s in (select my_projects('editor')) as editor", project_id=project_id)


def _columns(places: Sequence[Place]) -> dict[str, Any]:
    return {
        "videos": [place.video_id for place in places],
        "starts": [place.pts_us for place in places],
        "ends": [_end(place) for place in places],
    }


def _end(place: Place) -> int:
    return place.pts_us + 1 if place.end_us is None else place.end_us


# -- finishing -------------------------------------------------------------------------------------


def decide(
    project_id: UUID, place: Place, label_ids: Sequence[UUID] | None, state: str, reason: str | None
) -> Statement[LabelCount]:
    """Accept or reject what is proposed there; how many of each label."""
    return Statement(
        LabelCount,
        """
        with decided as (
          update annotations a set state = %(state)s, reason = %(reason)s, reviewed_by = caller(), reviewed_at = now()
          where a.project_id = %(project_id)s and a.video_id = %(video_id)s and a.pts_us >= %(start_us)s
            and a.pts_us < %(end_us)s and a.state = 'proposed' and a.deleted_at is null
            and (%(label_ids)s::uuid[] is null or a.label_id = any (%(label_ids)s))
          returning a.label_id
        )
        select label_id, count(*) as annotations from decided group by label_id order by label_id
        """,
        state=state,
        reason=reason,
        **_there(project_id, place, label_ids),
    )


def settle_tracks(project_id: UUID, video_id: UUID | None, label_ids: Sequence[UUID] | None) -> Statement[None]:
    """A proposed track none of whose keyframes is still proposed is accepted where one of them is, else rejected."""
    return Statement(
        type(None),
        """
        update tracks t set state = k.state
        from (
          select a.track_id, case when bool_or(a.state = 'accepted') then 'accepted' else 'rejected' end as state
          from tracks p join annotations a on a.project_id = p.project_id and a.track_id = p.id and a.deleted_at is null
          where p.project_id = %(project_id)s and p.state = 'proposed' and p.deleted_at is null
            and (%(video_id)s::uuid is null or p.video_id = %(video_id)s)
            and (%(label_ids)s::uuid[] is null or p.label_id = any (%(label_ids)s))
          group by a.track_id having not bool_or(a.state = 'proposed')
        ) k
        where t.project_id = %(project_id)s and t.id = k.track_id
        """,
        project_id=project_id,
        video_id=video_id,
        label_ids=_listed(label_ids),
    )


def contradicted(project_id: UUID, place: Place, label_ids: Sequence[UUID]) -> Statement[int]:
    """How many accepted annotations of these labels are there to be seen."""
    return Statement(
        int,
        """
        select count(*) from annotations a
        where a.project_id = %(project_id)s and a.video_id = %(video_id)s and a.pts_us >= %(start_us)s
          and a.pts_us < %(end_us)s and a.label_id = any (%(label_ids)s) and a.state = 'accepted'
          and a.deleted_at is null and not a.outside
        """,
        **_there(project_id, place, label_ids),
    )


def give_verdicts(project_id: UUID, place: Place, label_ids: Sequence[UUID], verdict: str) -> Statement[None]:
    """The same word of the caller on every frame there, and on the item's own time where it is a frame."""
    return Statement(
        type(None),
        """
        insert into verdicts (project_id, video_id, pts_us, label_id, verdict)
        select %(project_id)s::uuid, %(video_id)s::uuid, t.pts_us, l.id, %(verdict)s
        from (select f.pts_us from frames f
              where f.project_id = %(project_id)s and f.video_id = %(video_id)s and f.pts_us >= %(start_us)s
                and f.pts_us < %(end_us)s
              union select %(start_us)s::bigint where %(end_us)s = %(start_us)s::bigint + 1) t (pts_us),
             labels l
        where l.project_id = %(project_id)s and l.id = any (%(label_ids)s)
        on conflict (project_id, video_id, pts_us, label_id) do update set verdict = excluded.verdict
          where verdicts.verdict <> excluded.verdict
        """,
        verdict=verdict,
        **_there(project_id, place, label_ids),
    )


def finish(
    project_id: UUID, place: Place, label_ids: Sequence[UUID] | None, state: str, reason: str | None
) -> Statement[ReviewItem]:
    """The item has been looked at by the caller, for these labels or all. Run `lock`, `held` and `absent` before."""
    return Statement(
        ReviewItem,
        f"""
        insert into reviews as r (project_id, video_id, pts_us, end_us, assignee, state, reason, looked)
        select %(project_id)s, %(video_id)s, %(start_us)s, %(end_us)s, caller(), %(state)s, %(reason)s,
          coalesce(jsonb_object_agg(l.id, now()), '{{}}')
        from labels l
        where l.project_id = %(project_id)s and l.archived_at is null
          and (%(label_ids)s::uuid[] is null or l.id = any (%(label_ids)s))
        on conflict (project_id, video_id, pts_us, end_us) do update set
          assignee = excluded.assignee, until = null, state = excluded.state, reason = excluded.reason,
          looked = r.looked || excluded.looked
        returning {_ITEM}
        """,
        state=state,
        reason=reason,
        **_there(project_id, place, label_ids),
    )


def _there(project_id: UUID, place: Place, label_ids: Sequence[UUID] | None) -> dict[str, Any]:
    return {
        "project_id": project_id,
        "video_id": place.video_id,
        "start_us": place.pts_us,
        "end_us": _end(place),
        "label_ids": _listed(label_ids),
    }


def _listed(label_ids: Sequence[UUID] | None) -> list[UUID] | None:
    return None if label_ids is None else list(label_ids)


# -- how far it is ---------------------------------------------------------------------------------

After = tuple[datetime, UUID, int, int]
"""The place of a row in a page: when it changed, its video, and its times."""


def page(project_id: UUID, show: str | None, after: After | None, rows: int) -> Statement[ReviewItem]:
    """The last change first. `show` is a field of `ReviewCounts`; None: everything."""
    updated_at, video_id, pts_us, end_us = after or (None, None, None, None)
    return Statement(
        ReviewItem,
        f"""
        select {_ITEM} from reviews r
        where r.project_id = %(project_id)s
          and (%(show)s::text is null or {_SHOWN} = %(show)s)
          and (%(updated_at)s::timestamptz is null
               or r.updated_at < %(updated_at)s
               or r.updated_at = %(updated_at)s and (r.video_id, r.pts_us, r.end_us) > (%(video_id)s::uuid, %(pts_us)s, %(end_us)s))
        order by r.updated_at desc, r.video_id, r.pts_us, r.end_us limit %(rows)s
        """,
        project_id=project_id,
        show=show,
        updated_at=updated_at,
        video_id=video_id,
        pts_us=pts_us,
        end_us=end_us,
        rows=rows,
        label_ids=None,
        now=None,
    )


_SHOWN: LiteralString = f"""
    case when r.state <> 'open' then r.state
         when not ({_LIVE}) then 'open'
         when r.assignee = caller() then 'mine' else 'others' end
"""


def counts(project_id: UUID) -> Statement[ReviewCounts]:
    return Statement(
        ReviewCounts,
        f"""
        select count(*) filter (where shown = 'open') as open, count(*) filter (where shown = 'mine') as mine,
          count(*) filter (where shown = 'others') as others, count(*) filter (where shown = 'accepted') as accepted,
          count(*) filter (where shown = 'rejected') as rejected
        from (select {_SHOWN} as shown from reviews r where r.project_id = %(project_id)s) s
        """,
        project_id=project_id,
        now=None,
    )


def progress(project_id: UUID) -> Statement[LabelProgress]:
    """Of each label of the project, in the order of their numbers."""
    return Statement(
        LabelProgress,
        """
        select l.id as label_id, l.name, coalesce(c.proposed, 0) as proposed, coalesce(c.accepted, 0) as accepted,
          coalesce(c.rejected, 0) as rejected
        from labels l left join (
          select a.label_id, count(*) filter (where a.state = 'proposed') as proposed,
            count(*) filter (where a.state = 'accepted') as accepted,
            count(*) filter (where a.state = 'rejected') as rejected
          from annotations a where a.project_id = %(project_id)s and a.deleted_at is null group by a.label_id
        ) c on c.label_id = l.id
        where l.project_id = %(project_id)s and l.archived_at is null
        order by l.number
        """,
        project_id=project_id,
    )
