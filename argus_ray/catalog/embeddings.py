"""Vectors as a pipeline writes them: into a model's recent part, which has no index and takes them at COPY's speed.

See fold.py for how they come into the indexed part, and search.py for how both are read.
"""

from __future__ import annotations

from uuid import UUID

from argus_ray.catalog.statement import Statement


def upsert(project_id: UUID, video_id: UUID, *, model_number: int) -> Statement[None]:
    """Keep the vectors of `arriving` (see `frames.copy`) under this model.

    A vector that an earlier ingest left in the indexed part goes, so that no search sees a frame twice.
    """
    return Statement(
        type(None),
        """
        with folded as (
          delete from embeddings e using arriving a
          where e.project_id = %(project_id)s and e.video_id = %(video_id)s and e.pts_us = a.pts_us
            and e.model_number = %(model)s and e.indexed
        )
        insert into embeddings (project_id, video_id, pts_us, model_number, indexed, embedding)
        select %(project_id)s, %(video_id)s, pts_us, %(model)s, false, embedding from arriving
        on conflict (project_id, video_id, pts_us, model_number, indexed) do update set embedding = excluded.embedding
        """,
        project_id=project_id,
        video_id=video_id,
        model=model_number,
    )
