"""Review: take what to look at next, give it to others, finish it; and thresholds learnt from what people said."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query

from argus_ray import review, thresholds
from argus_ray.catalog import projects, reviews
from argus_ray.catalog import thresholds as kept_thresholds
from argus_ray.errors import Forbidden
from argus_ray.schemas.project import Role
from argus_ray.schemas.review import (
    AutoAccepted,
    AutoAcceptRequest,
    Released,
    ReviewAccept,
    ReviewAssign,
    ReviewDone,
    ReviewItem,
    ReviewItems,
    ReviewNext,
    ReviewQueue,
    ReviewReject,
    ReviewRelease,
    Thresholds,
    ThresholdsLearn,
)
from serve_apps.api.dependencies import EditableProjectId, Paging, ProjectId, UserTx, paging
from serve_apps.api.problems import documented
from serve_apps.api.route import Idempotent, Route

router = APIRouter(prefix="/v1/projects/{project_id}", tags=["review"], route_class=Route, responses=documented(401))


async def _reviewed_project(project_id: Annotated[UUID, Path()], tx: UserTx) -> UUID:
    """Raises NotFound unless the caller may see the project, Forbidden unless they may annotate in it."""
    if (await tx.one(projects.get(project_id))).role is Role.VIEWER:
        raise Forbidden("a viewer does not review: ask an owner for the role annotator")
    return project_id


ReviewedProjectId = Annotated[UUID, Depends(_reviewed_project, scope="function")]
LastChangeFirst = Annotated[Paging[reviews.After], Depends(paging(reviews.After))]


def _place(item: ReviewItem) -> reviews.After:
    return item.updated_at, item.video_id, item.pts_us, item.pts_us + 1 if item.end_us is None else item.end_us


@router.post(
    "/review:next",
    operation_id="take_review_items",
    dependencies=[Idempotent],
    responses=documented(403, 404, 409, 422),
)
async def take_review_items(project_id: ReviewedProjectId, asked: ReviewNext, tx: UserTx) -> ReviewItems:
    """Take what to look at next. The items are the caller's alone until they are finished, released, or `hold_s` is over.

    `why` says by which numbers each was chosen; there are fewer items than `count` where no more are worth a look.
    """
    return ReviewItems(items=await review.take(tx, project_id, asked))


@router.post(
    "/review:assign",
    operation_id="assign_review_items",
    dependencies=[Idempotent],
    responses=documented(403, 404, 409, 422),
)
async def assign_review_items(project_id: EditableProjectId, asked: ReviewAssign, tx: UserTx) -> ReviewItems:
    """Give items to a member; they take them by `review:next` with the order `assigned`. For owners and editors."""
    return ReviewItems(items=await review.assign(tx, project_id, asked))


@router.post(
    "/review:release",
    operation_id="release_review_items",
    dependencies=[Idempotent],
    responses=documented(403, 404, 409, 422),
)
async def release_review_items(project_id: ReviewedProjectId, asked: ReviewRelease, tx: UserTx) -> Released:
    """Give items back. Again changes nothing."""
    return await review.release(tx, project_id, asked.items)


@router.post(
    "/review:accept",
    operation_id="accept_review_item",
    dependencies=[Idempotent],
    responses=documented(403, 404, 409, 422),
)
async def accept_review_item(project_id: ReviewedProjectId, asked: ReviewAccept, tx: UserTx) -> ReviewDone:
    """Accept what is proposed on a frame or in a segment, and give a verdict on its frames where one is said.

    An item that somebody else holds is a 409 that says who, and until when.
    """
    return await review.accept(tx, project_id, asked)


@router.post(
    "/review:reject",
    operation_id="reject_review_item",
    dependencies=[Idempotent],
    responses=documented(403, 404, 409, 422),
)
async def reject_review_item(project_id: ReviewedProjectId, asked: ReviewReject, tx: UserTx) -> ReviewDone:
    """Reject what is proposed on a frame or in a segment, with a reason; else as accepting."""
    return await review.reject(tx, project_id, asked)


@router.get("/review", operation_id="get_review", responses=documented(404, 422))
async def get_review(
    project_id: ProjectId,
    paging: LastChangeFirst,
    tx: UserTx,
    show: Annotated[
        Literal["open", "mine", "others", "accepted", "rejected"] | None, Query(description="Only these.")
    ] = None,
) -> ReviewQueue:
    """Items that somebody has touched, the last change first, and how many annotations are in which state by label."""
    page = paging.page(await tx.all(reviews.page(project_id, show, paging.after, paging.rows)), _place)
    return ReviewQueue(
        items=page.items,
        next_cursor=page.next_cursor,
        counts=await tx.one(reviews.counts(project_id)),
        labels=await tx.all(reviews.progress(project_id)),
    )


@router.get("/thresholds", operation_id="list_thresholds", responses=documented(404, 422))
async def list_thresholds(project_id: ProjectId, tx: UserTx) -> Thresholds:
    """What the labels have learnt of each model's scores, as it was learnt last."""
    return Thresholds(items=await tx.all(kept_thresholds.listed(project_id)))


@router.post(
    "/thresholds:learn",
    operation_id="learn_thresholds",
    dependencies=[Idempotent],
    responses=documented(403, 404, 409, 422),
)
async def learn_thresholds(
    project_id: EditableProjectId, tx: UserTx, asked: ThresholdsLearn | None = None
) -> Thresholds:
    """Learn from all that people accepted and rejected until now. `auto-accept` does so by itself. For owners and editors."""
    return Thresholds(items=await thresholds.relearn(tx, project_id, (asked or ThresholdsLearn()).label_ids))


@router.post(
    "/annotations:auto-accept",
    operation_id="auto_accept_annotations",
    dependencies=[Idempotent],
    responses=documented(403, 404, 409, 422),
)
async def auto_accept_annotations(
    project_id: EditableProjectId, tx: UserTx, asked: AutoAcceptRequest | None = None
) -> AutoAccepted:
    """Accept the proposals whose score reaches the threshold learnt for its label and model, marked `reviewed_by: auto`.

    Only where the project's settings ask for it: `"auto_accept": {"enabled": true, "precision": 0.95}`.
    """
    return await thresholds.auto_accept(tx, project_id, asked or AutoAcceptRequest())
