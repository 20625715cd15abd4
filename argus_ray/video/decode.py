"""Extraction: the wanted pictures of one segment, the new ones among them as JPEGs and model pixels.

Pictures are told by their times, never by counting. A decoder gives pictures in order of time; for each wanted time the one
shown at it is taken. In a sound file that is the picture of that very time. In a damaged one a wanted picture may be lost:
then the last one decoded before it stands in, and the time is noted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from argus_ray.schemas.video import SamplingPolicy, VideoWarning
from argus_ray.video.container import Source, open_file
from argus_ray.video.decoders import Decoder, PyavDecoder
from argus_ray.video.dedupe import Judge, is_scene_change
from argus_ray.video.limits import Limits
from argus_ray.video.pictures import Output, Painter
from argus_ray.video.probe import Probe
from argus_ray.video.segments import Run, SegmentPlan

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

_SCENE_SIZE = 48, 27


@dataclass(frozen=True, slots=True)
class Kept:
    """One frame worth keeping. `pixels`: uint8 [S, S, 3]; width and height are the JPEG's."""

    pts_us: int
    width: int
    height: int
    jpeg: bytes
    pixels: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Summary:
    """How a segment went; the last item of `extract`."""

    kept: int
    dropped: int
    """Near-duplicates."""
    decoded: int
    """Pictures that came out of the decoder."""
    damaged_us: tuple[tuple[int, int], ...]
    warnings: tuple[VideoWarning, ...]


def extract(
    source: Source,
    probe: Probe,
    plan: SegmentPlan,
    policy: SamplingPolicy,
    output: Output,
    limits: Limits | None = None,
) -> Iterator[Kept | Summary]:
    """The kept frames of a segment in order of time, then one Summary.

    Raises VideoTooLarge where the stream turns out larger than `limits`; damage is no error here.
    """
    limits = limits or Limits()
    with open_file(source) as file, PyavDecoder(file, probe, limits) as decoder:
        yield from extract_with(decoder, probe, plan, policy, output)


def extract_with(
    decoder: Decoder, probe: Probe, plan: SegmentPlan, policy: SamplingPolicy, output: Output
) -> Iterator[Kept | Summary]:
    """The same by a decoder of one's choice."""
    return _Extraction(decoder, probe, plan, policy, output).run()


class _Extraction:
    """Which pictures of one segment are wanted, and which of those are new."""

    def __init__(
        self, decoder: Decoder, probe: Probe, plan: SegmentPlan, policy: SamplingPolicy, output: Output
    ) -> None:
        self.decoder, self.probe, self.plan, self.policy = decoder, probe, plan, policy
        self.painter = Painter(probe, output)
        self.judge = Judge(plan.fresh_us)
        self.kept = self.dropped = 0
        self.seen_us: set[int] = set()
        self.missed_us: list[tuple[int, int]] = []
        self.last_slot: int | None = None
        self.before: npt.NDArray[np.uint8] | None = None

    def run(self) -> Iterator[Kept | Summary]:
        for run in self.plan.runs:
            wanted = self._every(run) if run.wanted_us is None else self._listed(run, run.wanted_us)
            for frame, pts_us in wanted:
                yield from self._judged(frame, pts_us)
        damaged = _merged(self.missed_us + self.decoder.damaged_us, self.probe.step_us)
        warnings = (*self.plan.warnings, *_damage_warning(damaged))
        yield Summary(self.kept, self.dropped, self.decoder.decoded, damaged, warnings)

    # -- which decoded pictures are wanted -----------------------------------------------------------

    def _every(self, run: Run) -> Iterator[tuple[VideoFrame, int]]:
        """Those in the segment's range; of `scenes` those that begin a scene."""
        for frame, pts_us in self.decoder.pictures(run):
            is_mine = (self.plan.ordinal == 0 or pts_us >= self.plan.start_us) and (
                self.plan.is_last or pts_us < self.plan.end_us
            )
            if pts_us in self.seen_us:
                continue
            self.seen_us.add(pts_us)
            if self.policy.policy == "scenes":
                if self._begins_scene(frame) and is_mine and self._has_place(pts_us):
                    yield frame, pts_us
            elif is_mine or pts_us == self.plan.before_us:
                yield frame, pts_us

    def _begins_scene(self, frame: VideoFrame) -> bool:
        picture = self.painter.thumbnail(frame, *_SCENE_SIZE)
        before, self.before = self.before, picture
        return before is None or is_scene_change(picture, before)

    def _has_place(self, pts_us: int) -> bool:
        if self.plan.slot_us is None:
            return True
        slot = pts_us // self.plan.slot_us
        is_free = slot != self.last_slot
        self.last_slot = slot
        return is_free

    def _listed(self, run: Run, wanted_us: tuple[int, ...]) -> Iterator[tuple[VideoFrame, int]]:
        """For each wanted time the picture shown at it, once."""
        todo = list(reversed(wanted_us))
        guard_us = (
            self.plan.before_us if self.plan.before_us is not None and wanted_us[0] > self.plan.before_us else None
        )
        held: tuple[VideoFrame, int] | None = None
        for frame, pts_us in self.decoder.pictures(run):
            if held is not None and pts_us <= held[1]:
                continue
            missed = False
            while todo and todo[-1] < pts_us:
                missed = True
                guard_us, asked = (todo.pop(), guard_us)
                if held is not None and (asked is None or held[1] > asked):
                    yield held
                    held = None
            if missed:
                self._note_missed(guard_us)
            if todo and todo[-1] == pts_us:
                guard_us = todo.pop()
                yield frame, pts_us
            held = frame, pts_us
        if todo:
            self._note_missed(todo[-1])
            if held is not None and (guard_us is None or held[1] > guard_us):
                yield held

    def _note_missed(self, pts_us: int | None) -> None:
        if pts_us is not None and not self.probe.guessed_times:
            self.missed_us.append((pts_us, pts_us + self.probe.step_us))

    def _judged(self, frame: VideoFrame, pts_us: int) -> Iterator[Kept]:
        picture = self.painter.paint(frame)
        if self.plan.before_us is not None and pts_us <= self.plan.before_us:
            self.judge.remember(picture.pixels)
            return
        if self.policy.dedupe and self.policy.policy != "scenes" and not self.judge.is_new(pts_us, picture.pixels):
            self.dropped += 1
            return
        self.kept += 1
        yield Kept(pts_us, picture.width, picture.height, picture.jpeg(), picture.pixels)


def _merged(ranges: list[tuple[int, int]], gap_us: int) -> tuple[tuple[int, int], ...]:
    """Ascending, those that touch or nearly touch joined."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if merged and start <= merged[-1][1] + gap_us:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((start, end))
    return tuple(merged)


def _damage_warning(damaged_us: tuple[tuple[int, int], ...]) -> tuple[VideoWarning, ...]:
    if not damaged_us:
        return ()
    seconds = sum(end - start for start, end in damaged_us) / 1e6
    return (
        VideoWarning(
            type="damaged",
            detail=f"{seconds:.1f} s of the video are damaged; what could be decoded was kept",
            ranges_us=list(damaged_us),
        ),
    )
