"""Asking for a job: what it is about is checked and counted, its cost estimated and held against the project's month,
and only then is it queued.

Whatever can be known to be wrong is said here, and not hours later by the job.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from argus_ray.catalog import budgets, estimates, jobs, labels
from argus_ray.catalog.statement import AsyncTx
from argus_ray.errors import BudgetExceeded, InvalidRequest, NotFound, Unavailable
from argus_ray.schemas.job import (
    Ask,
    Autolabel,
    Estimate,
    Export,
    Freeze,
    Import,
    Job,
    JobCreate,
    JobKind,
    Retrack,
    Spec,
    Target,
    TrackObjects,
)

MOST_FRAMES = 2_000_000
"""Of one job: what cutting it up may take of Postgres in one statement."""


@dataclass(frozen=True)
class _Asked:
    """What a spec comes to. `questions` are frames times labels, none where no model is asked."""

    kind: JobKind
    frames: int
    segments: int
    questions: int = 0
    video_id: UUID | None = None


async def ask(tx: AsyncTx, project_id: UUID, asked: JobCreate, *, sam3_model: str) -> Job:
    """Queue a job. Raises InvalidRequest, NotFound, BudgetExceeded, Forbidden, and Unavailable where the weights that
    it needs are not registered.
    """
    found = await _checked(tx, project_id, asked.spec)
    if not found.segments:
        raise InvalidRequest("no frame of a ready video is what this job asks for: nothing was queued")
    if found.frames > MOST_FRAMES:
        raise InvalidRequest(
            f"the job asks for {found.frames} frames, and the limit is {MOST_FRAMES}: ask for fewer videos at a time",
            frames=found.frames,
        )
    if found.questions and await tx.maybe(estimates.knows_model(sam3_model)) is None:
        raise Unavailable(
            f"the weights {sam3_model} are not registered on this installation: whoever runs it adds them with "
            f"`argus models add {sam3_model}`",
            uri=sam3_model,
        )
    estimate = await _estimated(tx, found, sam3_model)
    await _afford(tx, project_id, estimate)
    return await tx.one(
        jobs.insert(
            project_id,
            kind=found.kind,
            spec=asked.spec,
            estimate=estimate,
            priority=asked.priority,
            video_id=found.video_id,
        )
    )


async def estimate(tx: AsyncTx, project_id: UUID, spec: Spec, *, sam3_model: str) -> Estimate:
    """What a job would take, without queueing it. Raises as `ask`, but for the budget and the model."""
    return await _estimated(tx, await _checked(tx, project_id, spec), sam3_model)


async def _checked(tx: AsyncTx, project_id: UUID, spec: Spec) -> _Asked:
    match spec:
        case Autolabel():
            await _check_labels(tx, project_id, spec.labels)
            await _check_frames(tx, project_id, spec.target)
            target = spec.target.model_dump(mode="json", exclude_none=True)
            size = await tx.one(estimates.autolabel(project_id, target))
            return _Asked(JobKind.AUTOLABEL, size.frames, size.segments, size.frames * len(spec.labels))
        case TrackObjects():
            await _check_labels(tx, project_id, spec.labels)
            await _check_frames(tx, project_id, spec.target)
            size = await tx.one(estimates.track(project_id, spec.model_dump(mode="json", exclude_none=True)))
            return _Asked(JobKind.TRACK, size.frames, size.segments, size.frames * len(spec.labels))
        case Retrack():
            correction = await tx.maybe(estimates.retrack(project_id, spec.track_id, spec.pts_us))
            if correction is None:
                raise NotFound(
                    f"there is no such track with a keyframe at {spec.pts_us} µs that a person made or accepted: correct "
                    "one, then track again from it"
                )
            return _Asked(JobKind.TRACK, correction.frames, 1, correction.frames, correction.video_id)
        case Freeze() | Export() | Import():
            await _check_pieces(tx, project_id, spec)
            return _Asked(spec.kind, 0, 1)


async def _check_pieces(tx: AsyncTx, project_id: UUID, spec: Freeze | Export | Import) -> None:
    if isinstance(spec, Freeze):
        if await tx.maybe(estimates.has_dataset(project_id, spec.dataset_id)) is None:
            raise NotFound("there is no such dataset in this project")
    elif isinstance(spec, Export):
        if await tx.maybe(estimates.has_dataset_version(project_id, spec.dataset_version_id)) is None:
            raise NotFound("there is no such dataset version in this project")
    elif not spec.object_key.startswith(f"projects/{project_id}/imports/") or ".." in spec.object_key:
        raise InvalidRequest("object_key is not one that this project's imports were sent to: start an import first")


async def _check_labels(tx: AsyncTx, project_id: UUID, asks: Sequence[Ask]) -> None:
    ids = [ask.label_id for ask in asks]
    if len(set(ids)) < len(ids):
        raise InvalidRequest("a label is asked for twice: name each once")
    known = {label.id: label for label in await tx.all(labels.in_use(project_id, ids))}
    missing = [label_id for label_id in ids if label_id not in known]
    if missing:
        raise NotFound(f"there is no label {missing[0]} in this project", label_ids=[str(one) for one in missing])
    archived = [label for label in known.values() if label.archived_at is not None]
    if archived:
        raise InvalidRequest(
            f"the label {archived[0].name!r} is archived and takes no new annotations: bring it back first, or leave it out",
            label_ids=[str(label.id) for label in archived],
        )


async def _check_frames(tx: AsyncTx, project_id: UUID, target: Target) -> None:
    if target.frame_ids is None:
        return
    wanted = set(target.frame_ids)
    there = await tx.one(estimates.frames_there(project_id, sorted(wanted)))
    if there < len(wanted):
        raise NotFound(
            f"{len(wanted) - there} of the {len(wanted)} frames are not there, or their videos are not ready: leave them out"
        )


async def _estimated(tx: AsyncTx, found: _Asked, sam3_model: str) -> Estimate:
    if not found.questions:
        return Estimate(frames=found.frames, segments=found.segments, gpu_seconds=0, basis="no model is asked")
    rate = await tx.maybe(budgets.rate(found.kind, sam3_model))
    if rate is None:
        basis = f"nothing was measured yet: this is the first {found.kind} with {sam3_model} on this installation"
        return Estimate(frames=found.frames, segments=found.segments, gpu_seconds=None, basis=basis)
    seconds = round(rate.seconds * found.questions, 3)
    basis = f"{rate.seconds:.4f} s a frame and label with {sam3_model} on {rate.device}, measured on {rate.asked}"
    return Estimate(frames=found.frames, segments=found.segments, gpu_seconds=seconds, basis=basis)


async def _afford(tx: AsyncTx, project_id: UUID, estimate: Estimate) -> None:
    """What is queued already counts too, so that two jobs at once don't each take what is left."""
    if estimate.gpu_seconds == 0:
        return
    spent = await tx.one(budgets.spent(project_id))
    wanted_s = estimate.gpu_seconds or 0.0
    if spent.limit_s is None or (spent.used_s + spent.promised_s + wanted_s <= spent.limit_s and not spent.is_used_up):
        return
    raise BudgetExceeded(
        f"the job is thought to take {wanted_s:.0f} GPU-seconds; of its {spent.limit_s} of this month the project has used "
        f"{spent.used_s:.0f}, and jobs that are under way will take {spent.promised_s:.0f}: ask for less, or ask an owner to "
        "raise gpu_seconds_per_month",
        wanted_s=round(wanted_s, 1),
        used_s=round(spent.used_s, 1),
        promised_s=round(spent.promised_s, 1),
        limit_s=spent.limit_s,
    )
