"""Stitching: the tracklets that the segments of one video have found become tracks.

A segment is followed on its own, so that a lost machine costs one segment; neighbours overlap in time, and what both
have seen there says which tracklets are one object. The result depends on the tracklets alone, never on the order in
which segments ended: everything is sorted first, and ties go by id.

Two questions are asked, each of the whole video at once, each answered by one assignment in which a tracklet has at most
one predecessor and one successor:
1. Seen by both: two tracklets of neighbouring segments are held against each other at the times that both have. The mean
   IoU of their masks (or boxes) is the evidence, and nothing outweighs it.
2. Not seen by both: an object that was hidden at the border, left and returned, or whose segment is missing. Between the
   chains that the first answer leaves, motion counts over a short gap (each end's box, carried on to the other end's
   time), and the look (cosine of two crops' vectors) over any. Looks alone join only where they are unmistakable: no
   other thing that was seen at the same time as one of the two looks as much like the other. Two red cars that leave and
   return together stay apart, and one that leaves while the other stays in the picture is found again.

Only tracklets of one label join. Memory is that of `ends`: a few shapes of each tracklet, whatever its length.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from uuid import UUID

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

from argus_ray import rle
from argus_ray.annotations import boxes
from argus_ray.rle import Rle

Box = tuple[float, float, float, float]  # x, y, width, height as fractions of the picture
Float = npt.NDArray[np.float64]

_MOTION_SHAPES = 5  # at each end, for the speed


@dataclass(frozen=True, slots=True)
class Span:
    """What a segment looked at: from its first to its last sampled time, overlap with its neighbours included."""

    segment: int
    start_us: int
    end_us: int


@dataclass(frozen=True)
class Tracklet:
    """One object within one segment. `shapes`: a mask or a box by sampled time, at least one.

    `first_crop` and `last_crop` are the vectors of its first and last appearance, float32 [D], unit length.
    """

    id: UUID
    label_id: UUID
    segment: int
    shapes: Mapping[int, Rle | Box]
    first_crop: npt.NDArray[np.float32] | None = None
    last_crop: npt.NDArray[np.float32] | None = None

    @property
    def first_us(self) -> int:
        return min(self.shapes)

    @property
    def last_us(self) -> int:
        return max(self.shapes)


@dataclass(frozen=True, slots=True)
class Rules:
    """When two tracklets are one object."""

    min_iou: float = 0.3
    """Mean over the times that both have."""
    min_iou_alike: float = 0.1
    """The same for two that look alike: what has just come into the picture is small, and its masks agree less."""
    motion_half_life_us: int = 1_000_000
    """How far motion is trusted: by half after so long a gap, by a quarter after twice as long."""
    min_motion: float = 0.15
    """IoU of the boxes carried over the gap, times that trust."""
    min_similarity: float = 0.88
    """Cosine of two crops from which looks join by themselves."""
    similarity_margin: float = 0.02
    """By so much the next similar one of the same time must look less alike."""
    unlike_below: float = 0.6
    """Cosine below which motion does not join either."""
    max_gap_us: int = 120_000_000
    """Nobody is looked for longer than that."""


DEFAULT_RULES = Rules()


@dataclass(frozen=True, slots=True)
class Link:
    """Two tracklets in one track. `iou` is None where no time was seen by both, `similarity` where a crop is missing.

    `border_us` is the middle of the segments' overlap, or of the gap. `score`, from 0 to 1: the IoU; or over a gap
    1 - (1 - motion)(1 - look).
    """

    from_tracklet: UUID
    to_tracklet: UUID
    border_us: int
    from_us: int
    """Where the first one ends."""
    to_us: int
    """Where the second one begins."""
    iou: float | None
    similarity: float | None
    score: float


@dataclass(frozen=True, slots=True)
class Track:
    """Tracklets of one object in order of time, and the links between them: one fewer."""

    tracklets: tuple[UUID, ...]
    links: tuple[Link, ...]


def ends(tracklet: Tracklet, spans: Iterable[Span]) -> Tracklet:
    """The same with the shapes alone that stitching looks at: in overlaps with other segments, and at both ends."""
    times = sorted(tracklet.shapes)
    kept = {*times[:_MOTION_SHAPES], *times[-_MOTION_SHAPES:]}
    for span in spans:
        if span.segment != tracklet.segment:
            kept.update(pts_us for pts_us in times if span.start_us <= pts_us <= span.end_us)
    return replace(tracklet, shapes={pts_us: tracklet.shapes[pts_us] for pts_us in times if pts_us in kept})


def stitch(tracklets: Iterable[Tracklet], spans: Iterable[Span], rules: Rules = DEFAULT_RULES) -> list[Track]:
    """All tracklets as tracks, in order of their beginning; one that joins no other is a track by itself."""
    ordered = sorted(tracklets, key=lambda one: (one.first_us, one.segment, one.id))
    chains = [_Chain((one,)) for one in ordered]
    chains = _joined(chains, _seen_by_both(chains, sorted(spans, key=lambda span: span.segment), rules))
    chains = _joined(chains, _over_gaps(chains, rules))
    return [Track(tuple(one.id for one in chain.tracklets), chain.links) for chain in chains]


def surviving(times_us: Sequence[Collection[int]], links: Sequence[Link]) -> list[list[int]]:
    """Which rows of a track's tracklets stay, in their order, where two have one at the same time.

    Up to the middle of the overlap the earlier segment's, which has followed the object for longer; after it the later
    one's, which goes on with it.
    """
    kept = [set(times) for times in times_us]
    for place, link in enumerate(links):
        both = kept[place] & kept[place + 1]
        early = {pts_us for pts_us in both if pts_us <= link.border_us}
        kept[place + 1] -= early
        kept[place] -= both - early
    return [sorted(times) for times in kept]


# -- chains --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Chain:
    """Tracklets that are one object as far as it is known yet."""

    tracklets: tuple[Tracklet, ...]
    links: tuple[Link, ...] = ()
    first: Tracklet = field(init=False)
    last: Tracklet = field(init=False)
    first_us: int = field(init=False)
    last_us: int = field(init=False)

    def __post_init__(self) -> None:
        # within an overlap the later segment's piece may begin first, and the earlier one's end last
        object.__setattr__(self, "first", min(self.tracklets, key=lambda one: one.first_us))
        object.__setattr__(self, "last", max(self.tracklets, key=lambda one: one.last_us))
        object.__setattr__(self, "first_us", self.first.first_us)
        object.__setattr__(self, "last_us", self.last.last_us)

    @property
    def label_id(self) -> UUID:
        return self.tracklets[0].label_id


@dataclass(frozen=True, slots=True)
class _Candidate:
    """That chain `before` goes on as chain `after`, both by place."""

    before: int
    after: int
    link: Link


def _joined(chains: Sequence[_Chain], candidates: Sequence[_Candidate]) -> list[_Chain]:
    """Chains with the best candidates applied, again in order of their beginning."""
    following = _assigned(candidates, len(chains))
    followers = {candidate.after for candidate in following.values()}
    joined = []
    for place in range(len(chains)):
        if place in followers:
            continue
        tracklets, links = list(chains[place].tracklets), list(chains[place].links)
        while place in following:  # the way along a chain
            candidate = following[place]
            links.append(candidate.link)
            place = candidate.after  # noqa: PLW2901
            tracklets += chains[place].tracklets
            links += chains[place].links
        joined.append(_Chain(tuple(tracklets), tuple(links)))
    return sorted(joined, key=lambda chain: (chain.first_us, chain.tracklets[0].id))


def _assigned(candidates: Sequence[_Candidate], count: int) -> dict[int, _Candidate]:
    """By the earlier chain's place the candidates of the largest total score in which none is used twice.

    Sparse, so that a day of video is one assignment. Every chain may also have no successor, at a cost that any
    candidate undercuts: a column of its own.
    """
    if not candidates:
        return {}
    rows = sorted({candidate.before for candidate in candidates})
    row_of = {place: row for row, place in enumerate(rows)}
    at = [(row_of[candidate.before], candidate.after) for candidate in candidates]
    costs = [2 - candidate.link.score for candidate in candidates] + [2.0] * len(rows)
    row_index = [row for row, _ in at] + list(range(len(rows)))
    column_index = [column for _, column in at] + [count + row for row in range(len(rows))]
    graph = coo_array((costs, (row_index, column_index)), shape=(len(rows), count + len(rows))).tocsr()
    chosen = {(int(row), int(column)) for row, column in zip(*min_weight_full_bipartite_matching(graph), strict=True)}
    return {candidate.before: candidate for candidate, place in zip(candidates, at, strict=True) if place in chosen}


# -- seen by both --------------------------------------------------------------------------------


def _seen_by_both(chains: Sequence[_Chain], spans: Sequence[Span], rules: Rules) -> list[_Candidate]:
    """Candidates between neighbouring segments that have times in common; each chain is one tracklet yet."""
    members: dict[tuple[int, UUID], list[int]] = defaultdict(list)
    for place, chain in enumerate(chains):
        members[chain.first.segment, chain.label_id].append(place)
    labels = sorted({label_id for _, label_id in members})
    found = []
    for left, right in pairwise(spans):
        if right.start_us > left.end_us:
            continue
        border_us = (right.start_us + left.end_us) // 2
        for label_id in labels:
            before, after = members.get((left.segment, label_id), []), members.get((right.segment, label_id), [])
            ours, theirs = [chains[place].first for place in before], [chains[place].first for place in after]
            ious = _mean_ious(ours, theirs)
            for row, column in zip(*np.nonzero(ious >= rules.min_iou_alike), strict=True):
                one, other, iou = ours[row], theirs[column], float(ious[row, column])
                similarity = _similarity(one.last_crop, other.first_crop)
                if iou >= rules.min_iou or (similarity is not None and similarity >= rules.min_similarity):
                    link = Link(one.id, other.id, border_us, one.last_us, other.first_us, iou, similarity, iou)
                    found.append(_Candidate(before[row], after[column], link))
    return found


def _mean_ious(ours: Sequence[Tracklet], theirs: Sequence[Tracklet]) -> Float:
    """[N, M], over the times that two have in common; 0 where they have none."""
    total = np.zeros((len(ours), len(theirs)))
    times = np.zeros_like(total)
    common = {pts_us for one in ours for pts_us in one.shapes} & {pts_us for one in theirs for pts_us in one.shapes}
    for pts_us in sorted(common):
        rows = [row for row, one in enumerate(ours) if pts_us in one.shapes]
        columns = [column for column, one in enumerate(theirs) if pts_us in one.shapes]
        both = np.ix_(rows, columns)
        total[both] += _ious([ours[row].shapes[pts_us] for row in rows], [theirs[at].shapes[pts_us] for at in columns])
        times[both] += 1
    return total / np.maximum(times, 1)


def _ious(a: Sequence[Rle | Box], b: Sequence[Rle | Box]) -> Float:
    """Each with each, of their pixels; of their boxes where one is a box, or masks differ in size."""
    masks_a, masks_b = ([one for one in side if isinstance(one, Rle)] for side in (a, b))
    if len(masks_a) == len(a) and len(masks_b) == len(b) and len({one.size for one in (*masks_a, *masks_b)}) == 1:
        return rle.iou(masks_a, masks_b)
    return boxes.iou([_box(one) for one in a], [_box(one) for one in b])


# -- over gaps -----------------------------------------------------------------------------------


def _over_gaps(chains: Sequence[_Chain], rules: Rules) -> list[_Candidate]:
    """Candidates between a chain and those that begin after its end."""
    by_label: dict[UUID, list[int]] = defaultdict(list)
    for place, chain in enumerate(chains):
        by_label[chain.label_id].append(place)
    return [
        candidate for label_id in sorted(by_label) for candidate in _over_gaps_of(chains, by_label[label_id], rules)
    ]


def _over_gaps_of(chains: Sequence[_Chain], places: Sequence[int], rules: Rules) -> Iterator[_Candidate]:
    pairs = list(_pairs(chains, places, rules.max_gap_us))
    similarities = {
        (before, after): _similarity(chains[before].last.last_crop, chains[after].first.first_crop)
        for before, after in pairs
    }
    unmistakable = _unmistakable(chains, similarities, rules)
    for before, after in pairs:
        one, other = chains[before], chains[after]
        similarity = similarities[before, after]
        motion = _motion(one.last, other.first, rules)
        moves_on = motion >= rules.min_motion and (similarity is None or similarity >= rules.unlike_below)
        looks_alike = (before, after) in unmistakable
        if not moves_on and not looks_alike:
            continue
        look = _look(similarity, rules) if similarity is not None else 0.0
        score = 1 - (1 - motion) * (1 - look)
        border_us = (one.last_us + other.first_us) // 2
        link = Link(
            one.tracklets[-1].id, other.tracklets[0].id, border_us, one.last_us, other.first_us, None, similarity, score
        )
        yield _Candidate(before, after, link)


def _pairs(chains: Sequence[_Chain], places: Sequence[int], max_gap_us: int) -> Iterator[tuple[int, int]]:
    """Chains of one label, the second begun after the first has ended, and not too long after."""
    starts_us = np.array([chains[place].first_us for place in places])  # ascending, as the chains are
    for before in places:
        end_us = chains[before].last_us
        low, high = np.searchsorted(starts_us, [end_us + 1, end_us + max_gap_us + 1])
        for at in range(int(low), int(high)):
            yield before, places[at]


def _unmistakable(
    chains: Sequence[_Chain], similarities: Mapping[tuple[int, int], float | None], rules: Rules
) -> set[tuple[int, int]]:
    """Pairs that look alike, where no rival does.

    A rival of one is what was in the picture at the same time as it: two things, of which only one can be meant. What
    comes before or after is none: it may be the same object once more.
    """
    alike = {
        pair: similarity
        for pair, similarity in similarities.items()
        if similarity is not None and similarity >= rules.min_similarity - rules.similarity_margin
    }
    after_of: dict[int, list[int]] = defaultdict(list)
    before_of: dict[int, list[int]] = defaultdict(list)
    for before, after in alike:
        after_of[before].append(after)
        before_of[after].append(before)

    def has_rival(before: int, after: int) -> bool:
        bar = alike[before, after] - rules.similarity_margin
        return any(
            other != after and alike[before, other] > bar and _together(chains[other], chains[after])
            for other in after_of[before]
        ) or any(
            other != before and alike[other, after] > bar and _together(chains[other], chains[before])
            for other in before_of[after]
        )

    return {pair for pair, similarity in alike.items() if similarity >= rules.min_similarity and not has_rival(*pair)}


def _together(one: _Chain, other: _Chain) -> bool:
    return one.first_us <= other.last_us and other.first_us <= one.last_us


def _similarity(one: npt.NDArray[np.float32] | None, other: npt.NDArray[np.float32] | None) -> float | None:
    return None if one is None or other is None else float(np.dot(one, other))


def _look(similarity: float, rules: Rules) -> float:
    """0 at the cosine that contradicts, 1 for the same picture."""
    return min(max((similarity - rules.unlike_below) / (1 - rules.unlike_below), 0.0), 1.0)


def _motion(before: Tracklet, after: Tracklet, rules: Rules) -> float:
    """IoU of each end's box, carried on at its speed, with the other end's: the mean of both ways, times the trust."""
    gap_us = after.first_us - before.last_us
    trust: float = 0.5 ** (gap_us / rules.motion_half_life_us)
    if trust < rules.min_motion:
        return 0.0
    times = sorted(before.shapes)[-_MOTION_SHAPES:]
    times_after = sorted(after.shapes)[:_MOTION_SHAPES]
    end, begin = _box(before.shapes[times[-1]]), _box(after.shapes[times_after[0]])
    there = boxes.iou(_moved(end, _speed(before, times), gap_us), [begin])
    back = boxes.iou(_moved(begin, _speed(after, times_after), -gap_us), [end])
    return trust * float(there[0, 0] + back[0, 0]) / 2


def _moved(box: Box, speed: Float, for_us: int) -> Float:
    return np.array([[*(np.array(box[:2]) + speed * for_us), *box[2:]]])


def _speed(tracklet: Tracklet, times_us: Sequence[int]) -> Float:
    """Of the box's centre, by least squares, in fractions of the picture a microsecond."""
    around = np.array([_box(tracklet.shapes[pts_us]) for pts_us in times_us])
    centres = around[:, :2] + around[:, 2:] / 2
    times = np.array(times_us, np.float64) - np.mean(times_us)
    spread = float(times @ times)
    speed: Float = times @ (centres - centres.mean(axis=0)) / max(spread, 1.0)
    return speed


def _box(shape: Rle | Box) -> Box:
    if not isinstance(shape, Rle):
        return shape
    high, wide = shape.size
    x, y, width, height = rle.bbox(shape)
    return x / wide, y / high, width / wide, height / high
