"""How good a ranking is, given what is true. Pure: it knows neither models nor HTTP.

A ranking is a list of ids, best first, without repetition; the truth of a query is the set of ids it should find. Queries
that nothing is relevant to say nothing about a ranking and are refused. The names are those of trec_eval, except that
`hit_rate` is what papers on CLIP call R@k.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from collections.abc import Set as AbstractSet
from statistics import fmean


def average_precision(ranking: Sequence[Hashable], relevant: AbstractSet[Hashable]) -> float:
    """Mean, over the relevant ids, of the precision at the rank of each; one that was not ranked counts as 0."""
    _check(ranking, relevant)
    hits, total = 0, 0.0
    for rank, found in enumerate(ranking, start=1):
        if found in relevant:
            hits += 1
            total += hits / rank
    return total / len(relevant)


def recall(ranking: Sequence[Hashable], relevant: AbstractSet[Hashable], k: int) -> float:
    """The share of the relevant ids among the first k, capped: 1.0 where k is too small to hold them all and is full."""
    _check(ranking, relevant)
    return sum(found in relevant for found in ranking[:k]) / min(k, len(relevant))


def hit(ranking: Sequence[Hashable], relevant: AbstractSet[Hashable], k: int) -> bool:
    """Whether any of the first k is relevant."""
    _check(ranking, relevant)
    return any(found in relevant for found in ranking[:k])


def mean_average_precision(rankings: Sequence[Sequence[Hashable]], relevant: Sequence[AbstractSet[Hashable]]) -> float:
    return fmean(average_precision(ranking, truth) for ranking, truth in zip(rankings, relevant, strict=True))


def mean_recall(rankings: Sequence[Sequence[Hashable]], relevant: Sequence[AbstractSet[Hashable]], k: int) -> float:
    return fmean(recall(ranking, truth, k) for ranking, truth in zip(rankings, relevant, strict=True))


def hit_rate(rankings: Sequence[Sequence[Hashable]], relevant: Sequence[AbstractSet[Hashable]], k: int) -> float:
    return fmean(hit(ranking, truth, k) for ranking, truth in zip(rankings, relevant, strict=True))


def _check(ranking: Sequence[Hashable], relevant: AbstractSet[Hashable]) -> None:
    if not relevant:
        raise ValueError(
            "nothing is relevant to this query: leave it out, since no ranking of it is better than another"
        )
    if len(set(ranking)) != len(ranking):
        raise ValueError("a ranking holds an id twice: group the hits (for example by video) before judging them")
