import random
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argus_ray import rle
from argus_ray.annotations.stitching import Rules, Span, Track, Tracklet, ends, stitch, surviving
from tests.followed import LABEL, Clip, Noise, follow
from tests.identity import idf1, seen

SECOND = 1_000_000
SPANS = [Span(0, 0, 5 * SECOND), Span(1, 4 * SECOND, 9 * SECOND)]
OTHER_LABEL = UUID(int=8)


def a_tracklet(number, segment, seconds, x=0.1, speed=0.0, *, label=LABEL, crop=None):
    """A box that moves to the right, at the given seconds; `crop` an angle: the cosine of two is that of their difference."""
    vector = None if crop is None else np.array([np.cos(crop), np.sin(crop)], np.float32)
    shapes = {round(s * SECOND): (x + speed * s, 0.4, 0.1, 0.2) for s in seconds}
    return Tracklet(UUID(int=number), label, segment, shapes, vector, vector)


def chains(tracks):
    return [[one.int for one in track.tracklets] for track in tracks]


# -- on what was drawn ---------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_things_that_cross_leave_and_return_keep_their_identity_over_five_borders(seed):
    clip = follow(seed)

    assert clip.idf1(stitch(clip.tracklets, clip.spans)) >= 0.95


@pytest.mark.parametrize(
    "clip",
    [
        pytest.param({"seed": 1, "missing": (2,)}, id="a segment is missing"),
        pytest.param({"seed": 2, "overlap_us": 0}, id="segments do not overlap"),
        pytest.param({"seed": 3, "noise": Noise(missed=0.05, shift_px=1.5, false=0.05, crop=0.3)}, id="much noise"),
        pytest.param({"seed": 4, "leaving": False, "crops": False}, id="no crops, and nothing leaves"),
        pytest.param({"seed": 5, "things": 8}, id="a crowd"),
    ],
)
def test_stitching_costs_next_to_nothing_of_what_the_masks_allow(clip):
    clip = follow(**clip)

    assert clip.idf1(stitch(clip.tracklets, clip.spans)) >= best(clip) - 0.015


def best(clip: Clip) -> float:
    """IDF1 of the same masks under the right identities."""
    rows = {}
    for one in clip.tracklets:
        who = clip.things[one.id] or one.id
        for pts_us, mask in clip.masks[one.id].items():
            rows.setdefault((pts_us, who), mask)
    return idf1(clip.truth, seen([(pts_us, who, mask) for (pts_us, who), mask in rows.items()]))


CLIP = follow(11, things=6, segments=5)
TRACKS = stitch(CLIP.tracklets, CLIP.spans)


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False))
def test_tracks_are_the_same_whatever_order_the_segments_ended_in(shuffler: random.Random):
    tracklets, spans = list(CLIP.tracklets), list(CLIP.spans)
    shuffler.shuffle(tracklets)
    shuffler.shuffle(spans)

    assert stitch(tracklets, spans) == TRACKS


def test_the_ends_of_tracklets_are_all_that_is_looked_at():
    assert stitch([ends(one, CLIP.spans) for one in CLIP.tracklets], CLIP.spans) == TRACKS


def test_every_tracklet_is_in_one_track_and_a_track_has_one_link_less():
    assert sorted(one for track in TRACKS for one in track.tracklets) == sorted(one.id for one in CLIP.tracklets)
    assert all(len(track.links) == len(track.tracklets) - 1 for track in TRACKS)


def test_a_long_tracklet_is_kept_short():
    whole = a_tracklet(1, 0, np.arange(0, 5, 0.01))

    assert len(ends(whole, SPANS).shapes) < len(whole.shapes) / 4


# -- rules, one by one ---------------------------------------------------------------------------


def test_what_both_segments_have_seen_joins_by_its_masks_and_the_border_is_the_middle_of_the_overlap():
    one, other = a_tracklet(1, 0, range(6), speed=0.05), a_tracklet(2, 1, range(4, 10), speed=0.05)

    [track] = stitch([one, other], SPANS)

    [link] = track.links
    assert (link.from_tracklet, link.to_tracklet) == (one.id, other.id)
    assert link.border_us == 4_500_000
    assert link.iou == link.score == pytest.approx(1)


def test_tracklets_of_two_labels_stay_apart():
    tracks = stitch([a_tracklet(1, 0, range(6)), a_tracklet(2, 1, range(4, 10), label=OTHER_LABEL)], SPANS)

    assert chains(tracks) == [[1], [2]]


def test_of_two_that_overlap_each_gets_its_own():
    """The best pair is 2 and 3, and would leave 1 and 4 alone."""
    left = [a_tracklet(1, 0, [4, 5], x=0.10), a_tracklet(2, 0, [4, 5], x=0.16)]
    right = [a_tracklet(3, 1, [4, 5], x=0.14), a_tracklet(4, 1, [4, 5], x=0.20)]

    assert sorted(chains(stitch([*left, *right], SPANS))) == [[1, 3], [2, 4]]


def test_what_was_hidden_at_the_border_is_found_where_its_motion_leads():
    before, after = a_tracklet(1, 0, [0, 1, 2, 3], speed=0.08), a_tracklet(2, 1, [5, 6, 7], speed=0.08)
    elsewhere = a_tracklet(3, 1, [5, 6, 7], x=0.1, speed=0.08 * 0.2)

    tracks = stitch([before, after, elsewhere], SPANS, Rules(motion_half_life_us=2 * SECOND))

    assert chains(tracks) == [[1, 2], [3]]
    assert tracks[0].links[0].iou is None
    assert tracks[0].links[0].border_us == 4 * SECOND


def test_motion_alone_is_not_believed_over_a_long_gap():
    assert chains(stitch([a_tracklet(1, 0, [0, 1]), a_tracklet(2, 1, [8, 9])], SPANS)) == [[1], [2]]


def test_motion_is_not_believed_against_looks():
    tracks = stitch([a_tracklet(1, 0, [0, 1, 2, 3], crop=0.0), a_tracklet(2, 1, [3.4, 5], crop=1.2)], SPANS)

    assert chains(tracks) == [[1], [2]]


def test_an_object_that_returns_a_segment_later_is_known_by_its_looks():
    spans = [Span(0, 0, 5 * SECOND), Span(2, 10 * SECOND, 15 * SECOND)]

    [track] = stitch([a_tracklet(1, 0, [0, 1], crop=0.0), a_tracklet(2, 2, [12, 13], x=0.8, crop=0.1)], spans)

    assert track.links[0].similarity == pytest.approx(np.cos(0.1))
    assert track.links[0].border_us == 6_500_000


def test_two_lookalikes_that_leave_and_return_together_stay_apart():
    tracks = stitch(
        [
            a_tracklet(1, 0, [0, 1], x=0.1, crop=0.0), a_tracklet(2, 0, [0, 1], x=0.7, crop=0.01),
            a_tracklet(3, 1, [7, 8], x=0.4, crop=0.0), a_tracklet(4, 1, [7, 8], x=0.8, crop=0.01),
        ],
        SPANS,
    )  # fmt: skip

    assert chains(tracks) == [[1], [2], [3], [4]]


def test_a_lookalike_that_stays_in_the_picture_is_no_rival():
    tracks = stitch(
        [
            a_tracklet(1, 0, [0, 1], x=0.1, crop=0.0), a_tracklet(2, 0, range(6), x=0.7, crop=0.01),
            a_tracklet(3, 1, [7, 8], x=0.4, crop=0.0), a_tracklet(4, 1, range(4, 10), x=0.7, crop=0.01),
        ],
        SPANS,
    )  # fmt: skip

    assert chains(tracks) == [[1, 3], [2, 4]]


def test_one_that_leaves_twice_is_one_track():
    tracks = stitch(
        [a_tracklet(n, 0, [at, at + 1], x=0.1 * n, crop=0.02 * n) for n, at in [(1, 0), (2, 4), (3, 8)]], SPANS
    )

    assert chains(tracks) == [[1, 2, 3]]


def test_nobody_is_looked_for_longer_than_the_rules_say():
    tracklets = [a_tracklet(1, 0, [0, 1], crop=0.0), a_tracklet(2, 1, [8, 9], crop=0.0)]

    assert chains(stitch(tracklets, SPANS, Rules(max_gap_us=5 * SECOND))) == [[1], [2]]


def test_nothing_makes_no_tracks():
    assert stitch([], SPANS) == []
    assert stitch([a_tracklet(1, 0, [0])], []) == [Track((UUID(int=1),), ())]


def test_in_the_overlap_the_earlier_segment_has_the_first_half_and_the_later_one_the_second():
    one, other = a_tracklet(1, 0, range(6)), a_tracklet(2, 1, [4, 4.5, 5, 6])
    [track] = stitch([one, other], SPANS)

    kept = surviving([one.shapes, other.shapes], track.links)

    assert kept == [[0, 1_000_000, 2_000_000, 3_000_000, 4_000_000], [4_500_000, 5_000_000, 6_000_000]]


def test_a_row_that_only_one_segment_has_stays_wherever_it_is():
    one, other = a_tracklet(1, 0, [0, 1, 4, 4.8]), a_tracklet(2, 1, [4, 4.2, 6])
    [track] = stitch([one, other], SPANS)

    assert surviving([one.shapes, other.shapes], track.links) == [
        [0, SECOND, 4 * SECOND, 4_800_000],
        [4_200_000, 6 * SECOND],
    ]


# -- the yardstick -------------------------------------------------------------------------------


def a_mask(x):
    pixels = np.zeros((10, 40), bool)
    pixels[2:8, x : x + 5] = True
    return rle.encode(pixels)


def test_idf1_of_a_switch_in_the_middle_is_that_of_the_longer_half():
    """Ten places of one object, found as 6 and 4 under two names: IDTP 6, so 2 x 6 / (10 + 10)."""
    truth = seen([(t, "a", a_mask(3)) for t in range(10)])
    found = seen([(t, 1 if t < 6 else 2, a_mask(3)) for t in range(10)])

    assert idf1(truth, found) == pytest.approx(0.6)


def test_idf1_counts_what_is_missed_and_what_is_false():
    """Two objects of 4 places; one found whole, the other half of the time and 3 times where it is not: IDTP 6."""
    truth = seen([(t, who, a_mask(3 if who == "a" else 20)) for t in range(4) for who in "ab"])
    found = seen(
        [(t, 1, a_mask(3)) for t in range(4)]
        + [(t, 2, a_mask(20)) for t in range(2)]
        + [(t, 2, a_mask(32)) for t in (2, 3, 9)]
    )

    assert idf1(truth, found) == pytest.approx(2 * 6 / (8 + 9))
