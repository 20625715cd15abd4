"""Decoding: the wanted pictures of one segment, and as few others as possible.

For each group of pictures that holds a wanted one: seek to its keyframe, feed packets up to the last wanted one, flush.
On the way, pictures that nothing wanted depends on are skipped. The frames are told by their times, never by counting.

A damaged stream is salvaged: a packet that cannot be read or decoded is left out, its time noted, and decoding goes on.
Where a wanted picture is lost, the one shown at its time instead, the last one decoded before it, stands in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import numpy.typing as npt

from argus_ray.errors import VideoTooLarge
from argus_ray.schemas.video import SamplingPolicy, VideoWarning
from argus_ray.video.container import Source, open_file
from argus_ray.video.dedupe import Judge, is_scene_change
from argus_ray.video.index import to_us
from argus_ray.video.limits import Limits
from argus_ray.video.pictures import Output, Painter
from argus_ray.video.probe import Probe
from argus_ray.video.reader import Reader
from argus_ray.video.segments import Run, SegmentPlan

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

_SKIPPABLE = {"h264", "mpeg1video", "mpeg2video", "mpeg4"}
"""Codecs whose non-reference pictures no other picture needs. Not HEVC: there they are so within a temporal layer only."""
_SCENE_SIZE = 48, 27


@dataclass(frozen=True, slots=True)
class Kept:
    """One frame worth keeping. `pixels`: uint8 [S, S, 3]; width and height are the JPEG's."""

    pts_us: int
    width: int
    height: int
    jpeg: bytes
    pixels: npt.NDArray[np.uint8]
    why: str


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
    with open_file(source) as file:
        yield from _Extraction(file, probe, plan, policy, output, limits or Limits()).run()


@dataclass
class _Extraction:
    file: BinaryIO
    probe: Probe
    plan: SegmentPlan
    policy: SamplingPolicy
    output: Output
    limits: Limits
    kept: int = 0
    dropped: int = 0
    decoded: int = 0
    damaged_us: list[tuple[int, int]] = field(default_factory=list)

    def run(self) -> Iterator[Kept | Summary]:
        self.painter = Painter(self.probe, self.output)
        self.judge = Judge(self.plan.fresh_us)
        self.seen_us: set[int] = set()
        self.last_slot: int | None = None
        self.last_us = -1
        self.before: npt.NDArray[np.uint8] | None = None
        with Reader(self.file, self.probe) as reader:
            self.reader = reader
            for run in self.plan.runs:
                wanted = self._every(run) if run.wanted_us is None else self._listed(run, run.wanted_us)
                for frame, pts_us in wanted:
                    yield from self._judged(frame, pts_us)
            self.damaged_us += reader.damaged_us
        damaged = _merged(self.damaged_us, self.probe.step_us)
        yield Summary(self.kept, self.dropped, self.decoded, damaged, (*self.plan.warnings, *_damage_warning(damaged)))

    # -- which decoded pictures are wanted -----------------------------------------------------------

    def _every(self, run: Run) -> Iterator[tuple[VideoFrame, int]]:
        """Those in the segment's range; of `scenes` those that begin a scene."""
        for frame, pts_us in self._decoded(run, None):
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
        for frame, pts_us in self._decoded(run, frozenset(wanted_us)):
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
            self.damaged_us.append((pts_us, pts_us + self.probe.step_us))

    def _judged(self, frame: VideoFrame, pts_us: int) -> Iterator[Kept]:
        picture = self.painter.paint(frame)
        if self.plan.before_us is not None and pts_us <= self.plan.before_us:
            self.judge.remember(picture.pixels)
            return
        if self.policy.dedupe and self.policy.policy != "scenes" and not self.judge.is_new(pts_us, picture.pixels):
            self.dropped += 1
            return
        self.kept += 1
        why = {"keyframes": "keyframe", "scenes": "scene"}.get(self.policy.policy, self.policy.policy)
        yield Kept(pts_us, picture.width, picture.height, picture.jpeg(), picture.pixels, why)

    # -- decoding ------------------------------------------------------------------------------------

    def _decoded(self, run: Run, wanted_us: frozenset[int] | None) -> Iterator[tuple[VideoFrame, int]]:
        """Pictures with their times, as the decoder gives them, until the run's last packet has been decoded."""
        skips = wanted_us is not None and self.probe.codec in _SKIPPABLE and not self.probe.guessed_times
        for packet in self.reader.packets(run):
            if skips and packet.pts is not None and wanted_us is not None:
                self.reader.skip_unneeded(self._us(packet.pts) not in wanted_us)
            for frame in self.reader.decode(packet):
                yield from self._timed(frame)
        for frame in self.reader.flush():
            yield from self._timed(frame)

    def _timed(self, frame: VideoFrame) -> Iterator[tuple[VideoFrame, int]]:
        if frame.width * frame.height > self.limits.max_pixels:
            raise VideoTooLarge(
                f"the picture becomes {frame.width}x{frame.height} in mid-stream and the limit is {self.limits.max_pixels} pixels: scale the video down, or ask an owner to raise max_pixels"
            )
        self.decoded += 1
        if self.decoded > self.limits.max_video_frames:
            raise VideoTooLarge(
                f"a segment gave more than {self.limits.max_video_frames} pictures: ask an owner to raise max_video_frames"
            )
        pts = frame.pts if frame.pts is not None else frame.dts
        pts_us = self._us(pts) if pts is not None else None
        if self.probe.guessed_times and (pts_us is None or pts_us <= self.last_us):
            pts_us = self.last_us + self.probe.step_us if self.decoded > 1 else 0
        if pts_us is None:
            return
        self.last_us = pts_us
        if frame.is_corrupt:
            self.damaged_us.append((pts_us, pts_us + self.probe.step_us))
        yield frame, pts_us

    def _us(self, pts: int) -> int:
        return to_us(pts, Fraction(*self.probe.time_base), self.probe.start_us)


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
