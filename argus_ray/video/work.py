"""What the decoding child is asked to do: open a video where it lies, and look at it or take its frames.

    with DecodeProcess(memory_bytes=...) as decoder:
        for item in decoder.run(work.begin, stored, policy, output, limits, 3000, timeout_s=900, stall_s=120):
            ...  # a Survey, then the frames of its first segment, then their Summary

A short video costs one call, one opening and each of its bytes once. The other segments are `resume`d, anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from argus_ray.schemas.video import SamplingPolicy
from argus_ray.video.container import Source
from argus_ray.video.decode import Kept, Summary, extract
from argus_ray.video.limits import Limits
from argus_ray.video.pictures import Output
from argus_ray.video.probe import Probe, examine
from argus_ray.video.segments import SegmentPlan, plan_segments, plan_window
from argus_ray.video.source import check, open_source

_GREEDY = {"every_frame", "scenes"}
_WHOLE_UP_TO_BYTES = 256 * 2**20  # a larger video is many segments, of which one call decodes one


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a video's bytes lie: `location` is a path or a presigned URL, `filename` what its owner calls it."""

    location: str
    filename: str
    size_bytes: int
    scratch: Path | None = None


@dataclass(frozen=True, slots=True)
class Survey:
    """What is known of a video once its index is read: the first item of `begin`."""

    probe: Probe
    segments: list[SegmentPlan]


def begin(
    stored: Stored, policy: SamplingPolicy, output: Output, limits: Limits, budget_frames: int
) -> Iterator[Survey | Kept | Summary]:
    """Survey a video, cut it into segments of about `budget_frames` decoded pictures, and go on with the first one.

    Raises the VideoError that says why there is nothing to decode.
    """
    is_greedy = policy.policy in _GREEDY and stored.size_bytes <= _WHOLE_UP_TO_BYTES
    with open_source(
        stored.location, size_bytes=stored.size_bytes, scratch=stored.scratch, share=float(is_greedy)
    ) as source:
        probe, index = examine(source, stored.filename, limits)
        segments = plan_segments(probe, index, policy, budget_frames, limits)
        check(source)
        del index  # up to hundreds of megabytes, and the plan holds what is needed of it
        yield Survey(probe, segments)
        yield from _sound(source, extract(source, probe, segments[0], policy, output, limits))


def resume(
    stored: Stored, probe: Probe, segment: SegmentPlan, policy: SamplingPolicy, output: Output, limits: Limits
) -> Iterator[Kept | Summary]:
    """The kept frames of one segment, then its Summary."""
    with open_source(
        stored.location, size_bytes=stored.size_bytes, scratch=stored.scratch, share=segment.share
    ) as source:
        yield from _sound(source, extract(source, probe, segment, policy, output, limits))


def between(
    stored: Stored, policy: SamplingPolicy, output: Output, limits: Limits, start_us: int, end_us: int
) -> Iterator[Kept | Summary]:
    """Of the pictures that the policy wants in the whole video those from `start_us` to `end_us`, both included, then
    their Summary. Windows that overlap have the same pictures in common.

    Raises the VideoError that says why there is nothing to decode.
    """
    with open_source(stored.location, size_bytes=stored.size_bytes, scratch=stored.scratch, share=0) as source:
        probe, index = examine(source, stored.filename, limits)
        window = plan_window(probe, index, policy, start_us, end_us, limits)
        check(source)
        del index
        if window is None:
            yield Summary(0, 0, 0, (), ())
            return
        yield from _sound(source, extract(source, probe, window, policy, output, limits))


def _sound(source: Source, items: Iterator[Kept | Summary]) -> Iterator[Kept | Summary]:
    """Nothing that came after a failed read: salvaging, the decoder would have put other pictures in place of the lost."""
    for item in items:
        check(source)
        yield item
