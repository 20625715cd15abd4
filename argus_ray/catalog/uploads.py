"""Uploads: open until they are completed, or aborted by a person, by the sweeper, or with their video.

Whoever changes one locks its video first: see ingests.py for the order.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString
from uuid import UUID

from argus_ray.catalog.statement import Statement
from argus_ray.errors import NotFound

COLUMNS: LiteralString = (
    "id, project_id, video_id, kind, state, s3_upload_id, part_size_bytes, part_count, created_at, expires_at"
)


@dataclass(frozen=True)
class UploadRow:
    """`s3_upload_id`, `part_size_bytes` and `part_count` are those of a multipart upload."""

    id: UUID
    project_id: UUID
    video_id: UUID
    kind: str
    state: str
    s3_upload_id: str | None
    part_size_bytes: int | None
    part_count: int | None
    created_at: datetime
    expires_at: datetime


def insert(
    project_id: UUID,
    video_id: UUID,
    *,
    expires_at: datetime,
    s3_upload_id: str | None = None,
    part_size_bytes: int | None = None,
    part_count: int | None = None,
) -> Statement[UploadRow]:
    """A single PUT, or with `s3_upload_id` an upload in parts."""
    return Statement(
        UploadRow,
        f"""
        insert into uploads (project_id, video_id, kind, s3_upload_id, part_size_bytes, part_count, expires_at)
        values (%(project_id)s, %(video_id)s, case when %(s3_upload_id)s::text is null then 'put' else 'multipart' end,
                %(s3_upload_id)s, %(part_size_bytes)s, %(part_count)s, %(expires_at)s)
        returning {COLUMNS}
        """,
        project_id=project_id,
        video_id=video_id,
        s3_upload_id=s3_upload_id,
        part_size_bytes=part_size_bytes,
        part_count=part_count,
        expires_at=expires_at,
    )


def get(upload_id: UUID) -> Statement[UploadRow]:
    return Statement(UploadRow, f"select {COLUMNS} from uploads where id = %(id)s", id=upload_id).or_raise(
        NotFound("there is no such upload, or it is not yours")
    )


def get_to_write(upload_id: UUID) -> Statement[UploadRow]:
    """The upload, for who may send to it. No row: it is not there, or the caller may not."""
    return Statement(
        UploadRow,
        f"select {COLUMNS} from uploads where id = %(id)s and project_id in (select my_projects('editor'))",
        id=upload_id,
    )


def open_of_video(video_id: UUID) -> Statement[UploadRow]:
    return Statement(
        UploadRow, f"select {COLUMNS} from uploads where video_id = %(id)s and state = 'open'", id=video_id
    )


def end(upload_id: UUID, state: str) -> Statement[UUID]:
    """`completed` or `aborted`; what is aborted takes its video along."""
    return Statement(
        UUID,
        "update uploads set state = %(state)s where id = %(id)s and state = 'open' returning id",
        id=upload_id,
        state=state,
    )
