"""Which frames to look at so that few show much: each is the one that is least like all chosen and known before it.

The greedy choice for the k-centre problem: the farthest of all frames from its nearest chosen one is never more than twice
as far as with the best choice of as many (Gonzalez 1985, "Clustering to minimize the maximum intercluster distance").
Where nothing is known the first is the most typical frame, since the farthest would be an outlier.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]


def vectors_of(sent: Sequence[bytes]) -> Vectors:
    """[N, D], from as many values as pgvector's `halfvec_send` makes them: dimension and zero, then big-endian halves."""
    return np.array([np.frombuffer(one, ">f2", offset=4) for one in sent], np.float32)


def farthest_first(
    candidates: Vectors, known: Vectors | None, groups: npt.NDArray[np.int64], count: int
) -> list[tuple[int, float | None]]:
    """The places of at most `count` candidates in the order of choice, each with its distance (1 - cosine) to the most
    similar one that is known or was chosen before it: None where there is none.

    `candidates` [N, D] and `known` [M, D] are of unit length; of the candidates of one of `groups` [N] one is chosen.
    """
    if len(candidates) == 0:
        return []
    if known is None:
        first = int(np.argmax(candidates @ candidates.mean(axis=0)))
        chosen: list[tuple[int, float | None]] = [(first, None)]
        nearest = 1 - candidates @ candidates[first]
        nearest[groups == groups[first]] = -np.inf
    else:
        chosen = []
        nearest = 1 - (candidates @ known.T).max(axis=1)
    while len(chosen) < count:
        farthest = int(np.argmax(nearest))
        if nearest[farthest] == -np.inf:
            break
        chosen.append((farthest, float(nearest[farthest])))
        np.minimum(nearest, 1 - candidates @ candidates[farthest], out=nearest)
        nearest[groups == groups[farthest]] = -np.inf
    return chosen
