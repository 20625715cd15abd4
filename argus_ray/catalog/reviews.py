"""Items in review: who has which, and what has been finished. What is worth a look stands in ranking.py.

Two items that overlap are never two people's at once. For that, whoever takes, gives or ends an item runs `lock` first,
and `claim` leaves out an item to which something has happened since it was ranked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID

from argus_ray.catalog.ranking import LIVE, NOW, SEEN, Ranked, parameters
from argus_ray.catalog.statement import Statement
from argus_ray.errors import NotFound
from argus_ray.schemas.review import (
    LabelProgress,
    Place,
    ReviewCounts,
    ReviewItem,
    ReviewNext,
)

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
          select * from wanted w where w.seen = {SEEN} order by w.place limit %(count)s
        )
        insert into reviews as r (project_id, video_id, pts_us, end_us, assignee, until)
        select %(project_id)s, video_id, pts_us, end_us, caller(), {NOW} + %(hold)s from free
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
          where r.project_id = %(project_id)s and r.assignee = caller() and {LIVE}
            and (%(video_ids)s::uuid[] is null or r.video_id = any (%(video_ids)s))
            and (r.end_us = r.pts_us + 1) = (%(segment_us)s::bigint is null)
          order by r.assigned_by is null, r.created_at, r.video_id, r.pts_us limit %(count)s
        )
        update reviews r set until = case when r.until is not null then greatest(r.until, {NOW} + %(hold)s) end
        from mine m
        where r.project_id = %(project_id)s and r.video_id = m.video_id and r.pts_us = m.pts_us and r.end_us = m.end_us
        returning {_ITEM}
        """,
        count=asked.count,
        hold=asked.hold,
        **parameters(project_id, asked, now),
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
        where {LIVE} and r.assignee <> coalesce(%(other)s, caller())
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
          {NOW} + %(hold)s::interval
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
        "ends": [place.ends_us for place in places],
    }


# -- finishing -------------------------------------------------------------------------------------


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
    """The same word of the caller on every frame there."""
    return Statement(
        type(None),
        """
        insert into verdicts (project_id, video_id, pts_us, label_id, verdict)
        select f.project_id, f.video_id, f.pts_us, l.id, %(verdict)s
        from frames f join labels l on l.project_id = f.project_id and l.id = any (%(label_ids)s)
        where f.project_id = %(project_id)s and f.video_id = %(video_id)s and f.pts_us >= %(start_us)s
          and f.pts_us < %(end_us)s
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
        "end_us": place.ends_us,
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
         when not ({LIVE}) then 'open'
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
