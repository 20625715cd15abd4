"""What an import reads of a project, and writes besides annotations (see arriving.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from argus_ray.catalog.statement import Statement


@dataclass(frozen=True)
class VideoFacts:
    """A video that something can be imported into. Width and height as displayed, null until it was probed."""

    id: UUID
    name: str
    width: int | None
    height: int | None


def videos(project_id: UUID) -> Statement[VideoFacts]:
    return Statement(
        VideoFacts,
        "select id, name, width, height from videos where project_id = %(project_id)s and state <> 'deleted' order by id",
        project_id=project_id,
    )


def insert_tracks(
    project_id: UUID, job_id: UUID, state: str, author: str | None, tracks: list[dict[str, Any]]
) -> Statement[None]:
    """Tracks before their keyframes: each has `id`, `video_id`, `label_id` and `attributes`. One that is there stays."""
    return Statement(
        type(None),
        """
        insert into tracks (project_id, id, video_id, label_id, attributes, source, state, job_id, author)
        select %(project_id)s, r.id, r.video_id, r.label_id, r.attributes, 'import', %(state)s, %(job_id)s, %(author)s
        from jsonb_to_recordset(%(tracks)s) as r (id uuid, video_id uuid, label_id uuid, attributes jsonb)
        order by r.video_id, r.id
        on conflict do nothing
        """,
        project_id=project_id,
        job_id=job_id,
        state=state,
        author=author,
        tracks=Jsonb(tracks),
    )


def insert_verdicts(project_id: UUID, author: str | None, verdicts: list[dict[str, Any]]) -> Statement[None]:
    """Words of a file, where nobody has said one here."""
    return Statement(
        type(None),
        """
        insert into verdicts (project_id, video_id, pts_us, label_id, verdict, author)
        select distinct on (r.video_id, r.pts_us, r.label_id) %(project_id)s, r.video_id, r.pts_us, r.label_id, r.verdict, %(author)s
        from jsonb_to_recordset(%(verdicts)s) as r (video_id uuid, pts_us bigint, label_id uuid, verdict text)
        on conflict do nothing
        """,
        project_id=project_id,
        author=author,
        verdicts=Jsonb(verdicts),
    )
