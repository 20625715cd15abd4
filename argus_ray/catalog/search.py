"""The nearest frames to a vector, as the caller may see them.

A vector lies in its model's recent part, which has no index and is scanned exactly, or in the indexed one, where an
HNSW index on the signs of the vector proposes candidates that are ranked again by the exact cosine. A project, or a
filter's part of one, with at most `EXACT_UP_TO` vectors is scanned whole: exact search costs under a microsecond a row,
and an index that has to skip other projects' rows costs more and finds less.

Vectors are of unit length, so that their inner product is the cosine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from psycopg import sql

from argus_ray.catalog.statement import Statement
from argus_ray.errors import NotFound
from argus_ray.schemas.frame import SearchFilter
from argus_ray.schemas.model import EmbeddingModel

EXACT_UP_TO = 20_000
"""Vectors up to which a search is exact: about 20 ms of scanning."""

POOL = 1000
"""The best frames from which an exact answer is made; moments and pages are cut from these."""

CANDIDATES = 400
"""What the index proposes before the exact ranking, and the pool of such an answer. The signs of 768 numbers find 0.99
of the ten nearest among 400 candidates, 0.97 among 200; each hundred costs about a millisecond."""


@dataclass(frozen=True)
class Neighbour:
    """A frame and the cosine of its vector with the query's."""

    video_id: UUID
    pts_us: int
    score: float


_FILTERED = sql.SQL(
    """
    e.project_id = %(project_id)s and e.model_number = %(model)s
    and v.state = 'ready'
    and (%(video_ids)s::uuid[] is null or e.video_id = any(%(video_ids)s))
    and (%(from_us)s::bigint is null or e.pts_us >= %(from_us)s)
    and (%(to_us)s::bigint is null or e.pts_us < %(to_us)s)
    and (%(metadata)s::jsonb is null or v.metadata @> %(metadata)s)
    and (%(uploaded_after)s::timestamptz is null or v.uploaded_at >= %(uploaded_after)s)
    and (%(uploaded_before)s::timestamptz is null or v.uploaded_at < %(uploaded_before)s)
    and (%(why)s::text[] is null or exists (
      select from frames f where f.project_id = e.project_id and f.video_id = e.video_id and f.pts_us = e.pts_us
        and f.why = any(%(why)s)))
    """
)

_FROM = sql.SQL("embeddings e join videos v on v.project_id = e.project_id and v.id = e.video_id")


def _parameters(model: EmbeddingModel, project_id: UUID, chosen: SearchFilter) -> dict[str, object]:
    return {
        "project_id": project_id,
        "model": model.number,
        "video_ids": chosen.video_ids,
        "from_us": chosen.from_us,
        "to_us": chosen.to_us,
        "metadata": chosen.metadata or None,
        "uploaded_after": chosen.uploaded_after,
        "uploaded_before": chosen.uploaded_before,
        "why": chosen.why,
    }


def size(model: EmbeddingModel, project_id: UUID, chosen: SearchFilter) -> Statement[int]:
    """How many vectors the filter leaves, counted no further than decides between scan and index."""
    return Statement(
        int,
        sql.SQL("select count(*) from (select from {source} where {filtered} limit {most}) as counted").format(
            source=_FROM, filtered=_FILTERED, most=sql.Literal(EXACT_UP_TO + 1)
        ),
        **_parameters(model, project_id, chosen),
    )


def exact(
    model: EmbeddingModel, project_id: UUID, chosen: SearchFilter, vector: Sequence[float]
) -> Statement[Neighbour]:
    """The `POOL` nearest, by scanning all. `vector` has the model's dim and unit length."""
    return Statement(
        Neighbour,
        sql.SQL(
            """
            select e.video_id, e.pts_us, -(e.embedding <#> %(vector)s::halfvec) as score
            from {source} where {filtered}
            order by score desc, e.video_id, e.pts_us limit {pool}
            """
        ).format(source=_FROM, filtered=_FILTERED, pool=sql.Literal(POOL)),
        vector=literal(vector),
        **_parameters(model, project_id, chosen),
    )


def widen_index_scan() -> Statement[str]:
    """For the rest of the transaction: look at all candidates, and go on where a filter leaves too few of them."""
    return Statement(
        str,
        """
        select set_config('hnsw.ef_search', %(candidates)s, true),
               set_config('hnsw.iterative_scan', 'relaxed_order', true),
               set_config('hnsw.max_scan_tuples', '200000', true)
        """,
        candidates=str(CANDIDATES),
    )


def indexed(
    model: EmbeddingModel, project_id: UUID, chosen: SearchFilter, vector: Sequence[float]
) -> Statement[Neighbour]:
    """The `CANDIDATES` nearest: the index's candidates ranked exactly, and the recent part scanned. Run it after
    `widen_index_scan`. `vector` has the model's dim and unit length.
    """
    return Statement(
        Neighbour,
        sql.SQL(
            """
            with candidates as materialized (
              select e.video_id, e.pts_us, e.embedding
              from {source} where {filtered} and e.indexed
              order by binary_quantize(e.embedding)::bit({dim}) <~> binary_quantize(%(vector)s::halfvec)::bit({dim})
              limit {candidates}
            ), recent as (
              select e.video_id, e.pts_us, -(e.embedding <#> %(vector)s::halfvec) as score
              from {source} where {filtered} and not e.indexed
              order by score desc limit {candidates}
            )
            select distinct on (score, video_id, pts_us) video_id, pts_us, score from (
              select video_id, pts_us, -(embedding <#> %(vector)s::halfvec) as score from candidates
              union all
              select video_id, pts_us, score from recent
            ) as both_parts
            order by score desc, video_id, pts_us limit {candidates}
            """
        ).format(source=_FROM, filtered=_FILTERED, dim=sql.Literal(model.dim), candidates=sql.Literal(CANDIDATES)),
        vector=literal(vector),
        **_parameters(model, project_id, chosen),
    )


def vector_of(model: EmbeddingModel, project_id: UUID, frame_id: UUID) -> Statement[str]:
    """A frame's vector as pgvector prints it: `[0.1,0.2,…]`."""
    return Statement(
        str,
        """
        select e.embedding::text
        from frames f
        join videos v on v.project_id = f.project_id and v.id = f.video_id and v.state = 'ready'
        join embeddings e on e.project_id = f.project_id and e.video_id = f.video_id and e.pts_us = f.pts_us
        where f.project_id = %(project_id)s and f.id = %(frame_id)s and e.model_number = %(model)s
        limit 1
        """,
        project_id=project_id,
        frame_id=frame_id,
        model=model.number,
    ).or_raise(NotFound("there is no such frame in this project, or the model in use has not embedded it"))


@dataclass(frozen=True)
class Shown:
    """What an answer says of a hit's frame and video."""

    video_id: UUID
    pts_us: int
    frame_id: UUID
    video_name: str
    source_uri: str | None


def shown(project_id: UUID, neighbours: Sequence[Neighbour]) -> Statement[Shown]:
    """The frames and videos of these hits, in no order."""
    return Statement(
        Shown,
        """
        select f.video_id, f.pts_us, f.id as frame_id, v.name as video_name, v.source_uri
        from unnest(%(video_ids)s::uuid[], %(pts)s::bigint[]) as hit (video_id, pts_us)
        join frames f on f.project_id = %(project_id)s and f.video_id = hit.video_id and f.pts_us = hit.pts_us
        join videos v on v.project_id = f.project_id and v.id = f.video_id
        """,
        project_id=project_id,
        video_ids=[neighbour.video_id for neighbour in neighbours],
        pts=[neighbour.pts_us for neighbour in neighbours],
    )


def literal(vector: Sequence[float]) -> str:
    """One vector as pgvector reads it. Vectors of rows never travel as text, see `embeddings`; a query's only one may."""
    return "[" + ",".join(f"{value:.7g}" for value in vector) + "]"
