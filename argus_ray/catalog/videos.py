"""Videos as people see and change them. What pipelines write of them stands in segments.py.

A deleted video leaves its row behind as a marker for a month, so that deleting again changes nothing; nothing else here
sees it. `after` is the place of a page: the (created_at, id) of the last row before it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from pydantic import Field

from argus_ray.catalog.statement import Statement
from argus_ray.errors import NotFound
from argus_ray.schemas.video import SamplingPolicy, Video, VideoCreate, VideoUpdate

LISTED: LiteralString = """
    id, project_id, name, state, reason, warnings, size_bytes, content_type, sha256, sampling, metadata, container, codec,
    width, height, duration_us, start_us, frame_rate, variable_frame_rate, frames_kept, frames_dropped, progress,
    poster, source_uri, version, created_at, updated_at, uploaded_at, ready_at
"""
COLUMNS: LiteralString = LISTED + ", probe"
# A video keeps the policy that was the project's when it came, so that what is kept of it never depends on the day.
_SAMPLING: LiteralString = (
    "coalesce(%(sampling)s::jsonb, (select p.sampling from projects p where p.id = %(project_id)s))"
)
_NO_VIDEO = NotFound("there is no such video, or it is not yours")


class VideoRow(Video):
    """A video with what its answer is made from: whether there is a poster to sign a URL for."""

    poster: bool = Field(exclude=True)


def insert(project_id: UUID, new: VideoCreate) -> Statement[VideoRow]:
    """Announce a video; its bytes are awaited."""
    return Statement(
        VideoRow,
        f"""
        insert into videos (project_id, name, size_bytes, content_type, sha256, sampling, metadata, created_by)
        values (%(project_id)s, %(name)s, %(size_bytes)s, %(content_type)s, %(sha256)s, {_SAMPLING},
                coalesce(%(metadata)s::jsonb, '{{}}'), user_id())
        returning {COLUMNS}
        """,
        project_id=project_id,
        name=new.filename,
        size_bytes=new.size_bytes,
        content_type=new.content_type,
        sha256=new.sha256,
        sampling=new.sampling,
        metadata=new.metadata,
    )


def insert_imported(
    project_id: UUID,
    *,
    name: str,
    source_uri: str,
    size_bytes: int,
    content_type: str | None,
    sampling: SamplingPolicy | None,
    metadata: dict[str, Any] | None,
) -> Statement[VideoRow]:
    """A video whose bytes lie elsewhere already."""
    return Statement(
        VideoRow,
        f"""
        insert into videos (project_id, name, state, source_uri, size_bytes, content_type, sampling, metadata, created_by,
                            uploaded_at)
        values (%(project_id)s, %(name)s, 'uploaded', %(source_uri)s, %(size_bytes)s, %(content_type)s, {_SAMPLING},
                coalesce(%(metadata)s::jsonb, '{{}}'), user_id(), now())
        returning {COLUMNS}
        """,
        project_id=project_id,
        name=name,
        source_uri=source_uri,
        size_bytes=size_bytes,
        content_type=content_type,
        sampling=sampling,
        metadata=metadata,
    )


def with_bytes(project_id: UUID, sha256: str) -> Statement[VideoRow]:
    """The project's video of these bytes, if it has arrived and not failed."""
    return Statement(
        VideoRow,
        f"""
        select {COLUMNS} from videos
        where project_id = %(project_id)s and sha256 = %(sha256)s and state in ('uploaded', 'processing', 'ready')
        order by created_at, id limit 1
        """,
        project_id=project_id,
        sha256=sha256,
    )


def get(video_id: UUID) -> Statement[VideoRow]:
    return Statement(
        VideoRow, f"select {COLUMNS} from videos where id = %(id)s and state <> 'deleted'", id=video_id
    ).or_raise(_NO_VIDEO)


def lock(video_id: UUID) -> Statement[VideoRow]:
    """The video, held until the transaction ends. No row: it is not there, or the caller may not change it."""
    return Statement(
        VideoRow,
        f"""
        select {COLUMNS} from videos
        where id = %(id)s and state <> 'deleted' and project_id in (select my_projects('editor'))
        for update
        """,
        id=video_id,
    )


def page(
    project_id: UUID,
    *,
    states: list[str] | None = None,
    name: str | None = None,
    metadata: dict[str, Any] | None = None,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
    after: tuple[datetime, UUID] | None,
    rows: int,
) -> Statement[VideoRow]:
    """Newest first, without `probe`. `name` is a part of the name in any case, `metadata` what the video's contains."""
    created_at, video_id = after or (None, None)
    return Statement(
        VideoRow,
        f"""
        select {LISTED} from videos
        where project_id = %(project_id)s and state <> 'deleted'
          and (%(states)s::text[] is null or state = any (%(states)s))
          and (%(name)s::text is null or strpos(lower(name), lower(%(name)s)) > 0)
          and (%(metadata)s::jsonb is null or metadata @> %(metadata)s)
          and (%(created_after)s::timestamptz is null or created_at >= %(created_after)s)
          and (%(created_before)s::timestamptz is null or created_at < %(created_before)s)
          and (%(created_at)s::timestamptz is null or (created_at, id) < (%(created_at)s, %(id)s::uuid))
        order by created_at desc, id desc limit %(rows)s
        """,
        project_id=project_id,
        states=states,
        name=name,
        metadata=metadata,
        created_after=created_after,
        created_before=created_before,
        created_at=created_at,
        id=video_id,
        rows=rows,
    )


def update(video_id: UUID, change: VideoUpdate, versions: list[int] | None) -> Statement[VideoRow]:
    """Change what is given; `metadata` is replaced whole. No row: see `edit` in the API's dependencies."""
    return Statement(
        VideoRow,
        f"""
        update videos set name = coalesce(%(name)s, name), metadata = coalesce(%(metadata)s, metadata)
        where id = %(id)s and state <> 'deleted'
          and (%(versions)s::bigint[] is null or version = any (%(versions)s))
        returning {COLUMNS}
        """,
        id=video_id,
        name=change.name,
        metadata=change.metadata,
        versions=versions,
    )


def arrive(video_id: UUID) -> Statement[VideoRow]:
    """The bytes are there."""
    return Statement(
        VideoRow,
        f"""
        update videos set state = 'uploaded', uploaded_at = now()
        where id = %(id)s and state = 'awaiting_upload'
        returning {COLUMNS}
        """,
        id=video_id,
    )


def take_again(video_id: UUID, sampling: SamplingPolicy | None) -> Statement[VideoRow]:
    """Back to `uploaded`, for another ingest; under another policy where one is given."""
    return Statement(
        VideoRow,
        f"""
        update videos set state = 'uploaded', reason = null, progress = 0, sampling = coalesce(%(sampling)s, sampling)
        where id = %(id)s and state in ('ready', 'failed')
        returning {COLUMNS}
        """,
        id=video_id,
        sampling=sampling,
    )


def delete(video_id: UUID) -> Statement[UUID]:
    """Delete it; a trigger sees to all that it has. Again changes nothing.

    Its jobs are locked first, as by a pipeline that ends one: else each might wait for the other.
    """
    return Statement(
        UUID,
        """
        with held as materialized (
          select j.id from videos v join jobs j on j.project_id = v.project_id and j.video_id = v.id
          where v.id = %(id)s and j.state in ('queued', 'running')
          for update of j
        )
        update videos set state = 'deleted', deleted_at = coalesce(deleted_at, now()), reason = null
        where id = %(id)s and (select count(*) from held) >= 0
        returning id
        """,
        id=video_id,
    ).or_raise(_NO_VIDEO)
