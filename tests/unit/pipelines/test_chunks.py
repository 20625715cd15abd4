from __future__ import annotations

import json
from uuid import uuid4

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from argus_ray.catalog.ingest import Started
from argus_ray.errors import NotAVideo
from argus_ray.pipelines.stages.frame_extractor import _Chunks
from argus_ray.schemas.video import VideoWarning
from argus_ray.video.decode import Kept, Summary
from argus_ray.video.segments import SegmentPlan

STARTED = Started(
    segment_id=uuid4(),
    run_id=uuid4(),
    fence=7,
    attempts=1,
    number=0,
    plan=None,
    job_id=uuid4(),
    project_id=uuid4(),
    video_id=uuid4(),
    name="clip.mp4",
    source_uri=None,
    size_bytes=1,
    sha256_to_check=None,
    sampling={},
    probe=None,
)
WARNING = VideoWarning(type="damaged", detail="some of it")


def frame(pts_us: int) -> Kept:
    return Kept(pts_us=pts_us, width=8, height=6, jpeg=b"jpeg", pixels=np.zeros((4, 4, 3), np.uint8))


def gathered(count: int, chunk_frames: int):
    chunks = _Chunks(STARTED, chunk_frames)
    chunks.plan = SegmentPlan(
        ordinal=0, is_last=True, start_us=0, end_us=count, runs=(), wanted=count, frames_to_decode=count, share=1.0
    )
    full = [chunk for n in range(count) if (chunk := chunks.added(frame(n)))]
    full.append(chunks.summed_up(Summary(count, 3, count, (), (WARNING,))))
    return [chunk.row() for chunk in full]


@given(count=st.integers(0, 70), chunk_frames=st.integers(1, 33))
def test_frames_travel_once_in_order_and_the_last_chunk_says_so(count, chunk_frames):
    rows = gathered(count, chunk_frames)
    assert [int(pts) for row in rows for pts in row["pts_us"]] == list(range(count))
    assert [row["chunk"] for row in rows] == list(range(len(rows)))
    assert [row["last"] for row in rows] == [False] * (len(rows) - 1) + [True]
    assert all(0 < len(row["pts_us"]) <= chunk_frames for row in rows[:-1])
    assert [row["dropped"] for row in rows] == [0] * (len(rows) - 1) + [3]
    assert json.loads(rows[-1]["warnings"]) == [{"type": "damaged", "detail": "some of it"}]


@given(count=st.integers(1, 70), chunk_frames=st.integers(1, 33))
def test_progress_grows_and_ends_at_one(count, chunk_frames):
    told = [row["progress"] for row in gathered(count, chunk_frames)]
    assert told == sorted(told)
    assert told[-1] == 1


def test_a_segment_of_no_frames_is_one_chunk_of_none():
    (row,) = gathered(0, 32)
    assert row["last"]
    assert len(row["pts_us"]) == len(row["pixels"]) == 0


def test_a_failure_is_a_chunk_of_no_frames_with_its_reason():
    row = _Chunks(STARTED, 32).failed(NotAVideo("the file is text, not a video", found="text"))
    assert json.loads(row["error"]) == {
        "type": "not-a-video",
        "detail": "the file is text, not a video",
        "facts": {"found": "text"},
    }
    assert row["fence"] == 7
    assert len(row["pts_us"]) == 0
