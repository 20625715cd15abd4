"""What changed between two versions: both manifests read side by side, in order of video and time."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from argus_ray.datasets import manifest
from argus_ray.datasets.contents import Version
from argus_ray.datasets.records import SPLITS
from argus_ray.schemas.dataset import Changed, Diff, LabelChanged

NAMED = 100
"""Frames of each kind that a diff names."""
_WORDS = ("exhaustive_present", "exhaustive_absent", "partial")

Row = dict[str, Any]


def diff(before: Path, after: Path, *, base_id: UUID, to_id: UUID) -> Diff:
    """What the manifest in the folder `after` has that `before` has not. Annotations are the same by id, or, where they
    were interpolated, by track.
    """
    old, new = Version(before), Version(after)
    tally = _Tally()
    for a, b in _paired(_rows(before), _rows(after)):
        tally.add(a, b)
    names = old.labels | new.labels
    labels = [
        LabelChanged(
            label_id=UUID(label),
            name=names.get(label, label),
            before=tally.before[label],
            after=tally.after[label],
            added=tally.added[label],
            removed=tally.removed[label],
            changed=tally.changed[label],
        )
        for label in sorted(tally.before.keys() | tally.after.keys(), key=lambda label: names.get(label, label))
    ]
    return Diff(
        base_id=base_id,
        to_id=to_id,
        same=old.about["content_hash"] == new.about["content_hash"],
        frames=Changed(**tally.frames),
        annotations=Changed(added=tally.added.total(), removed=tally.removed.total(), changed=tally.changed.total()),
        labels=labels,
        moved_videos=[UUID(video) for video in sorted(tally.moved)],
        added_frame_ids=tally.named["added"],
        removed_frame_ids=tally.named["removed"],
        changed_frame_ids=tally.named["changed"],
    )


@dataclass
class _Tally:
    frames: Counter[str] = field(default_factory=Counter)
    before: Counter[str] = field(default_factory=Counter)
    after: Counter[str] = field(default_factory=Counter)
    added: Counter[str] = field(default_factory=Counter)
    removed: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    moved: set[str] = field(default_factory=set)
    named: dict[str, list[UUID]] = field(default_factory=lambda: {"added": [], "removed": [], "changed": []})

    def add(self, a: Row | None, b: Row | None) -> None:
        """A frame before and after, one of them perhaps not there."""
        old, new = _by_identity(a), _by_identity(b)
        self.before.update(one["label"] for one in old.values())
        self.after.update(one["label"] for one in new.values())
        self.removed.update(old[key]["label"] for key in old.keys() - new.keys())
        self.added.update(new[key]["label"] for key in new.keys() - old.keys())
        changed = [key for key in old.keys() & new.keys() if old[key] != new[key]]
        self.changed.update(new[key]["label"] for key in changed)
        if a is not None and b is not None:
            if a["split"] != b["split"]:
                self.moved.add(b["video_id"])
            if old.keys() != new.keys() or changed or any(set(a[word]) != set(b[word]) for word in _WORDS):
                self._note("changed", b)
        else:
            self._note("added" if a is None else "removed", b or a or {})

    def _note(self, kind: str, row: Mapping[str, Any]) -> None:
        self.frames[kind] += 1
        if len(self.named[kind]) < NAMED:
            self.named[kind].append(UUID(row["frame_id"]))


def _by_identity(row: Row | None) -> dict[str, Row]:
    return {one["id"] or f"track {one['track']} {one['label']}": one for one in row["annotations"]} if row else {}


def _rows(folder: Path) -> Iterator[Row]:
    """The rows of all splits in one order, each with its split."""

    def of(split: str) -> Iterator[Row]:
        path = folder / f"{split}.parquet"
        if path.exists():
            for row in manifest.rows(path):
                yield row | {"split": split}

    return heapq.merge(*map(of, SPLITS), key=_place)


def _place(row: Row) -> tuple[str, int]:
    return row["video_id"], row["pts_us"]


def _paired(before: Iterator[Row], after: Iterator[Row]) -> Iterator[tuple[Row | None, Row | None]]:
    a, b = next(before, None), next(after, None)
    while a is not None or b is not None:
        if b is None or (a is not None and _place(a) < _place(b)):
            yield a, None
            a = next(before, None)
        elif a is None or _place(b) < _place(a):
            yield None, b
            b = next(after, None)
        else:
            yield a, b
            a, b = next(before, None), next(after, None)
