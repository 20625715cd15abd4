"""What travels between the stages of ingest: flat rows, each a block of its own.

N is the number of frames of a chunk and may be 0; S is the side of the model's input, D the length of its vectors.
Ids travel as text. `fence` proves who holds the segment; `error` is a reason as JSON, or empty.
"""

from __future__ import annotations

from typing import Literal, TypedDict

import numpy as np
from numpy.typing import NDArray


class ClaimedSegment(TypedDict):
    """What the reader says: this run holds this segment under this fence."""

    segment_id: str
    run_id: str
    fence: int


class Chunk(ClaimedSegment):
    """A few dozen frames of one segment. Chunks count from 0; `last` ends the segment.

    A chunk with `error` has no frames and fails its segment, at once if `is_final`, else after its attempts. `progress` is
    how much of the segment is done with this chunk; `dropped`, `warnings` (a JSON list) and `has_poster` are what is new.
    """

    job_id: str
    project_id: str
    video_id: str
    segment: int
    chunk: int
    last: bool
    progress: float
    dropped: int
    warnings: str
    has_poster: bool
    error: str
    is_final: bool
    why: str
    pts_us: NDArray[np.int64]  # [N]
    width: NDArray[np.int32]  # [N], of the JPEG
    height: NDArray[np.int32]  # [N]
    size_bytes: NDArray[np.int32]  # [N]


class FrameChunk(Chunk):
    """From the extractor: the JPEGs are in S3 already."""

    pixels: NDArray[np.uint8]  # [N, S, S, 3], RGB


class EmbeddedChunk(Chunk):
    """From the embedder."""

    vectors: NDArray[np.float16]  # [N, D], unit length


class Written(TypedDict):
    """What became of a chunk: `kept`, `done` with its segment, `ready` or `failed` with its video, `lost` (another run
    holds the segment), or `again` (the segment is queued again).
    """

    job_id: str
    outcome: Literal["kept", "done", "ready", "failed", "lost", "again"]
    frames: int
    dropped: int


class AnsweredChunk(ClaimedSegment):
    """What a model answers on some frames of one segment. `asked` and `found` are JSON lists of what arriving.py calls so;
    `frames` were read, which took the model's device `compute_s`.
    """

    job_id: str
    project_id: str
    kind: str
    chunk: int
    last: bool
    progress: float
    frames: int
    labels: int
    compute_s: float
    warnings: str
    asked: str
    found: str


class FollowedSegment(AnsweredChunk):
    """A segment's answers with the tracklets that `found` are keyframes of, as JSON; `until_us` is the last time looked at.

    Where one track was followed again it is `track_id`, else empty; `replaced_us` are the times of the keyframes that go,
    and `people_us` of those of people, as they were then: JSON lists.
    """

    video_id: str
    segment: int
    tracks: str
    until_us: int
    track_id: str
    replaced_us: str
    people_us: str


class Answered(TypedDict):
    """What became of a chunk: `kept`, `done` with its segment, `succeeded` or `failed` with its job, `lost` (another run
    holds the segment, or the job was cancelled), `again` (the segment is queued again), `stopped` (the month is used up).
    """

    job_id: str
    outcome: Literal["kept", "done", "succeeded", "failed", "lost", "again", "stopped"]
    frames: int
    found: int
    compute_s: float
