"""Re-tracking: a person has corrected one keyframe of a track, and the model follows the object from there both ways.

It goes as far as the next keyframe that is a person's word, drawn or accepted, and neither replaces nor passes it: what
people have said stays, and what the model said between is replaced by what it says now. Where no such keyframe comes,
it goes to the end of the video, or as far as it may.

    ──P────m────m────C────m────m────P──      C: corrected   P: a person's   m: the model's
      │◀───backward──┤──forward───▶│

Whether the object is seen at a time is told by keyframes alone, each of which holds until the next: so where the model
has lost it, an `outside` keyframe says so, once, at the first time at which it is not found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from argus_ray.errors import InvalidRequest

Shape = TypeVar("Shape")


@dataclass(frozen=True, slots=True)
class Keyframe:
    """`is_human`: drawn or corrected by a person, or accepted by one. `outside`: not to be seen from here on."""

    pts_us: int
    is_human: bool
    outside: bool = False


@dataclass(frozen=True, slots=True)
class Window:
    """Where to track, from the corrected keyframe at `from_us`, which is not replaced, to `to_us`."""

    from_us: int
    to_us: int
    direction: Literal["forward", "backward"]
    meets_human: bool
    """At `to_us` is a person's keyframe, which stays. Otherwise `to_us` itself belongs to the window."""
    is_seen_before: bool
    """By the keyframe before the window's earliest time, the object is in the picture."""
    is_gone: bool = False
    """The corrected keyframe says `outside`: nothing is to be tracked, and the model's keyframes go."""

    def __contains__(self, pts_us: int) -> bool:
        low, high = min(self.from_us, self.to_us), max(self.from_us, self.to_us)
        return low < pts_us < high or (pts_us == self.to_us and not self.meets_human)


def windows(
    keyframes: Sequence[Keyframe], corrected_us: int, first_us: int, last_us: int, reach_us: int | None = None
) -> tuple[Window, ...]:
    """What a correction at `corrected_us` re-tracks, backward first, of a video sampled from `first_us` to `last_us`.

    `reach_us` bounds each way. A way of no length is left out; a keyframe that ends the track changes nothing before it.
    Raises InvalidRequest where there is no keyframe of a person at that time.
    """
    corrected = next((one for one in keyframes if one.pts_us == corrected_us and one.is_human), None)
    if corrected is None:
        raise InvalidRequest(
            f"the track has no corrected keyframe at {corrected_us} µs: correct one, then track again from it",
            pts_us=corrected_us,
        )
    human = [one for one in keyframes if one.is_human]
    before = max((one for one in human if one.pts_us < corrected_us), key=_time, default=None)
    after = min((one for one in human if one.pts_us > corrected_us), key=_time, default=None)
    low_us = first_us if reach_us is None else max(first_us, corrected_us - reach_us)
    high_us = last_us if reach_us is None else min(last_us, corrected_us + reach_us)
    meets_before = before is not None and before.pts_us >= low_us
    meets_after = after is not None and after.pts_us <= high_us
    backward = Window(
        from_us=corrected_us,
        to_us=before.pts_us if before is not None and meets_before else low_us,
        direction="backward",
        meets_human=meets_before,
        is_seen_before=_is_seen(keyframes, before.pts_us if before is not None and meets_before else low_us - 1),
    )
    forward = Window(
        from_us=corrected_us,
        to_us=after.pts_us if after is not None and meets_after else high_us,
        direction="forward",
        meets_human=meets_after,
        is_seen_before=not corrected.outside,
        is_gone=corrected.outside,
    )
    ways = (forward,) if corrected.outside else (backward, forward)
    return tuple(way for way in ways if way.from_us != way.to_us)


def replaced(window: Window, keyframes: Sequence[Keyframe]) -> list[int]:
    """Times of the model's keyframes that go."""
    return sorted(one.pts_us for one in keyframes if one.pts_us in window and not one.is_human)


def keyframes_of(
    window: Window, sampled_us: Sequence[int], found: Mapping[int, Shape]
) -> list[tuple[int, Shape | None]]:
    """What takes their place: (time, shape), ascending, None for `outside`.

    `sampled_us` are the times at which the model has looked, `found` what it has found; of both, what is beyond the
    window is left out.
    """
    is_seen = window.is_seen_before
    result: list[tuple[int, Shape | None]] = []
    for pts_us in sorted(sampled_us):
        if pts_us not in window or window.is_gone:
            continue
        if pts_us in found:
            result.append((pts_us, found[pts_us]))
        elif is_seen:
            result.append((pts_us, None))
        is_seen = pts_us in found
    return result


def _is_seen(keyframes: Sequence[Keyframe], pts_us: int) -> bool:
    last = max((one for one in keyframes if one.pts_us <= pts_us), key=_time, default=None)
    return last is not None and not last.outside


def _time(keyframe: Keyframe) -> int:
    return keyframe.pts_us
