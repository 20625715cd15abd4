"""Tracks: one object through time. Where it begins and ends, and how many keyframes it has, a trigger keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import LiteralString
from uuid import UUID

from argus_ray.catalog.statement import Statement
from argus_ray.errors import NotFound
from argus_ray.schemas.annotation import Track

COLUMNS: LiteralString = """
    t.id, t.project_id, t.video_id, t.number, t.label_id, t.attributes, t.start_us, t.end_us, t.keyframes, t.source, t.state,
    t.reason, t.score, t.method, t.model_id, t.job_id, t.author, t.version, t.created_at, t.updated_at
"""
NO_TRACK = NotFound("there is no such track, or it is not yours")


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
