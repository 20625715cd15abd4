"""Frames as a person sees them, and as a pipeline writes them: a chunk with its vectors in one binary COPY.

Printing and parsing numbers is the whole cost of loading vectors, so they travel as the bytes that Postgres keeps: one
numpy record array is the COPY's payload. It goes into a temporary table, from which frames and vectors are upserted
(36 times the rate of inserting text literals).
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID, uuid5

import numpy as np
from numpy.typing import NDArray

from argus_ray.catalog.statement import Statement, Tx, translated
from argus_ray.errors import NotFound


@dataclass(frozen=True)
class Arriving:
    """The frames of one chunk, in no order. Of pictures with the same `pts_us` the first is kept.

    `pts_us` int64 [N]; `width`, `height`, `size_bytes` int32 [N] of the JPEG; `vectors` [N, D], unit length.
    """

    pts_us: NDArray[np.int64]
    width: NDArray[np.int32]
    height: NDArray[np.int32]
    size_bytes: NDArray[np.int32]
    vectors: NDArray[np.floating]


@dataclass(frozen=True)
class FrameRow:
    """A picture kept of a ready video; width and height in pixels of the JPEG."""

    id: UUID
    project_id: UUID
    video_id: UUID
    pts_us: int
    width: int
    height: int
    why: str


def page(
    project_id: UUID,
    video_id: UUID,
    *,
    from_us: int | None = None,
    to_us: int | None = None,
    after: int | None,
    rows: int,
) -> Statement[FrameRow]:
    """The frames of a ready video by time, `to_us` not included; those of another are not shown."""
    return Statement(
        FrameRow,
        """
        select id, project_id, video_id, pts_us, width, height, why from frames
        where project_id = %(project_id)s and video_id = %(video_id)s
          and exists (select from videos v
                      where v.project_id = %(project_id)s and v.id = %(video_id)s and v.state = 'ready')
          and (%(from_us)s::bigint is null or pts_us >= %(from_us)s)
          and (%(to_us)s::bigint is null or pts_us < %(to_us)s)
          and (%(after)s::bigint is null or pts_us > %(after)s)
        order by pts_us limit %(rows)s
        """,
        project_id=project_id,
        video_id=video_id,
        from_us=from_us,
        to_us=to_us,
        after=after,
        rows=rows,
    )


def times(project_id: UUID, video_id: UUID, from_us: int, to_us: int) -> Statement[int]:
    """When a video has frames, from `from_us` to `to_us`, both included."""
    return Statement(
        int,
        """
        select pts_us from frames
        where project_id = %(project_id)s and video_id = %(video_id)s and pts_us between %(from_us)s and %(to_us)s
        order by pts_us
        """,
        project_id=project_id,
        video_id=video_id,
        from_us=from_us,
        to_us=to_us,
    )


def get(frame_id: UUID) -> Statement[FrameRow]:
    return Statement(
        FrameRow,
        """
        select f.id, f.project_id, f.video_id, f.pts_us, f.width, f.height, f.why
        from frames f join videos v on v.project_id = f.project_id and v.id = f.video_id
        where f.id = %(id)s and v.state = 'ready'
        """,
        id=frame_id,
    ).or_raise(NotFound("there is no such frame, or it is not yours"))


def frame_id(video_id: UUID, pts_us: int) -> UUID:
    """A frame's id is a function of its name, so that writing it twice is the same as once."""
    return uuid5(video_id, str(pts_us))


def copy(tx: Tx, video_id: UUID, frames: Arriving) -> None:
    """Load the frames into the transaction's table `arriving`, for `upsert` and `embeddings.upsert`."""
    with translated(), tx.connection.cursor() as cursor:
        cursor.execute(
            """
            create temp table arriving (
              pts_us bigint, id uuid, width integer, height integer, size_bytes integer, embedding halfvec
            ) on commit drop
            """
        )
        with cursor.copy("copy arriving from stdin (format binary)") as out:
            out.write(_payload(video_id, frames))


def upsert(project_id: UUID, video_id: UUID, *, job_id: UUID, segment_number: int, why: str) -> Statement[None]:
    """Name the frames of `arriving` for this job."""
    return Statement(
        type(None),
        """
        insert into frames (project_id, video_id, pts_us, id, job_id, segment_number, width, height, size_bytes, why)
        select %(project_id)s, %(video_id)s, pts_us, id, %(job_id)s, %(segment_number)s, width, height, size_bytes, %(why)s
        from arriving
        on conflict (project_id, video_id, pts_us) do update set
          job_id = excluded.job_id, segment_number = excluded.segment_number, width = excluded.width,
          height = excluded.height, size_bytes = excluded.size_bytes, why = excluded.why
        """,
        project_id=project_id,
        video_id=video_id,
        job_id=job_id,
        segment_number=segment_number,
        why=why,
    )


def _payload(video_id: UUID, frames: Arriving) -> bytes:
    """PostgreSQL's binary COPY format: header, a record a row (each field after its length), trailer; big-endian.

    A halfvec is its dimension, a zero and its numbers (https://github.com/pgvector/pgvector, halfvec_send).
    """
    _, first = np.unique(frames.pts_us, return_index=True)
    dim = frames.vectors.shape[1]
    fields: list[tuple[str, str, int]] = [
        ("pts_us", ">i8", 8),
        ("id", "S16", 16),
        ("width", ">i4", 4),
        ("height", ">i4", 4),
        ("size_bytes", ">i4", 4),
    ]
    layout: list[tuple[str, str] | tuple[str, str, tuple[int]]] = [("fields", ">i2")]
    for name, kind, _ in fields:
        layout += [(f"{name}_length", ">i4"), (name, kind)]
    layout += [("length", ">i4"), ("dim", ">i2"), ("zero", ">i2"), ("vector", ">f2", (dim,))]
    rows = np.zeros(len(first), np.dtype(layout))
    rows["fields"] = len(fields) + 1
    for name, _, length in fields:
        rows[f"{name}_length"] = length
    rows["pts_us"] = frames.pts_us[first]
    rows["id"] = [frame_id(video_id, int(pts)).bytes for pts in frames.pts_us[first]]
    rows["width"], rows["height"] = frames.width[first], frames.height[first]
    rows["size_bytes"] = frames.size_bytes[first]
    rows["length"], rows["dim"], rows["vector"] = 4 + 2 * dim, dim, frames.vectors[first]
    return b"PGCOPY\n\xff\r\n\0" + bytes(8) + rows.tobytes() + b"\xff\xff"
