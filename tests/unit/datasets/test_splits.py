"""Splits: whole components, for good, as near to what was asked for as that allows."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from argus_ray.datasets.splits import alike, assign, components

SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}
VIDEOS = [f"v{n:02d}" for n in range(12)]

contents = st.dictionaries(
    st.sampled_from(VIDEOS),
    st.dictionaries(st.sampled_from(["car", "dog", "hat"]), st.integers(1, 50)).map(
        lambda labels: {**labels, "": 1 + max(labels.values(), default=0)}
    ),
    min_size=1,
)
pairs = st.lists(st.tuples(st.sampled_from(VIDEOS), st.sampled_from(VIDEOS)), max_size=8)
fixed_splits = st.dictionaries(st.sampled_from(VIDEOS), st.sampled_from(list(SHARES)), max_size=5)


@given(contents, pairs, st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(1, 8)))
def test_every_video_has_a_split_and_no_component_is_in_two(content, together, parts) -> None:
    shares = dict(zip(SHARES, (part / sum(parts) for part in parts), strict=True))
    of = components(VIDEOS, together)

    dealt = assign(content, of, {}, shares)

    assert dealt.split_of.keys() == content.keys()
    for a in content:
        for b in content:
            assert of[a] != of[b] or dealt.split_of[a] == dealt.split_of[b]
    assert all(shares[split] > 0 for split in dealt.split_of.values())


@given(contents, pairs, fixed_splits)
def test_a_video_never_changes_its_split_and_a_leak_that_follows_is_said(content, together, fixed) -> None:
    of = components(VIDEOS, together)

    dealt = assign(content, of, fixed, SHARES)

    assert all(dealt.split_of[video] == split for video, split in fixed.items() if video in content)
    leaks = {
        component
        for component in {of[video] for video in content}
        if len({dealt.split_of[video] for video in content if of[video] == component}) > 1
    }
    said = sum(warning["code"] == "component-across-splits" for warning in dealt.warnings)
    assert said >= len(leaks)


@given(contents, contents, pairs)
def test_what_a_version_has_decided_holds_in_the_next(first, second, together) -> None:
    of = components(VIDEOS, together)
    before = assign(first, of, {}, SHARES).split_of

    after = assign({**first, **second}, of, before, SHARES).split_of

    assert {video: after[video] for video in first} == before


def test_labels_are_shared_out_as_frames_are() -> None:
    content = {f"v{n}": {"": 10, "common": 10, **({"rare": 5} if n % 10 == 0 else {})} for n in range(100)}

    split_of = assign(content, {video: video for video in content}, {}, SHARES).split_of

    rare = Counter(split_of[video] for video, labels in content.items() if "rare" in labels)
    assert Counter(split_of.values()) == {"train": 80, "val": 10, "test": 10}
    assert rare == {"train": 8, "val": 1, "test": 1}


def test_a_split_that_was_asked_for_is_filled_where_there_are_videos_enough() -> None:
    three = {"a": {"": 100}, "b": {"": 3}, "c": {"": 50}}

    assert set(assign(three, {v: v for v in three}, {}, SHARES).split_of.values()) == {"train", "val", "test"}

    one = assign({"a": {"": 100}}, {"a": "a"}, {}, SHARES)
    assert one.split_of == {"a": "train"}
    assert {warning["split"] for warning in one.warnings if warning["code"] == "empty-split"} == {"val", "test"}


def test_a_label_that_a_split_lacks_is_said() -> None:
    content = {f"v{n}": {"": 10, **({"rare": 5} if n == 0 else {})} for n in range(10)}

    warnings = assign(content, {video: video for video in content}, {}, SHARES).warnings

    assert {warning["split"] for warning in warnings if warning["code"] == "label-missing"} == {"val", "test"}


def test_videos_of_which_two_frames_are_alike_are_one_component() -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(300, 64))
    vectors[150] = vectors[7] + 0.05 * random.normal(size=64)  # of v1 and v0
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    owners = [f"v{n // 100}" for n in range(300)]

    assert list(alike(vectors.astype(np.float16), owners, 0.95)) == [("v0", "v1")]
    assert components(["v0", "v1", "v2"], [("v0", "v1")]) == {"v0": "v0", "v1": "v0", "v2": "v2"}
