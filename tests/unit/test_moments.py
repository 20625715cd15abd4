"""Moments are a function of scores and times alone."""

import itertools
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from argus_ray.catalog.search import Neighbour
from argus_ray.moments import best_of_videos, moments, single

A, B = UUID(int=1), UUID(int=2)
SECOND = 1_000_000


def hits(video: UUID, *scores: float, step_us: int = SECOND) -> list[Neighbour]:
    return [Neighbour(video, place * step_us, score) for place, score in enumerate(scores)]


def spans(found):
    return [(m.best.video_id, m.best.pts_us // SECOND, m.start_us // SECOND, m.end_us // SECOND) for m in found]


def test_a_static_shot_is_one_moment():
    found = moments(hits(A, 0.60, 0.62, 0.61, 0.63, 0.60) + hits(B, 0.1, 0.1, 0.1, 0.1, 0.1), 5 * SECOND)
    assert spans(found)[0] == (A, 3, 0, 4)
    assert sum(m.best.video_id == A for m in found) == 1


def test_two_peaks_with_a_valley_are_two_moments():
    found = moments(hits(A, 0.1, 0.8, 0.75, 0.1, 0.1, 0.7, 0.1), 5 * SECOND)
    assert spans(found)[:2] == [(A, 1, 1, 2), (A, 5, 5, 5)]


def test_the_slope_beside_a_peak_is_no_moment_of_its_own():
    found = moments(hits(A, 0.0, 0.2, 0.4, 1.0, 0.4, 0.2, 0.0), 5 * SECOND)
    assert spans(found) == [(A, 3, 3, 3)]


def test_hits_far_apart_are_never_merged():
    found = moments(hits(A, 0.9, 0.9, 0.9, step_us=60 * SECOND), 5 * SECOND)
    assert len(found) == 3


def test_by_video_the_best_moment_stands_for_it():
    found = best_of_videos(hits(A, 0.5, 0.1, 0.9) + hits(B, 0.7), 0)
    assert [(m.best.video_id, m.best.score) for m in found] == [(A, 0.9), (B, 0.7)]


def test_nothing_found_is_no_moments():
    assert moments([], SECOND) == []


neighbours = st.lists(
    st.builds(
        Neighbour,
        video_id=st.sampled_from([A, B]),
        pts_us=st.integers(-5 * SECOND, 40 * SECOND),
        score=st.floats(-1, 1, allow_nan=False),
    ),
    unique_by=lambda hit: (hit.video_id, hit.pts_us),
    max_size=60,
)


@given(neighbours, st.integers(0, 10 * SECOND))
def test_moments_never_overlap_are_ranked_and_hold_their_best(pool, gap_us):
    found = moments(pool, gap_us)
    assert [m.best.score for m in found] == sorted((m.best.score for m in found), reverse=True)
    if pool:
        assert found[0].best.score == max(hit.score for hit in pool) == single(pool)[0].best.score
    for video in (A, B):
        ranges = sorted((m.start_us, m.end_us) for m in found if m.best.video_id == video)
        assert all(before[1] < after[0] for before, after in itertools.pairwise(ranges))
    assert all(m.start_us <= m.best.pts_us <= m.end_us for m in found)
