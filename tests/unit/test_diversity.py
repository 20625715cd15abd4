from __future__ import annotations

import numpy as np
import pytest

from argus_ray.diversity import farthest_first, vectors_of


def unit(random: np.random.Generator, centres: int, each: int, noise: float, dim: int = 32) -> np.ndarray:
    """Clusters of vectors of unit length."""
    middle = random.normal(size=(centres, 1, dim))
    vectors = (middle + noise * random.normal(size=(centres, each, dim))).reshape(-1, dim).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def least_distance(vectors: np.ndarray) -> float:
    similar = vectors @ vectors.T
    return float(1 - similar[~np.eye(len(vectors), dtype=bool)].max())


def test_what_is_chosen_lies_further_apart_than_what_chance_would_choose():
    random = np.random.default_rng(0)
    vectors = unit(random, centres=40, each=25, noise=0.3)
    chosen = [place for place, _ in farthest_first(vectors, None, np.arange(1000), 20)]
    by_chance = [least_distance(vectors[random.choice(1000, 20, replace=False)]) for _ in range(50)]

    assert least_distance(vectors[chosen]) > 2 * max(by_chance)


def test_each_cluster_is_seen_before_any_is_seen_twice():
    vectors = unit(np.random.default_rng(1), centres=12, each=30, noise=0.05)
    chosen = [place for place, _ in farthest_first(vectors, None, np.arange(360), 12)]

    assert {place // 30 for place in chosen} == set(range(12))


def test_what_is_known_is_not_chosen_again():
    vectors = unit(np.random.default_rng(2), centres=6, each=10, noise=0.05)
    chosen = farthest_first(vectors, vectors[::10][:4], np.arange(60), 2)

    assert {place // 10 for place, _ in chosen} == {4, 5}
    assert all(distance > 0.3 for _, distance in chosen)


def test_distances_fall_and_say_how_new_each_choice_is():
    vectors = unit(np.random.default_rng(3), centres=5, each=20, noise=0.2)
    chosen = farthest_first(vectors, None, np.arange(100), 30)

    distances = [distance for _, distance in chosen[1:]]
    assert chosen[0][1] is None
    assert distances == sorted(distances, reverse=True)
    for i in range(1, 30):
        before = vectors[[place for place, _ in chosen[:i]]]
        assert chosen[i][1] == pytest.approx(1 - float((before @ vectors[chosen[i][0]]).max()), abs=1e-5)


def test_of_a_group_one_is_chosen():
    vectors = unit(np.random.default_rng(4), centres=8, each=5, noise=0.5)
    groups = np.arange(40) % 7

    assert sorted(groups[place] for place, _ in farthest_first(vectors, None, groups, 40)) == list(range(7))
    assert farthest_first(np.zeros((0, 0), np.float32), None, np.zeros(0, np.int64), 3) == []


def test_vectors_are_read_as_pgvector_sends_them():
    halves = np.array([[0.5, -0.25, 1]], ">f2")

    assert vectors_of([b"\0\3\0\0" + halves.tobytes()]).tolist() == [[0.5, -0.25, 1]]
