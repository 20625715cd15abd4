"""How much of everything the benchmarks take: whole, or a little of it, to see that they work."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """`rounds` is for what takes seconds, `long_rounds` for what takes minutes. Both sides of a line have the same."""

    rounds: int = 5
    long_rounds: int = 3
    # frames
    clip_s: int = 60
    # ingest: a clip of 30 s at 720p is a CPU-second of extraction, and a little more
    backlog: int = 40
    backlog_clip_s: int = 30
    read_videos: int = 8
    # database
    written: int = 2_000
    searched: int = 100_000
    clusters: int = 2_000
    queries: int = 100
    tenant: int = 300
    queued: int = 1_500
    latencies: int = 50
    # annotations
    annotations: int = 1_000_000
    imported: int = 10_000
    exported: int = 100_000
    # the running stack
    live: int = 12
    gallery: int = 320
    captions: int = 120
    # concepts
    labelled: int = 240
    # masks as run lengths
    masks: int = 100


FULL = Sizes()
QUICK = Sizes(
    rounds=1,
    long_rounds=1,
    clip_s=10,
    backlog=10,
    backlog_clip_s=6,
    read_videos=1,
    written=200,
    searched=3_000,
    clusters=100,
    queries=10,
    tenant=50,
    queued=100,
    latencies=5,
    annotations=10_000,
    imported=500,
    exported=10_000,
    live=2,
    gallery=8,
    captions=8,
    labelled=48,
    masks=5,
)
