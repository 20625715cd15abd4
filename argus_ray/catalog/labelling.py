"""What autolabel and track read before they ask a model: the labels of a job as they are now, and the video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from argus_ray.catalog.statement import Statement
from argus_ray.errors import NotFound


@dataclass(frozen=True)
class Asking:
    """A label to look for: each of its phrases. `threshold` is the ask's, else the label's; null: the model's."""

    label_id: UUID
    prompts: list[str]
    threshold: float | None


def asking(project_id: UUID, asks: Sequence[dict[str, Any]]) -> Statement[Asking]:
    """The labels of a job's spec, in its order."""
    return Statement(
        Asking,
        """
        select l.id as label_id, l.prompts, coalesce(a.threshold, l.threshold) as threshold
        from rows from (jsonb_to_recordset(%(asks)s::jsonb) as (label_id uuid, threshold real))
          with ordinality as a (label_id, threshold, place)
        join labels l on l.project_id = %(project_id)s and l.id = a.label_id
        order by a.place
        """,
        project_id=project_id,
        asks=list(asks),
    )


@dataclass(frozen=True)
class Filmed:
    """What there is to know of a video for whoever reads it. Width and height in pixels as displayed."""

    video_id: UUID
    name: str
    width: int
    height: int
    source_uri: str | None
    size_bytes: int | None


def filmed(project_id: UUID, video_id: UUID) -> Statement[Filmed]:
    return Statement(
        Filmed,
        """
        select id as video_id, name, width, height, source_uri, size_bytes from videos
        where project_id = %(project_id)s and id = %(video_id)s and state <> 'deleted' and width is not null
        """,
        project_id=project_id,
        video_id=video_id,
    ).or_raise(NotFound("the video was deleted meanwhile", video_id=str(video_id)))
