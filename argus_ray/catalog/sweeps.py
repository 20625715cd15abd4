"""What goes by itself: uploads that nobody ended, objects that nothing names, rows that are old.

`doomed_objects` is a queue: `claim` counts an attempt and puts the row off, later each time, before anything is deleted;
`forget` takes it out when that is done. So a sweeper may die at any moment, and two may work at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from argus_ray.catalog.statement import Statement


@dataclass(frozen=True)
class Doomed:
    """An object to delete: `s3-prefix` names all below a video, `s3-upload` an upload in parts, `thumbnails` a poster."""

    id: int
    store: str
    key: str
    s3_upload_id: str | None


@dataclass(frozen=True)
class DoomedFrame:
    """A frame's object. `held`: its video is locked and may lose it. `named`: a later ingest has kept that frame again,
    and the object must stay.
    """

    id: int
    key: str
    held: bool
    named: bool


def expire_uploads(now: datetime, *, limit: int = 500) -> Statement[UUID]:
    """Delete videos whose bytes did not arrive in time; their uploads are aborted with them, here and at S3."""
    return Statement(
        UUID,
        """
        with late as materialized (
          select v.id from uploads u join videos v on v.project_id = u.project_id and v.id = u.video_id
          where u.state = 'open' and u.expires_at <= %(now)s and v.state = 'awaiting_upload'
          order by u.expires_at limit %(limit)s
          for update of v skip locked  -- one that is being completed right now is not late
        )
        update videos v set state = 'deleted', deleted_at = %(now)s from late where v.id = late.id
        returning v.id
        """,
        now=now,
        limit=limit,
    )


def open_uploads(s3_upload_ids: Sequence[str]) -> Statement[str]:
    """Those of these uploads at S3 that somebody may still send to."""
    return Statement(
        str,
        "select s3_upload_id from uploads where state = 'open' and s3_upload_id = any (%(ids)s)",
        ids=list(s3_upload_ids),
    )


def claim(now: datetime, *, limit: int = 200, base_s: float = 30, cap_s: float = 3600) -> Statement[Doomed]:
    """The next objects to delete, frames excepted. They come again after a pause that doubles, up to `cap_s`."""
    return Statement(
        Doomed,
        """
        with next as materialized (
          select id from doomed_objects
          where store <> 's3' and not_before <= %(now)s
          order by not_before, id limit %(limit)s for update skip locked
        )
        update doomed_objects d set
          attempts = d.attempts + 1,
          not_before = %(now)s::timestamptz + make_interval(secs =>
            least(%(cap_s)s, %(base_s)s * 2 ^ least(d.attempts, 30)) * (0.5 + random() / 2))
        from next where d.id = next.id
        returning d.id, d.store, d.key, d.s3_upload_id
        """,
        now=now,
        limit=limit,
        base_s=base_s,
        cap_s=cap_s,
    )


def lock_frames(now: datetime, *, limit: int = 1000) -> Statement[DoomedFrame]:
    """The next frames to delete, their videos locked until the transaction ends.

    A frame's key is a function of its time, so an ingest may be about to write the very object again: nothing is
    deleted of a video that is processing, and none begins to while its row is held.
    """
    return Statement(
        DoomedFrame,
        """
        with next as materialized (
          select id, project_id, key, split_part(key, '/', 4)::uuid as video_id from doomed_objects
          where store = 's3' and not_before <= %(now)s
          order by not_before, id limit %(limit)s
        ), still as materialized (
          select v.id from videos v
          where v.id in (select video_id from next) and v.state <> 'processing'
          for update skip locked
        )
        select next.id, next.key, still.id is not null as held, exists (
            select from frames f
            where f.project_id = next.project_id and f.video_id = next.video_id
              and f.pts_us = split_part(split_part(next.key, '/', 6), '.', 1)::bigint
          ) as named
        from next left join still on still.id = next.video_id
        """,
        now=now,
        limit=limit,
    )


def put_off(ids: Sequence[int], now: datetime, *, base_s: float = 30, cap_s: float = 3600) -> Statement[None]:
    """Count an attempt for what could not be deleted; it comes again later and later."""
    return Statement(
        type(None),
        """
        update doomed_objects set
          attempts = attempts + 1,
          not_before = %(now)s::timestamptz + make_interval(secs => least(%(cap_s)s, %(base_s)s * 2 ^ least(attempts, 30)))
        where id = any (%(ids)s)
        """,
        ids=list(ids),
        now=now,
        base_s=base_s,
        cap_s=cap_s,
    )


def again(ids: Sequence[int], now: datetime) -> Statement[None]:
    """There was no time for these, or not for all of them: they are next, and it was no failure."""
    return Statement(
        type(None),
        "update doomed_objects set attempts = 0, not_before = %(now)s where id = any (%(ids)s)",
        ids=list(ids),
        now=now,
    )


def forget(ids: Sequence[int]) -> Statement[None]:
    return Statement(type(None), "delete from doomed_objects where id = any (%(ids)s)", ids=list(ids))


def prune_videos(before: datetime, *, limit: int = 500) -> Statement[UUID]:
    """Forget videos that were deleted before then, with their jobs and uploads, and look below their prefix once more:
    an upload's URL may have been used after the video was deleted.
    """
    return Statement(
        UUID,
        """
        with old as materialized (
          select id from videos where state = 'deleted' and deleted_at < %(before)s
          order by deleted_at limit %(limit)s for update skip locked
        ), gone as (
          delete from videos v using old where v.id = old.id
          returning v.id, v.project_id, 'projects/' || v.project_id || '/videos/' || v.id || '/' as prefix
        ), covered as (
          delete from doomed_objects d using gone where d.store = 's3' and starts_with(d.key, gone.prefix)
        ), doomed as (
          insert into doomed_objects (project_id, store, key) select project_id, 's3-prefix', prefix from gone
        )
        select id from gone
        """,
        before=before,
        limit=limit,
    )


def prune_segments(before: datetime, *, limit: int = 5000) -> Statement[UUID]:
    """Forget the segments of jobs that ended before then; what a person sees of a job stays."""
    return Statement(
        UUID,
        """
        with old as materialized (
          select s.id from jobs j join segments s on s.job_id = j.id
          where j.state in ('succeeded', 'failed', 'cancelled') and j.finished_at < %(before)s
          limit %(limit)s for update of s skip locked
        )
        delete from segments s using old where s.id = old.id returning s.id
        """,
        before=before,
        limit=limit,
    )


def prune_answers(before: datetime) -> Statement[None]:
    """Forget what was answered under Idempotency-Keys before then."""
    return Statement(type(None), "delete from idempotency_keys where created_at < %(before)s", before=before)
