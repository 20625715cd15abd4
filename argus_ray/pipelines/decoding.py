"""What the decoding process of an extractor runs: one segment, from bytes to frames. It knows neither Ray nor SQL nor S3.

Imported by the child, so nothing heavy belongs here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from argus_ray.schemas.video import SamplingPolicy
from argus_ray.video.decode import Kept, Summary, extract
from argus_ray.video.limits import Limits
from argus_ray.video.pictures import Output
from argus_ray.video.probe import Probe, examine
from argus_ray.video.segments import SegmentPlan, plan_segments
from argus_ray.video.source import open_source


@dataclass(frozen=True)
class Work:
    """One segment of one video. `location` is a path or a presigned URL; without probe and plan it begins with these."""

    location: str
    size_bytes: int | None
    filename: str
    policy: SamplingPolicy
    output: Output
    limits: Limits
    budget_frames: int
    scratch: Path | None = None
    probe: Probe | None = None
    plan: SegmentPlan | None = None


@dataclass(frozen=True)
class Survey:
    """What a probe found, and the segments that the video is cut into. The first of them follows at once."""

    probe: Probe
    plans: list[SegmentPlan]


def frames(work: Work) -> Iterator[Survey | Kept | Summary]:
    """The survey where the video is not planned yet, then the kept frames in order of time, then one summary."""
    share = 0.0
    if work.probe and work.plan:
        share = work.plan.frames_to_decode / max(work.probe.frame_count, 1)
    with open_source(work.location, size_bytes=work.size_bytes, scratch=work.scratch, share=share) as source:
        probe, plan = work.probe, work.plan
        if probe is None or plan is None:
            probe, index = examine(source, work.filename, work.limits)
            plans = plan_segments(probe, index, work.policy, work.budget_frames, work.limits)
            del index
            yield Survey(probe, plans)
            plan = plans[0]
        yield from extract(source, probe, plan, work.policy, work.output, work.limits)
