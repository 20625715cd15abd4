"""Thresholds learnt from what people accepted and rejected, and what is accepted by them.

The threshold of a label and a model is the lowest score above which the precision exceeds a target with 95 % confidence.
The bound is that of Clopper and Pearson 1934 ("The use of confidence or fiducial limits illustrated in the case of the
binomial"), one-sided: with x of n accepted, the alpha quantile of Beta(x, n - x + 1). It never claims too much, where
Wilson's does so near a precision of 1.

Trying every score as a threshold and taking the best claims too much, since one of many bounds is wrong by luck: where
every score's precision was 0.949, it found a threshold for 0.95 in 26 of 100 simulated sets of 3000 reviews. So a few cuts
are tried, each with half as many again above it as the one before, and alpha is shared among them (Bonferroni): 1 of 100.
The cuts depend on the scores alone, not on what people said of them, and so the answer holds with 95 % confidence,
whichever cut is taken (the argument of Angelopoulos et al. 2021, "Learn then Test").

It holds for proposals like those that were reviewed. Review by uncertainty looks at the doubtful ones first, which makes
thresholds too high rather than too low. Neighbouring frames are alike, and more so than independent trials would be: a
track counts once, but an object that is proposed on many frames without a track counts on each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError
from scipy.special import betaincinv

from argus_ray.catalog import thresholds
from argus_ray.catalog.statement import AsyncTx, Tx
from argus_ray.catalog.thresholds import Trials
from argus_ray.errors import Conflict
from argus_ray.schemas.project import AutoAccept
from argus_ray.schemas.review import AutoAccepted, AutoAcceptedLabel, AutoAcceptRequest, Learnt, Threshold

ALPHA = 0.05
STEP = 1.5
"""How many times as many proposals each cut has above it as the one before."""


def learn(scores: npt.ArrayLike, accepted: npt.ArrayLike, target: float) -> Learnt:
    """The threshold for a precision above `target`; `scores` [N], and what people said of each."""
    total, needed = np.size(scores), least(target)
    if total == 0:
        return Learnt(threshold=None, accepted=0, rejected=0, precision=None, bound=None, target=target, missing=needed)
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    falling = np.asarray(scores, np.float64)[order]
    right = np.cumsum(np.asarray(accepted, bool)[order])

    sizes = [total]
    while sizes[-1] / STEP >= needed:
        sizes.append(int(sizes[-1] / STEP))
    # how many each cut has above it; of equal scores all are on one side
    cuts = np.unique(np.searchsorted(-falling, -falling[np.array(sizes) - 1], side="right"))
    hits = right[cuts - 1]
    bounds = np.where(hits > 0, betaincinv(np.maximum(hits, 1), cuts - hits + 1, ALPHA / len(cuts)), 0.0)
    passed = np.flatnonzero(bounds > target)
    shown = passed[-1] if len(passed) else np.argmax(bounds)
    return Learnt(
        threshold=float(falling[cuts[shown] - 1]) if len(passed) else None,
        accepted=int(right[-1]),
        rejected=total - int(right[-1]),
        precision=float(hits[shown] / cuts[shown]),
        bound=float(bounds[shown]),
        target=target,
        missing=max(0, needed - total),
    )


def least(target: float) -> int:
    """The fewest trials whose bound can be above `target`: all accepted, `target ** n < ALPHA`."""
    return math.floor(math.log(ALPHA) / math.log(target)) + 1


async def relearn(tx: AsyncTx, project_id: UUID, label_ids: Sequence[UUID] | None) -> list[Threshold]:
    """Learn the thresholds of these labels anew, or of all, and keep them. Raises Forbidden for who is no editor."""
    target = _wanted(await tx.one(thresholds.settings(project_id))).precision
    learnt = _learnt(await tx.all(thresholds.trials(project_id, label_ids)), target)
    await tx.run(thresholds.keep(project_id, label_ids, _by_label(learnt), _at(learnt)))
    return learnt


async def auto_accept(tx: AsyncTx, project_id: UUID, asked: AutoAcceptRequest) -> AutoAccepted:
    """Learn, and accept what reaches the thresholds. Raises Conflict where the project does not ask for it."""
    wanted = _wanted(await tx.one(thresholds.settings(project_id)))
    if not wanted.enabled:
        raise Conflict(
            "this project does not ask for auto-accept: set `auto_accept` in its settings, as "
            '{"enabled": true, "precision": 0.95}'
        )
    learnt = _learnt(await tx.all(thresholds.trials(project_id, asked.label_ids)), wanted.precision)
    if asked.dry_run:
        return _accepted(await tx.all(thresholds.acceptable(project_id, learnt)), learnt, dry_run=True)
    await tx.run(thresholds.keep(project_id, asked.label_ids, _by_label(learnt), _at(learnt)))
    return _accepted(await tx.all(thresholds.accept(project_id, learnt)), learnt)


def auto_accept_after(tx: Tx, project_id: UUID, label_ids: Sequence[UUID] | None = None) -> AutoAccepted | None:
    """The same by a worker, at the end of a job; None where the project does not ask for it."""
    wanted = _wanted(tx.one(thresholds.settings(project_id)))
    if not wanted.enabled:
        return None
    learnt = _learnt(tx.all(thresholds.trials(project_id, label_ids)), wanted.precision)
    tx.run(thresholds.keep(project_id, label_ids, _by_label(learnt), _at(learnt)))
    return _accepted(tx.all(thresholds.accept(project_id, learnt)), learnt)


def _wanted(row: dict[str, Any]) -> AutoAccept:
    try:
        return AutoAccept.model_validate(row["settings"].get("auto_accept", {}))
    except ValidationError as error:
        raise Conflict(
            '`auto_accept` in the project\'s settings cannot be read: write it as {"enabled": true, "precision": 0.95}'
        ) from error


def _learnt(judged: Sequence[Trials], target: float) -> list[Threshold]:
    at = datetime.now(UTC)
    return [
        Threshold(
            label_id=one.label_id,
            name=one.name,
            model_id=one.model_id,
            at=at,
            **learn(one.scores, one.accepted, target).model_dump(),
        )
        for one in judged
    ]


def _by_label(learnt: Sequence[Threshold]) -> dict[str, dict[str, Any]]:
    """As labels keep it: by label, then by model."""
    kept: dict[str, dict[str, Any]] = {}
    for one in learnt:
        kept.setdefault(str(one.label_id), {})[str(one.model_id)] = one.model_dump(include=set(Learnt.model_fields))
    return kept


def _at(learnt: Sequence[Threshold]) -> datetime:
    return learnt[0].at if learnt else datetime.now(UTC)


def _accepted(labels: list[AutoAcceptedLabel], learnt: list[Threshold], *, dry_run: bool = False) -> AutoAccepted:
    return AutoAccepted(
        dry_run=dry_run,
        annotations=sum(one.annotations for one in labels),
        tracks=sum(one.tracks for one in labels),
        labels=labels,
        thresholds=learnt,
    )
