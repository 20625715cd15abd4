"""Review: taking what to look at next, giving it to others, and finishing it.

An item is a frame or a segment, see catalog/ranking.py. Ranking a project's proposals may take seconds and holds nobody
up; taking from the ranking is short, and one caller after the other. What somebody else has taken or finished meanwhile
is left out, and made up for by a second ranking while nobody else can take: so nothing is given twice, and nothing that
is there is missed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Literal
from uuid import UUID

import numpy as np

from argus_ray.catalog import annotations as annotation_rows
from argus_ray.catalog import labels, ranking, reviews
from argus_ray.catalog.ranking import Ranked
from argus_ray.catalog.statement import AsyncTx, Statement
from argus_ray.diversity import farthest_first, vectors_of
from argus_ray.errors import Conflict, InvalidRequest, NotFound
from argus_ray.schemas.annotation import AnnotationFilter, Reviewed, State, Word
from argus_ray.schemas.review import (
    Order,
    Place,
    Released,
    ReviewAccept,
    ReviewAssign,
    ReviewDone,
    ReviewItem,
    ReviewNext,
    ReviewReject,
)

AT_ONCE = 8
"""A ranking has items for so many callers at a time."""

NEAREST = 1000
"""The proposals on either side of each threshold that are looked at first: all of them only where those are too few."""


async def take(tx: AsyncTx, project_id: UUID, asked: ReviewNext, now: datetime | None = None) -> list[ReviewItem]:
    """The next items in the order asked, the caller's alone from now on; fewer where there are no more."""
    await _require_labels(tx, project_id, asked.label_ids)
    if asked.order is Order.ASSIGNED:
        return sorted(await tx.all(reviews.assigned(project_id, asked, now)), key=_assigned_first)
    taken: list[ReviewItem] = []
    for is_complete in (False, True):
        ranked = await _ranked(tx, project_id, asked, now, is_complete=is_complete)
        if ranked:
            await tx.run(reviews.lock(project_id))
            missing = asked.count - len(taken)
            claimed = await tx.all(reviews.claim(project_id, asked, ranked, missing, now))
            by_place = {(item.video_id, item.pts_us): item for item in claimed}
            taken += [
                by_place[one.video_id, one.pts_us].model_copy(update={"why": one.why})
                for one in ranked
                if (one.video_id, one.pts_us) in by_place
            ]
        if len(taken) == asked.count:
            break
    return taken


async def _ranked(
    tx: AsyncTx, project_id: UUID, asked: ReviewNext, now: datetime | None, *, is_complete: bool
) -> list[Ranked]:
    rows = asked.count * AT_ONCE
    if asked.order is Order.UNCERTAINTY:
        nearest = None if is_complete or asked.video_ids else NEAREST
        return await tx.all(ranking.by_uncertainty(project_id, asked, rows, now, nearest=nearest))
    if asked.order is Order.AGE:
        return await tx.all(ranking.by_age(project_id, asked, rows, now))
    return await _by_diversity(tx, project_id, asked, rows, now)


async def _by_diversity(
    tx: AsyncTx, project_id: UUID, asked: ReviewNext, rows: int, now: datetime | None
) -> list[Ranked]:
    model = await tx.maybe(ranking.newest_model(project_id))
    if model is None:
        return []
    found = await tx.all(ranking.candidates(project_id, asked, model, now))
    known = await tx.all(ranking.known(project_id, asked, model, now))
    items: dict[tuple[UUID, int], int] = {}
    groups = np.array([items.setdefault((one.video_id, one.pts_us), len(items)) for one in found], np.int64)
    chosen = await asyncio.to_thread(
        lambda: farthest_first(
            vectors_of([one.vector for one in found]), vectors_of(known) if known else None, groups, rows
        )
    )
    return [
        Ranked(found[i].video_id, found[i].pts_us, found[i].end_us, found[i].seen, distance=distance)
        for i, distance in chosen
    ]


def _assigned_first(item: ReviewItem) -> tuple[bool, datetime, UUID, int]:
    return item.assigned_by is None, item.until or item.updated_at, item.video_id, item.pts_us


async def assign(tx: AsyncTx, project_id: UUID, asked: ReviewAssign) -> list[ReviewItem]:
    """Give items to a member, taking them from whoever has exactly these.

    Raises NotFound for what is not there, Conflict where another holds a part of one, Forbidden for who is no editor.
    """
    await tx.one(reviews.may_annotate(project_id, asked.user_id))
    await _require_places(tx, project_id, asked.items)
    await tx.run(reviews.lock(project_id))
    await _require_free(tx, project_id, asked.items, by_other_than=f"user:{asked.user_id}")
    return await tx.all(reviews.assign(project_id, asked.items, asked.user_id, asked.hold))


async def release(tx: AsyncTx, project_id: UUID, places: Sequence[Place]) -> Released:
    """Give up what the caller has; an editor, what anybody has. Raises Conflict where it is another's."""
    await tx.run(reviews.lock(project_id))
    if not await tx.one(reviews.is_editor(project_id)):
        await _require_free(tx, project_id, places)
    return Released(items=await tx.run(reviews.release(project_id, places)))


async def accept(tx: AsyncTx, project_id: UUID, asked: ReviewAccept) -> ReviewDone:
    """Accept what is proposed there, with a verdict where one is given. Raises Conflict where another holds a part of it,
    or where the verdict says that there is nothing, and something is accepted.
    """
    return await _finish(tx, project_id, asked, annotation_rows.accept(project_id, _proposed(asked)), "accepted", None)


async def reject(tx: AsyncTx, project_id: UUID, asked: ReviewReject) -> ReviewDone:
    """The same, rejected."""
    decide = annotation_rows.reject(project_id, _proposed(asked), asked.reason)
    return await _finish(tx, project_id, asked, decide, "rejected", asked.reason)


def _proposed(asked: ReviewAccept) -> AnnotationFilter:
    place = asked.item
    return AnnotationFilter(
        video_ids=[place.video_id],
        label_ids=asked.label_ids,
        from_us=place.pts_us,
        to_us=place.ends_us,
        state=[State.PROPOSED],
    )


async def _finish(
    tx: AsyncTx,
    project_id: UUID,
    asked: ReviewAccept,
    decide: Statement[Reviewed],
    state: Literal["accepted", "rejected"],
    reason: str | None,
) -> ReviewDone:
    place, label_ids = asked.item, asked.label_ids
    await _require_labels(tx, project_id, label_ids)
    await _require_places(tx, project_id, [place])
    await tx.run(reviews.lock(project_id))
    await _require_free(tx, project_id, [place])
    done = await tx.one(decide)
    verdicts = 0
    if asked.verdict is not None and label_ids is not None:
        if asked.verdict is Word.EXHAUSTIVE_ABSENT:
            await _require_none_accepted(tx, project_id, place, label_ids)
        verdicts = await tx.run(reviews.give_verdicts(project_id, place, label_ids, asked.verdict))
    item = await tx.one(reviews.finish(project_id, place, label_ids, state, reason))
    return ReviewDone(item=item, annotations=done.annotations, tracks=done.tracks, verdicts=verdicts)


async def _require_labels(tx: AsyncTx, project_id: UUID, label_ids: Sequence[UUID] | None) -> None:
    wanted = set(label_ids or ())
    known = {label.id for label in await tx.all(labels.in_use(project_id, list(wanted)))} if wanted else set()
    if missing := wanted - known:
        raise NotFound(f"there is no label {min(missing)} in this project")


async def _require_places(tx: AsyncTx, project_id: UUID, places: Sequence[Place]) -> None:
    if absent := await tx.maybe(reviews.absent(project_id, places)):
        raise NotFound(
            f"there is neither a frame nor an annotation at {absent.pts_us} µs of video {absent.video_id}: take items "
            "by review:next, or name a frame by its pts_us"
        )


async def _require_free(
    tx: AsyncTx, project_id: UUID, places: Sequence[Place], by_other_than: str | None = None
) -> None:
    holder = await tx.maybe(reviews.held(project_id, places, by_other_than))
    if holder is not None:
        until = f"until {holder.until:%Y-%m-%d %H:%M:%S %Z}" if holder.until else "until they have finished it"
        raise Conflict(
            f"{holder.name} holds {holder.pts_us} µs of video {holder.video_id} {until}: take another by review:next, "
            "or ask an editor to assign it",
            holder=holder.assignee,
            until=holder.until and holder.until.isoformat(),
        )


async def _require_none_accepted(tx: AsyncTx, project_id: UUID, place: Place, label_ids: Sequence[UUID]) -> None:
    if accepted := await tx.one(reviews.contradicted(project_id, place, label_ids)):
        raise InvalidRequest(
            f"the verdict exhaustive_absent says that there is none, and {accepted} accepted annotations say otherwise: "
            "reject those, or give another verdict"
        )
