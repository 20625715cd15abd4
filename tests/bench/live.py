"""From a completed upload to a search that finds it, through the running stack, one ten-second clip after the other.

Times begin when the client sends `complete`: the answer, the queue, the start, decoding, embedding and writing are in
them, and so are the news that the job has ended and the search itself. Cold is the first upload of a new stack, which no
run is waiting for; warm are those after it.
"""

from __future__ import annotations

import statistics
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx

from argus_ray.schemas.frame import Search, SearchFilter
from argus_ray.schemas.video import VideoCreate
from tests.bench.clips import clip
from tests.bench.measure import Line
from tests.bench.sizes import Sizes
from tests.bench.stack import Stack, running

SECONDS, SIZE, MBIT_S = 10, (1280, 720), 3.0
START_S, SEARCHABLE_S = 2, 5


@dataclass(frozen=True)
class Latency:
    start_s: float
    searchable_s: float


def lines(sizes: Sizes) -> list[Line]:
    path = clip(SECONDS, SIZE, MBIT_S)
    with running() as stack:
        cold = _uploaded(stack, path)
        warm = [_uploaded(stack, path) for _ in range(sizes.live)]
    return [
        _line("live a", "upload to start, warm", [one.start_s for one in warm], START_S),
        _line("live b", "upload to searchable, warm", [one.searchable_s for one in warm], SEARCHABLE_S),
        Line(
            "live c",
            "upload to searchable, cold",
            f"{cold.searchable_s:.1f} s, started after {cold.start_s:.1f} s",
            "the first upload of a new stack: a run has to start",
            cold.searchable_s,
            unit="s",
            smaller_is_better=True,
        ),
    ]


def _line(number: str, name: str, taken_s: list[float], target_s: float) -> Line:
    p95 = sorted(taken_s)[-(-95 * len(taken_s) // 100) - 1]
    return Line(
        number,
        f"{name}, p95",
        f"p50 {statistics.median(taken_s):.2f} s, p95 {p95:.2f} s",
        f"{len(taken_s)} clips of {SECONDS} s at {SIZE[1]}p, one after the other",
        p95,
        target_s,
        unit="s",
        smaller_is_better=True,
    )


def _uploaded(stack: Stack, path: Path) -> Latency:
    """Upload the clip as a video of its own, and look for it until it is found."""
    body = path.read_bytes() + struct.pack(">I4s16s", 24, b"free", uuid4().bytes)  # other bytes, the same pictures
    videos = stack.client.videos
    created = videos.create(stack.project.id, VideoCreate(filename=path.name, size_bytes=len(body)))
    assert created.upload is not None
    assert created.upload.url is not None, "the clip is so large that it goes in parts"
    headers = created.upload.headers
    httpx.put(created.upload.url, content=body, headers=headers, trust_env=False, timeout=60).raise_for_status()

    began, began_at = time.perf_counter(), time.time()
    job = stack.wait(videos.complete(created.video.id))
    asked = Search(text="red car", filter=SearchFilter(video_ids=[created.video.id]))
    while not stack.client.search(stack.project.id, asked).items:
        time.sleep(0.02)
    searchable_s = time.perf_counter() - began
    assert job.started_at is not None
    return Latency(job.started_at.timestamp() - began_at, searchable_s)
