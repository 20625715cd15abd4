"""Segments: one video cut into pieces of about equal decoding work.

A plan names pictures by their times, and for each group of pictures that holds a wanted one the keyframe from which to
decode. It is small, JSON, and all that a machine needs beside the file.

Cuts must not change what is kept. Whether a picture is a near-duplicate is judged against the last one kept, so the
judgement starts afresh every BLOCK wanted pictures (against the last one wanted before, which a segment that begins
there decodes again), and segments are cut at such places only. Any budget then gives the same frames.
A cut inside a long group of pictures makes both sides decode its beginning: where that costs more than a quarter of the
budget, the segment goes on (a video with a single keyframe is one segment).
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict

from argus_ray.schemas.video import SamplingPolicy, VideoWarning
from argus_ray.video.index import Index, Int64
from argus_ray.video.limits import Limits
from argus_ray.video.sampling import Choice, choose

if TYPE_CHECKING:
    from argus_ray.video.probe import Probe

BLOCK = 32
"""Wanted pictures between two fresh starts of the near-duplicate judgement."""

_REDECODE_SHARE = 0.25


class Run(BaseModel):
    """Decode from one keyframe on until the last wanted picture has been fed to the decoder."""

    model_config = ConfigDict(frozen=True)

    seek_pts: int | None
    """The keyframe's PTS in the stream's time base; None: from the beginning of the file."""
    stop_pts: int | None
    """PTS of the packet after which nothing wanted is stored; None: to the end of the file."""
    follows: bool = False
    """The keyframe is the next one after the previous run's: reading on is cheaper than seeking."""
    wanted_us: tuple[int, ...] | None = None
    """Ascending; None: every picture in the segment's range."""


class SegmentPlan(BaseModel):
    """The unit of parallel work and of retry. `start_us` <= pts_us < `end_us`, open at the ends of the video."""

    model_config = ConfigDict(frozen=True)

    ordinal: int
    is_last: bool
    start_us: int
    end_us: int
    runs: tuple[Run, ...]
    before_us: int | None = None
    """The last picture wanted before this segment: decoded again where the judgement of the first one needs it."""
    fresh_us: tuple[int, ...] = ()
    """Where the near-duplicate judgement starts afresh."""
    slot_us: int | None = None
    """`scenes` with `max_frames`: at most the first scene of each slot of this length is kept."""
    wanted: int
    frames_to_decode: int
    share: float
    """About the part of the file that is read for it, from 0 to 1."""
    warnings: tuple[VideoWarning, ...] = ()


def plan_segments(
    probe: Probe, index: Index, policy: SamplingPolicy, budget_frames: int, limits: Limits | None = None
) -> list[SegmentPlan]:
    """Cut a video so that each segment decodes about `budget_frames` pictures. At least one segment, in order of time."""
    limit = (limits or Limits()).max_frames_kept
    choice = choose(policy, index, limit)
    return _Planner(probe, index, policy, choice, budget_frames, limit).plan()


def plan_window(
    probe: Probe, index: Index, policy: SamplingPolicy, start_us: int, end_us: int, limits: Limits | None = None
) -> SegmentPlan | None:
    """Of the pictures that the policy wants in the whole video those from `start_us` to `end_us`, both included; from 0
    on also what comes before. None: there are none. Without near-duplicate removal, which would judge by what is before.
    """
    limit = (limits or Limits()).max_frames_kept
    choice = choose(policy, index, limit)
    planner = _Planner(probe, index, policy, choice, 1, limit)
    first = 0 if start_us <= 0 else int(np.searchsorted(planner.wanted_us, start_us, "left"))
    end = int(np.searchsorted(planner.wanted_us, end_us, "right"))
    return planner.window(first, end) if first < end else None


class _Planner:
    def __init__(
        self, probe: Probe, index: Index, policy: SamplingPolicy, choice: Choice, budget: int, limit: int
    ) -> None:
        self.index, self.policy, self.choice, self.budget = index, policy, choice, budget
        self.is_guessed, self.end_us = probe.guessed_times, probe.video_end_us
        places = np.flatnonzero(index.is_shown)
        times = index.us(index.pts[places])
        order = np.argsort(times, kind="stable")
        self.shown_us, self.shown_place = times[order], places[order]
        self.wanted_us = choice.wanted_us
        self.place = self.shown_place[np.searchsorted(self.shown_us, self.wanted_us)]
        self.keyframe = index.governing()[self.place]
        self.needs_before = policy.dedupe or policy.policy == "scenes"
        self.slot_us = self._slot_us(min(policy.max_frames or limit, limit))

    def plan(self) -> list[SegmentPlan]:
        borders = [0] if self.is_guessed else self._cuts()
        ends = [*borders[1:], len(self.wanted_us)]
        return [
            self._segment(n, first, end, len(borders)) for n, (first, end) in enumerate(zip(borders, ends, strict=True))
        ]

    def window(self, first: int, end: int) -> SegmentPlan:
        """Wanted pictures from place `first` to before `end`, as a segment of its own. Where times are guessed, those of
        the whole video: they are known only when it is decoded.
        """
        if self.is_guessed:
            return self._segment(0, 0, len(self.wanted_us), 1)
        return self._segment(int(first > 0), first, end, 1 + int(first > 0) + int(end < len(self.wanted_us)))

    def _cuts(self) -> list[int]:
        """Places in `wanted_us` where a segment begins."""
        keyframes = np.maximum.accumulate(self.keyframe)
        reached = np.maximum(np.append(-1, np.maximum.accumulate(self.place)[:-1]), keyframes - 1)
        decoded = np.append(0, np.cumsum(np.maximum(self.place - reached, 0)))  # up to each wanted one, without cuts
        borders = [*self._borders(), len(self.wanted_us)]
        cuts, began = [0], 0
        for first, end in pairwise(borders):
            again = self._cost(max(first - 1, 0), first + 1)
            is_full = decoded[end] - began > self.budget
            if first and is_full and decoded[first] > began and again <= self.budget * _REDECODE_SHARE:
                cuts.append(first)
                began = decoded[first]
        return cuts

    def _borders(self) -> list[int]:
        """Places where a cut changes nothing: a fresh start of the judgement, or the first picture of a slot."""
        if self.slot_us is None:
            return list(range(0, len(self.wanted_us), BLOCK))
        return [int(place) for place in np.unique(self.wanted_us // self.slot_us, return_index=True)[1]]

    def _cost(self, first: int, end: int) -> int:
        """Pictures to decode for the wanted ones from place `first` to `end`."""
        keyframes, group = np.unique(self.keyframe[first:end], return_inverse=True)
        last = np.zeros(len(keyframes), np.int64)
        np.maximum.at(last, group, self.place[first:end])
        return int((last - keyframes + 1).sum())

    def _segment(self, ordinal: int, first: int, end: int, count: int) -> SegmentPlan:
        is_last = ordinal == count - 1
        from_place = max(first - 1, 0) if self.needs_before else first
        last_us = int(self.wanted_us[end]) if not is_last else max(self.end_us, int(self.wanted_us[-1]) + 1)
        fresh = self.wanted_us[first:end:BLOCK] if self.policy.dedupe and self.policy.policy != "scenes" else ()
        cost = self._cost(from_place, end)
        return SegmentPlan(
            ordinal=ordinal,
            is_last=is_last,
            start_us=int(self.wanted_us[first]),
            end_us=last_us,
            runs=self._runs(from_place, end, is_last),
            before_us=int(self.wanted_us[first - 1]) if first else None,
            fresh_us=tuple(int(t) for t in fresh),
            slot_us=self.slot_us,
            wanted=end - first,
            frames_to_decode=cost,
            share=min(1.0, cost / max(len(self.index.pts), 1)),
            warnings=self.choice.warnings if ordinal == 0 else (),
        )

    def _runs(self, first: int, end: int, is_last: bool) -> tuple[Run, ...]:
        if self.is_guessed:
            return (Run(seek_pts=None, stop_pts=None, wanted_us=None if self.choice.is_all else _ints(self.wanted_us)),)
        if self.choice.is_all:
            stop = None if is_last else self._pts(int(self.place[first:end].max()))
            keyframe = int(self.keyframe[first:end].min()) if first else 0  # whatever a damaged beginning still holds
            return (Run(seek_pts=self._seek(keyframe), stop_pts=stop),)
        keys = np.flatnonzero(self.index.is_key)
        runs: list[Run] = []
        previous = -2
        for keyframe in np.unique(self.keyframe[first:end]):
            members = np.flatnonzero(self.keyframe[first:end] == keyframe) + first
            number = int(np.searchsorted(keys, keyframe))
            stop = self._pts(int(self.place[members].max()))
            follows = number == previous + 1
            runs.append(
                Run(
                    seek_pts=self._seek(int(keyframe)),
                    stop_pts=stop,
                    follows=follows,
                    wanted_us=_ints(self.wanted_us[members]),
                )
            )
            previous = number
        return tuple(runs)

    def _seek(self, keyframe: int) -> int | None:
        return self._pts(keyframe) if keyframe else None

    def _pts(self, place: int) -> int:
        return int(self.index.pts[place])

    def _slot_us(self, limit: int) -> int | None:
        if self.policy.policy != "scenes" or len(self.wanted_us) <= limit:
            return None
        return max(-(-self.end_us // limit), 1)


def _ints(times: Int64) -> tuple[int, ...]:
    return tuple(int(time) for time in times)
