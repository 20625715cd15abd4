"""How much a job is about, counted before it is queued, as the caller sees it; what it is cut into stands in the
migrations (first_segment).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from argus_ray.catalog.statement import Statement


@dataclass(frozen=True)
class Size:
    frames: int
    segments: int


def autolabel(project_id: UUID, target: dict[str, Any]) -> Statement[Size]:
    return Statement(
        Size,
        """
        select coalesce(sum(v.frames), 0)::bigint as frames, coalesce(sum(ceil(v.frames / 48.0)), 0)::bigint as segments
        from (select count(*) as frames from target_frames(%(project_id)s, %(target)s) group by video_id) v
        """,
        project_id=project_id,
        target=target,
    )


def track(project_id: UUID, spec: dict[str, Any]) -> Statement[Size]:
    """Times that two segments share are counted twice: they are looked at twice."""
    return Statement(
        Size,
        """
        select coalesce(sum(b.frames), 0)::bigint as frames, count(*) as segments
        from track_blocks(%(project_id)s, %(spec)s) b
        """,
        project_id=project_id,
        spec=spec,
    )


@dataclass(frozen=True)
class Correction:
    """A corrected keyframe, and how many kept frames lie between the next ones of people on both sides."""

    video_id: UUID
    frames: int


def retrack(project_id: UUID, track_id: UUID, pts_us: int) -> Statement[Correction]:
    """No row: there is no such track of the project, or no keyframe of it there that a person made or accepted."""
    return Statement(
        Correction,
        """
        with people as (
          select a.pts_us from annotations a
          where a.project_id = %(project_id)s and a.track_id = %(track_id)s and a.deleted_at is null
            and (a.source = 'human' or a.state = 'accepted')
        )
        select t.video_id, (
          select count(*) from frames f
          where f.project_id = t.project_id and f.video_id = t.video_id
            and f.pts_us > coalesce((select max(p.pts_us) from people p where p.pts_us < %(pts_us)s), f.pts_us - 1)
            and f.pts_us < coalesce((select min(p.pts_us) from people p where p.pts_us > %(pts_us)s), f.pts_us + 1)
        ) as frames
        from tracks t
        where t.project_id = %(project_id)s and t.id = %(track_id)s and t.deleted_at is null
          and exists (select from people p where p.pts_us = %(pts_us)s)
        """,
        project_id=project_id,
        track_id=track_id,
        pts_us=pts_us,
    )


def frames_there(project_id: UUID, frame_ids: Sequence[UUID]) -> Statement[int]:
    """How many of these frames there are, of ready videos."""
    return Statement(
        int,
        """
        select count(*) from frames f join videos v on v.project_id = f.project_id and v.id = f.video_id
        where f.project_id = %(project_id)s and f.id = any (%(ids)s) and v.state = 'ready'
        """,
        project_id=project_id,
        ids=list(frame_ids),
    )


def has_dataset(project_id: UUID, dataset_id: UUID) -> Statement[bool]:
    return Statement(
        bool,
        "select true from datasets where project_id = %(project_id)s and id = %(id)s and deleted_at is null",
        project_id=project_id,
        id=dataset_id,
    )


def has_dataset_version(project_id: UUID, version_id: UUID) -> Statement[bool]:
    return Statement(
        bool,
        "select true from dataset_versions where project_id = %(project_id)s and id = %(id)s",
        project_id=project_id,
        id=version_id,
    )


def knows_model(uri: str) -> Statement[bool]:
    """Whether SAM 3 weights of this name are registered."""
    return Statement(bool, "select true from models where family = 'sam3' and uri = %(uri)s", uri=uri)
