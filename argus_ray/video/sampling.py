"""Sampling: which pictures a policy wants, as a pure function of the policy and of the times in the packet table.

A time asks for the picture *shown* at it: the last one whose `pts_us` is not later. A time before the first picture asks
for the first one, which is what a player shows. `scenes` cannot be told from times: it wants to see every picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from argus_ray.schemas.video import SamplingPolicy, VideoWarning
from argus_ray.video.index import Index, Int64


@dataclass(frozen=True)
class Choice:
    """What is wanted of one video."""

    wanted_us: Int64
    """Times of pictures, ascending; of `scenes` those that must be looked at."""
    is_all: bool
    """Every picture of the video is in it: then a range says as much as a list."""
    warnings: tuple[VideoWarning, ...] = ()


def choose(policy: SamplingPolicy, index: Index, max_frames_kept: int) -> Choice:
    """Apply a policy. `max_frames` (and the limit of the installation) thin evenly over the whole video, and say so."""
    shown = index.shown_us
    if policy.policy == "scenes":
        return Choice(shown, is_all=True)
    wanted = _wanted(policy, index, shown)
    limit = min(policy.max_frames or max_frames_kept, max_frames_kept)
    warnings: tuple[VideoWarning, ...] = ()
    if len(wanted) > limit:
        warnings = (_thinned(len(wanted), limit, policy),)
        wanted = wanted[thin(len(wanted), limit)]
    return Choice(wanted, is_all=len(wanted) == len(shown), warnings=warnings)


def thin(count: int, limit: int) -> Int64:
    """`limit` places out of `count`, spread evenly, the first among them."""
    return np.arange(limit, dtype=np.int64) * count // limit


def shown_at(shown_us: Int64, times_us: Int64) -> npt.NDArray[np.intp]:
    """Places of the pictures shown at these times; a time before the first gives the first."""
    return np.maximum(np.searchsorted(shown_us, times_us, "right") - 1, 0)


def _wanted(policy: SamplingPolicy, index: Index, shown: Int64) -> Int64:
    if policy.policy == "every_frame":
        return shown
    keys = np.unique(index.us(index.pts[index.is_shown & index.is_key]))
    if policy.policy == "keyframes":
        return keys if len(keys) else shown[:1]
    times = (
        _grid(policy.rate, shown, index.end_us)
        if policy.policy == "fps"
        else _spread(policy.count or 1, shown, index.end_us)
    )
    pictures = shown[shown_at(shown, times)]
    if policy.tolerance_s is not None and len(keys):
        after = np.minimum(np.searchsorted(keys, times), len(keys) - 1)
        before = np.maximum(after - 1, 0)
        nearest = np.where(np.abs(keys[before] - times) <= np.abs(keys[after] - times), keys[before], keys[after])
        pictures = np.where(np.abs(nearest - times) <= policy.tolerance_s * 1e6, nearest, pictures)
    return np.unique(pictures)


def _grid(rate: float, shown: Int64, end_us: int) -> Int64:
    """Times k/rate from 0 until the last picture ends; only the first of those that fall on one picture.

    Counting per picture instead of listing the grid keeps 240 a second over a day of slides small: the number of times
    round(k 1e6/rate) that are smaller than x is ceil((x - 1/2) rate/1e6).
    """
    borders = np.append(np.append(0, shown[1:]), max(end_us, int(shown[-1]) + 1))
    before = np.maximum(np.ceil((borders - 0.5) * (rate / 1e6)), 0)
    first = before[:-1][before[1:] > before[:-1]]
    return np.round(first * (1e6 / rate)).astype(np.int64)


def _spread(count: int, shown: Int64, end_us: int) -> Int64:
    """The middles of `count` equal parts of the time in which there is a picture."""
    start, length = int(shown[0]), max(end_us - int(shown[0]), 1)
    return np.unique(start + (2 * np.arange(count, dtype=np.int64) + 1) * length // (2 * count))


def _thinned(count: int, limit: int, policy: SamplingPolicy) -> VideoWarning:
    whose = "max_frames" if policy.max_frames == limit else "the installation's limit ARGUS_MAX_FRAMES_KEPT"
    return VideoWarning(
        type="thinned",
        detail=f"the policy {policy.policy} wants {count} frames; {limit} were taken, spread evenly, because of {whose}",
    )
