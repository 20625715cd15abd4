"""Folding: vectors move from a model's recent part, which search scans, into the one with the index.

Inserting into HNSW is some fifty times slower than COPY, so ingest never waits for it. A batch is one statement: at
every instant a search sees each vector once.
"""

from __future__ import annotations

from argus_ray.catalog.statement import Statement

ENOUGH = 20_000
"""Vectors of a recent part from which on a fold is worth a run: until then scanning them costs 20 ms a search."""


def wanted() -> Statement[bool]:
    """Whether any model's recent part has grown to `ENOUGH`."""
    return Statement(
        bool,
        """
        select exists (
          select from models m where %(enough)s <= (
            select count(*) from (
              select from embeddings e where e.model_number = m.number and not e.indexed limit %(enough)s) as counted))
        """,
        enough=ENOUGH,
    )


def batch(model_number: int, size: int) -> Statement[int]:
    """Move up to `size` vectors; how many were moved. Those that another fold or a deletion holds are left to it."""
    return Statement(
        int,
        """
        with chosen as materialized (
          select project_id, video_id, pts_us from embeddings
          where model_number = %(model)s and not indexed
          limit %(size)s for update skip locked
        ), taken as (
          delete from embeddings e using chosen c
          where e.project_id = c.project_id and e.video_id = c.video_id and e.pts_us = c.pts_us
            and e.model_number = %(model)s and not e.indexed
          returning e.project_id, e.video_id, e.pts_us, e.embedding
        ), folded as (
          insert into embeddings (project_id, video_id, pts_us, model_number, indexed, embedding)
          select project_id, video_id, pts_us, %(model)s, true, embedding from taken
          on conflict (project_id, video_id, pts_us, model_number, indexed) do update set embedding = excluded.embedding
          returning 1
        )
        select count(*) from folded
        """,
        model=model_number,
        size=size,
    )
