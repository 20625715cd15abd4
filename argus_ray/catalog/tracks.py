"""Tracks: one object through time. Where it begins and ends, and how many keyframes it has, a trigger keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString
from uuid import UUID

from psycopg.types.json import Jsonb

from argus_ray.catalog.statement import Statement
from argus_ray.errors import NotFound
from argus_ray.schemas.annotation import Track, TrackLink

COLUMNS: LiteralString = """
    t.id, t.project_id, t.video_id, t.number, t.label_id, t.attributes, t.start_us, t.end_us, t.keyframes, t.source, t.state,
    t.reason, t.score, t.method, t.model_id, t.job_id, t.author, t.version, t.created_at, t.updated_at
"""
_LINK: LiteralString = """
    k.id, k.project_id, k.video_id, k.job_id, k.track_id, k.other_track_id, k.border_us, k.iou, k.similarity, k.score,
    k.state, k.author
"""
NO_TRACK = NotFound("there is no such track, or it is not yours")


@dataclass(frozen=True)
class KeyframeTime:
    """When a track has a keyframe; `outside`: it is not to be seen from there on."""

    track_id: UUID
    pts_us: int
    id: UUID
    outside: bool


def hold(project_id: UUID, track_ids: Sequence[UUID]) -> Statement[Track]:
    """Those of these tracks that the project has. None is relabelled, merged or deleted before the transaction ends."""
    return Statement(
        Track,
        f"""
        select {COLUMNS} from tracks t
        where t.project_id = %(project_id)s and t.id = any (%(ids)s) and t.deleted_at is null order by t.id
        for no key update
        """,
        project_id=project_id,
        ids=list(track_ids),
    )


def get(track_id: UUID) -> Statement[Track]:
    return Statement(
        Track, f"select {COLUMNS} from tracks t where t.id = %(id)s and t.deleted_at is null", id=track_id
    ).or_raise(NO_TRACK)


def shown(project_id: UUID, track_ids: Sequence[UUID]) -> Statement[str]:
    """These tracks as the JSON texts that people get."""
    return Statement(
        str,
        f"""
        select row_to_json(s)::text as item from (
          select {COLUMNS} from tracks t where t.project_id = %(project_id)s and t.id = any (%(ids)s)) s
        order by s.number
        """,
        project_id=project_id,
        ids=list(track_ids),
    )


def get_even_deleted(track_id: UUID) -> Statement[Track]:
    """One that was deleted too."""
    return Statement(Track, f"select {COLUMNS} from tracks t where t.id = %(id)s", id=track_id).or_raise(NO_TRACK)


def take(track_id: UUID, versions: list[int] | None) -> Statement[Track]:
    """Make it a person's, and hold it until the transaction ends. No row: see `edit` in the API's dependencies."""
    return Statement(
        Track,
        f"""
        update tracks t set source = 'human'
        where t.id = %(id)s and t.deleted_at is null
          and (%(versions)s::bigint[] is null or t.version = any (%(versions)s))
        returning {COLUMNS}
        """,
        id=track_id,
        versions=versions,
    ).or_raise(NO_TRACK)


def page(
    project_id: UUID,
    video_id: UUID,
    *,
    label_ids: Sequence[UUID] | None = None,
    states: Sequence[str] | None = None,
    from_us: int | None = None,
    to_us: int | None = None,
    after: int | None,
    rows: int,
) -> Statement[Track]:
    """A video's tracks by number; those that are there at some time from `from_us` to before `to_us`."""
    return Statement(
        Track,
        f"""
        select {COLUMNS} from tracks t
        where t.project_id = %(project_id)s and t.video_id = %(video_id)s and t.deleted_at is null
          and (%(label_ids)s::uuid[] is null or t.label_id = any (%(label_ids)s))
          and (%(states)s::text[] is null or t.state = any (%(states)s))
          and (%(from_us)s::bigint is null or t.end_us >= %(from_us)s)
          and (%(to_us)s::bigint is null or t.start_us < %(to_us)s)
          and (%(after)s::integer is null or t.number > %(after)s)
        order by t.number limit %(rows)s
        """,
        project_id=project_id,
        video_id=video_id,
        label_ids=None if label_ids is None else list(label_ids),
        states=None if states is None else list(states),
        from_us=from_us,
        to_us=to_us,
        after=after,
        rows=rows,
    )


def insert(
    project_id: UUID, video_id: UUID, label_id: UUID, attributes: dict[str, Any], *, state: str = "accepted"
) -> Statement[Track]:
    """A person's track, which has no keyframe yet."""
    return Statement(
        Track,
        f"""
        insert into tracks as t (project_id, video_id, label_id, attributes, source, state)
        values (%(project_id)s, %(video_id)s, %(label_id)s, %(attributes)s, 'human', %(state)s)
        returning {COLUMNS}
        """,
        project_id=project_id,
        video_id=video_id,
        label_id=label_id,
        attributes=attributes,
        state=state,
    )


def update(track_id: UUID, changes: dict[str, Any], versions: list[int] | None) -> Statement[Track]:
    """Change these of its columns; its keyframes follow its label. No row: see `edit` in the API's dependencies."""
    return Statement(
        Track,
        f"""
        update tracks t set (label_id, attributes, source, state, reason) = (
          select label_id, attributes, source, state, reason from jsonb_populate_record(t, %(changes)s))
        where t.id = %(id)s and t.deleted_at is null
          and (%(versions)s::bigint[] is null or t.version = any (%(versions)s))
        returning {COLUMNS}
        """,
        id=track_id,
        changes=Jsonb(changes),
        versions=versions,
    )


def review_keyframes(track: Track, before: str) -> Statement[None]:
    """What a track becomes, those of its keyframes become that nobody has judged apart from it."""
    return Statement(
        type(None),
        """
        update annotations a set state = %(state)s, reason = %(reason)s
        where a.project_id = %(project_id)s and a.track_id = %(id)s and a.deleted_at is null
          and a.state in ('proposed', %(before)s) and a.state <> %(state)s
        """,
        project_id=track.project_id,
        id=track.id,
        state=track.state,
        reason=track.reason,
        before=before,
    )


def delete(track_id: UUID, versions: list[int] | None) -> Statement[Track]:
    """Delete it; its keyframes are to follow at once."""
    return Statement(
        Track,
        f"""
        update tracks t set deleted_at = now()
        where t.id = %(id)s and t.deleted_at is null
          and (%(versions)s::bigint[] is null or t.version = any (%(versions)s))
        returning {COLUMNS}
        """,
        id=track_id,
        versions=versions,
    )


def delete_keyframes(project_id: UUID, track_id: UUID, *, from_us: int | None = None) -> Statement[None]:
    """All, or those from this time on. They have the time of deletion of a track that is deleted with them."""
    return Statement(
        type(None),
        """
        update annotations a set deleted_at = now()
        where a.project_id = %(project_id)s and a.track_id = %(id)s and a.deleted_at is null
          and (%(from_us)s::bigint is null or a.pts_us >= %(from_us)s)
        """,
        project_id=project_id,
        id=track_id,
        from_us=from_us,
    )


def restore(track_id: UUID, version: int, versions: list[int] | None) -> Statement[Track]:
    """Its label, attributes and state as they were at that version; a deleted one is there again. A label that was merged
    meanwhile is the one that it went into.
    """
    return Statement(
        Track,
        f"""
        update tracks t set (label_id, attributes, source, state, reason) = (
            select l.id, r.attributes, r.source, r.state, r.reason from jsonb_populate_record(null::tracks, h.row) r),
          deleted_at = null
        from history h, (select l.project_id, l.id as was, coalesce(l.merged_into, l.id) as id from labels l) l
        where t.id = %(id)s and h.subject_id = t.id and h.project_id = t.project_id and h.version = %(version)s
          and l.project_id = h.project_id and l.was = (h.row ->> 'label_id')::uuid
          and (%(versions)s::bigint[] is null or t.version = any (%(versions)s))
        returning {COLUMNS}
        """,
        id=track_id,
        version=version,
        versions=versions,
    )


def restore_keyframes(track_id: UUID) -> Statement[None]:
    """Those that were deleted together with the track; before it is restored itself."""
    return Statement(
        type(None),
        """
        update annotations a set deleted_at = null
        from tracks t
        where t.id = %(id)s and a.project_id = t.project_id and a.track_id = t.id and a.deleted_at = t.deleted_at
        """,
        id=track_id,
    )


def keyframe_times(project_id: UUID, track_ids: Sequence[UUID]) -> Statement[KeyframeTime]:
    return Statement(
        KeyframeTime,
        """
        select a.track_id, a.pts_us, a.id, a.outside from annotations a
        where a.project_id = %(project_id)s and a.track_id = any (%(ids)s) and a.deleted_at is null
        order by a.pts_us
        """,
        project_id=project_id,
        ids=list(track_ids),
    )


def move_keyframes(project_id: UUID, track_id: UUID, into: Track, *, from_us: int | None = None) -> Statement[None]:
    """Give them to another track, whose label they take: all, or those from this time on."""
    return Statement(
        type(None),
        """
        update annotations a set track_id = %(into)s, label_id = %(label_id)s
        where a.project_id = %(project_id)s and a.track_id = %(id)s and a.deleted_at is null
          and (%(from_us)s::bigint is null or a.pts_us >= %(from_us)s)
        """,
        project_id=project_id,
        id=track_id,
        into=into.id,
        label_id=into.label_id,
        from_us=from_us,
    )


# -- links -----------------------------------------------------------------------------------------


def links(track: Track) -> Statement[TrackLink]:
    """Where jobs have joined pieces of it, and where people have cut it, by time."""
    return Statement(
        TrackLink,
        f"""
        select {_LINK} from track_links k
        where k.project_id = %(project_id)s and (k.track_id = %(id)s or k.other_track_id = %(id)s)
        order by k.border_us, k.id
        """,
        project_id=track.project_id,
        id=track.id,
    )


def lock_link(link_id: UUID) -> Statement[TrackLink]:
    return Statement(
        TrackLink, f"select {_LINK} from track_links k where k.id = %(id)s for update", id=link_id
    ).or_raise(NotFound("there is no such link, or it is not yours"))


def cut_link(link_id: UUID, other_track_id: UUID) -> Statement[TrackLink]:
    return Statement(
        TrackLink,
        f"""
        update track_links k set state = 'cut', other_track_id = %(other)s, author = caller() where k.id = %(id)s
        returning {_LINK}
        """,
        id=link_id,
        other=other_track_id,
    )


def get_link(link_id: UUID) -> Statement[TrackLink]:
    return Statement(TrackLink, f"select {_LINK} from track_links k where k.id = %(id)s", id=link_id)


def split_links(track: Track, into: UUID, at_us: int) -> Statement[None]:
    """Links later than this time go with what comes after it."""
    return Statement(
        type(None),
        """
        update track_links set track_id = %(into)s
        where project_id = %(project_id)s and track_id = %(id)s and border_us > %(at_us)s
        """,
        project_id=track.project_id,
        id=track.id,
        into=into,
        at_us=at_us,
    )


def merge_links(project_id: UUID, track_id: UUID, into: UUID) -> Statement[None]:
    """Links of a track that goes into another; a cut between the two is none any more."""
    return Statement(
        type(None),
        """
        update track_links set
          track_id = %(into)s,
          state = case when %(into)s in (track_id, other_track_id) and state = 'cut' then 'joined' else state end,
          other_track_id = case when other_track_id = %(id)s and track_id <> %(into)s then %(into)s
                                when %(into)s in (track_id, other_track_id) then null else other_track_id end
        where project_id = %(project_id)s and (track_id = %(id)s or track_id = %(into)s and other_track_id = %(id)s)
        """,
        project_id=project_id,
        id=track_id,
        into=into,
    )
