"""How a figure is made: two things side by side in one run, alternating, medians over several rounds.

A machine's speed drifts and its neighbours come and go; what is stable is the ratio of two things measured turn by turn.
"""

from __future__ import annotations

import gc
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Cost:
    """Of one go: `wall_s`, and `cpu_s` of this process with its ended children."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class Line:
    """One line of the table. `figure` is how many times better than the peer, or whatever `target` and `unit` are about.

    Without a target it is told and not judged. `note` says what a reader must know to read it right.
    """

    number: str
    name: str
    ours: str
    peer: str
    figure: float
    target: float | None = None
    note: str = ""
    unit: str = "x"
    smaller_is_better: bool = False
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def reached(self) -> bool:
        if self.target is None:
            return True
        return self.figure <= self.target if self.smaller_is_better else self.figure >= self.target

    @property
    def verdict(self) -> str:
        if self.target is None:
            return "told"
        return "reached" if self.reached else "short of"


@dataclass(frozen=True)
class Failure:
    """A benchmark that did not come to its end, and why."""

    number: str
    name: str
    why: str


def cost(work: Callable[[], object]) -> Cost:
    gc.collect()
    before, began = _cpu_s(), time.perf_counter()
    work()
    return Cost(time.perf_counter() - began, _cpu_s() - before)


def _cpu_s() -> float:
    mine, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return mine.ru_utime + mine.ru_stime + children.ru_utime + children.ru_stime


def side_by_side(*works: Callable[[], object], rounds: int) -> list[Cost]:
    """The median cost of each work, run in turns after one round that does not count."""
    costs: list[list[Cost]] = [[] for _ in works]
    for round_ in range(rounds + 1):
        for taken, work in zip(costs, works, strict=True):
            one = cost(work)
            if round_:
                taken.append(one)
    return [
        Cost(statistics.median(one.wall_s for one in taken), statistics.median(one.cpu_s for one in taken))
        for taken in costs
    ]
