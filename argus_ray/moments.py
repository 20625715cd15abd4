"""Moments: neighbouring hits of a video merged, so that one static shot does not fill a page.

The scores of a video's hits over time are a curve. A moment grows from its highest point to both sides while the next
hit is near in time and its score is above half of the way from the background (a low score of all hits) to the peak, as
one measures the width of a peak in a spectrum. Its slopes belong to it: what goes on falling beside it is no moment of
its own, until the curve rises again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
import numpy.typing as npt

from argus_ray.catalog.search import Neighbour

BACKGROUND_QUANTILE = 0.1


@dataclass(frozen=True)
class Moment:
    """From `start_us` to `end_us`, the times of its first and last hit; `best` is the highest of its `frames` hits."""

    best: Neighbour
    start_us: int
    end_us: int
    frames: int


def moments(neighbours: Sequence[Neighbour], gap_us: int) -> list[Moment]:
    """Hits merged into moments, best first; hits further than `gap_us` from their neighbour are apart."""
    if not neighbours:
        return []
    background = float(np.quantile([hit.score for hit in neighbours], BACKGROUND_QUANTILE))
    found = [moment for hits in _by_video(neighbours).values() for moment in _of_one_video(hits, background, gap_us)]
    return sorted(found, key=lambda moment: rank(moment.best))


def best_of_videos(neighbours: Sequence[Neighbour], gap_us: int) -> list[Moment]:
    """Each video's best moment, best first."""
    first: dict[UUID, Moment] = {}
    for moment in moments(neighbours, gap_us):
        first.setdefault(moment.best.video_id, moment)
    return list(first.values())


def single(neighbours: Sequence[Neighbour]) -> list[Moment]:
    """Each hit for itself, best first."""
    return [Moment(hit, hit.pts_us, hit.pts_us, 1) for hit in sorted(neighbours, key=rank)]


def rank(hit: Neighbour) -> tuple[float, UUID, int]:
    """The total order of hits: best first, ties by video and time, so that pages never overlap."""
    return -hit.score, hit.video_id, hit.pts_us


def _by_video(neighbours: Sequence[Neighbour]) -> dict[UUID, list[Neighbour]]:
    videos: dict[UUID, list[Neighbour]] = {}
    for hit in sorted(neighbours, key=lambda hit: hit.pts_us):
        videos.setdefault(hit.video_id, []).append(hit)
    return videos


def _of_one_video(hits: list[Neighbour], background: float, gap_us: int) -> list[Moment]:
    """`hits` in order of time."""
    scores = np.array([hit.score for hit in hits])
    times = np.array([hit.pts_us for hit in hits])
    taken = np.zeros(len(hits), dtype=bool)
    found = []
    for peak in np.argsort(-scores, kind="stable"):
        if taken[peak]:
            continue
        floor = background + (scores[peak] - background) / 2
        left = _reach(scores, times, taken, int(peak), -1, floor, gap_us)
        right = _reach(scores, times, taken, int(peak), +1, floor, gap_us)
        taken[left : right + 1] = True
        _take_slope(scores, times, taken, left, -1, gap_us)
        _take_slope(scores, times, taken, right, +1, gap_us)
        found.append(Moment(hits[peak], int(times[left]), int(times[right]), right - left + 1))
    return found


def _near(times: npt.NDArray[np.int64], here: int, there: int, gap_us: int) -> bool:
    return 0 <= there < len(times) and abs(int(times[there]) - int(times[here])) <= gap_us


def _reach(
    scores: npt.NDArray[np.float64],
    times: npt.NDArray[np.int64],
    taken: npt.NDArray[np.bool_],
    here: int,
    step: int,
    floor: float,
    gap_us: int,
) -> int:
    while _near(times, here, here + step, gap_us) and not taken[here + step] and scores[here + step] >= floor:
        here += step
    return here


def _take_slope(
    scores: npt.NDArray[np.float64],
    times: npt.NDArray[np.int64],
    taken: npt.NDArray[np.bool_],
    here: int,
    step: int,
    gap_us: int,
) -> None:
    while _near(times, here, here + step, gap_us) and not taken[here + step] and scores[here + step] <= scores[here]:
        here += step
        taken[here] = True
