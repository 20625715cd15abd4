"""Which video belongs to train, val and test: whole components, by what is in them, and for good.

A component is the videos that must stay together, since what is learnt on one is known on the other: videos of the same
bytes, and videos of which two frames look nearly alike (cosine of their SigLIP vectors). Components are dealt out by
iterative stratification (Sechidis, Tsoumakas and Vlahavas, ECML 2011): the rarest label first, each component to the
split that lacks that label most. What an earlier version has decided stands, whatever it costs: then it is said.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from argus_ray.datasets.records import SPLITS

_BLOCK = 2048
_NAMED = 10
"""How many videos or labels a warning names."""


def components(videos: Iterable[str], together: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The name of each video's component: its first video. `together` says pairs, of which unknown ones are passed over."""
    parent = {video: video for video in videos}

    def root(video: str) -> str:
        while parent[video] != video:
            parent[video] = parent[parent[video]]
            video = parent[video]
        return video

    for a, b in together:
        if a in parent and b in parent:
            low, high = sorted((root(a), root(b)))
            parent[high] = low
    return {video: root(video) for video in parent}


def alike(vectors: npt.NDArray[Any], owners: Sequence[str], cosine: float) -> Iterator[tuple[str, str]]:
    """Pairs of owners of which a vector each is at least so close. `vectors` [N, D] have unit length, and may be a file
    mapped into memory: blocks of them are compared.
    """
    of = np.asarray(owners)
    found: set[tuple[str, str]] = set()
    for start in range(0, len(of), _BLOCK):
        rows = np.asarray(vectors[start : start + _BLOCK], dtype=np.float32)
        for other in range(start, len(of), _BLOCK):
            columns = np.asarray(vectors[other : other + _BLOCK], dtype=np.float32)
            near = np.argwhere(rows @ columns.T >= cosine)
            for a, b in zip(of[start + near[:, 0]].tolist(), of[other + near[:, 1]].tolist(), strict=True):
                if a < b and (a, b) not in found:
                    found.add((a, b))
                    yield a, b


@dataclass(frozen=True)
class Assignment:
    """The split of each video, and what could not be had: `{"code", "detail", …}`."""

    split_of: dict[str, str]
    warnings: list[dict[str, Any]]


def assign(
    content: Mapping[str, Mapping[str, int]],
    component_of: Mapping[str, str],
    fixed: Mapping[str, str],
    shares: Mapping[str, float],
) -> Assignment:
    """Deal out videos.

    `content` says how many frames of each label a video has, and under "" how many frames at all; `fixed` are the splits
    of earlier versions, which also hold for videos that are not in `content` now.
    """
    members: dict[str, list[str]] = defaultdict(list)
    for video in sorted(content):
        members[component_of[video]].append(video)
    weight = {name: sum((Counter(content[video]) for video in of), Counter[str]()) for name, of in members.items()}
    warnings: list[dict[str, Any]] = []
    chosen: dict[str, str] = {}
    for name, of in members.items():
        before = Counter(dict.fromkeys(SPLITS, 0))
        for video in of:
            if video in fixed:
                before[fixed[video]] += 1 + content[video].get("", 0)
        before += Counter(
            fixed[video]
            for video, its in component_of.items()
            if its == name and video in fixed and video not in content
        )
        if before:
            chosen[name] = min(before, key=lambda split: (-before[split], SPLITS.index(split)))
            if len(before) > 1:
                warnings.append(_leak(of, fixed))
    _deal(weight, chosen, shares)
    split_of = {video: fixed.get(video, chosen[name]) for name, of in members.items() for video in of}
    return Assignment(split_of, warnings + _shortfalls(content, split_of, shares))


def _deal(weight: Mapping[str, Counter[str]], chosen: dict[str, str], shares: Mapping[str, float]) -> None:
    """Choose a split for each component that has none."""
    total = sum(weight.values(), Counter[str]())
    wanted = {split: {label: shares[split] * number for label, number in total.items()} for split in SPLITS}
    for name, split in chosen.items():
        _take(wanted[split], weight[name])
    dealt: list[str] = []
    waiting = {name for name in weight if name not in chosen}
    while waiting:
        left = sum((weight[name] for name in waiting), Counter[str]())
        label = min(left, key=lambda one: (left[one], one))  # "" counts all frames, so that it comes last
        having = [name for name in waiting if weight[name][label]]
        name = min(having, key=lambda one: (-weight[one][label], one))
        chosen[name] = max(
            (split for split in SPLITS if shares[split] > 0),
            key=lambda split: (wanted[split][label], wanted[split][""], -SPLITS.index(split)),
        )
        _take(wanted[chosen[name]], weight[name])
        waiting.remove(name)
        dealt.append(name)
    for split in SPLITS:  # a split that is asked for gets the smallest component that another can spare
        counts = Counter(chosen.values())
        spare = [name for name in dealt if counts[chosen[name]] > 1]
        if shares[split] > 0 and not counts[split] and spare:
            chosen[min(spare, key=lambda one: (weight[one][""], one))] = split


def _take(wanted: dict[str, float], content: Mapping[str, int]) -> None:
    for label, number in content.items():
        wanted[label] -= number


def _leak(videos: Sequence[str], fixed: Mapping[str, str]) -> dict[str, Any]:
    where = {video: fixed[video] for video in videos if video in fixed}
    return {
        "code": "component-across-splits",
        "detail": "videos that look alike, or are the same, lie in different splits, where earlier versions put them: "
        "what is measured on one is partly known from the other. Make a new dataset to have them together",
        "videos": dict(list(where.items())[:_NAMED]),
    }


def _shortfalls(
    content: Mapping[str, Mapping[str, int]], split_of: Mapping[str, str], shares: Mapping[str, float]
) -> list[dict[str, Any]]:
    """What differs from what was asked for."""
    have = {split: Counter[str]() for split in SPLITS}
    for video, counts in content.items():
        have[split_of[video]].update(counts)
    frames = sum(counts[""] for counts in have.values())
    warnings: list[dict[str, Any]] = []
    for split in SPLITS:
        share = have[split][""] / frames if frames else 0.0
        if shares[split] > 0 and not have[split][""]:
            warnings.append(
                {
                    "code": "empty-split",
                    "detail": f"{split} is empty: there are too few videos that differ enough to fill it",
                    "split": split,
                }
            )
        elif abs(share - shares[split]) > 0.1:
            warnings.append(
                {
                    "code": "share-off",
                    "detail": f"{split} has {share:.0%} of the frames and {shares[split]:.0%} were asked for: whole "
                    "videos, and those that look like them, stay together",
                    "split": split,
                }
            )
    labels = sorted({label for counts in content.values() for label in counts} - {""})
    for split in SPLITS:
        missing = [label for label in labels if not have[split][label]]
        if have[split][""] and missing:
            warnings.append(
                {
                    "code": "label-missing",
                    "detail": f"{split} has no annotation of {len(missing)} of the {len(labels)} labels: they are in too "
                    "few videos",
                    "split": split,
                    "labels": missing[:_NAMED],
                }
            )
    return warnings
