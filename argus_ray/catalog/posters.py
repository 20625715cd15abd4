"""Posters as the catalogue knows them: whether a video has one in Storage."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from argus_ray.catalog.statement import Statement


@dataclass(frozen=True)
class PosterMissing:
    """A video without its poster, and the times of its first frames."""

    project_id: UUID
    video_id: UUID
    pts_us: list[int]


def note(project_id: UUID, video_id: UUID) -> Statement[None]:
    """The video's poster is in Storage."""
    return Statement(
        type(None),
        """
        update videos set poster = true, warnings = jsonb_path_query_array(warnings, '$[*] ? (@.type != "no-poster")')
        where project_id = %(project_id)s and id = %(video_id)s
          and (not poster or warnings @> '[{"type": "no-poster"}]')
        """,
        project_id=project_id,
        video_id=video_id,
    )


def missing(limit: int) -> Statement[PosterMissing]:
    """Ready videos whose poster could not be stored, with the times of their first frames."""
    return Statement(
        PosterMissing,
        """
        select v.project_id, v.id as video_id, array(
          select f.pts_us from frames f where f.project_id = v.project_id and f.video_id = v.id
          order by f.pts_us limit 4) as pts_us
        from videos v
        where v.state = 'ready' and not v.poster and v.frames_kept > 0
        order by v.id limit %(limit)s
        """,
        limit=limit,
    )
