"""Annotations: made, read by windows of time, corrected, reviewed, taken back. Annotators do; everybody in the project reads."""

from __future__ import annotations

import json
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response

from argus_ray import annotating, windows
from argus_ray.catalog import annotations as annotation_rows
from argus_ray.catalog import history, videos
from argus_ray.cursors import cursor_of
from argus_ray.errors import InvalidRequest
from argus_ray.schemas.annotation import (
    Accept,
    Annotation,
    AnnotationsCreate,
    AnnotationsCreated,
    AnnotationUpdate,
    HistoryEntry,
    Reject,
    Restore,
    Reviewed,
    State,
    Window,
)
from argus_ray.schemas.common import Page
from argus_ray.windows import Ask
from serve_apps.api.dependencies import IfMatch, MayMatch, Paging, ProjectId, UserTx, edit, paging, tagged
from serve_apps.api.problems import documented
from serve_apps.api.route import Idempotent, Route

router = APIRouter(prefix="/v1", tags=["annotations"], route_class=Route, responses=documented(401, 404, 422))

ByVersion = Annotated[Paging[int], Depends(paging(int))]
Microseconds = Query(ge=-(2**62), le=2**62)


@router.post(
    "/projects/{project_id}/annotations",
    status_code=201,
    operation_id="create_annotations",
    dependencies=[Idempotent],
    responses=documented(403, 409),
)
async def create_annotations(project_id: ProjectId, new: AnnotationsCreate, tx: UserTx) -> AnnotationsCreated:
    """Annotate, up to a thousand at once: all of them are kept, or none. They are accepted from the start."""
    made = await annotating.create(tx, project_id, new.annotations)
    return AnnotationsCreated.model_construct(items=made)


ByTime = Annotated[Paging[tuple[int, UUID]], Depends(paging(tuple[int, UUID], most=10_000, usual=1000))]
"""Places are (pts_us, id)."""


@router.get(
    "/videos/{video_id}/annotations",
    operation_id="list_annotations",
    response_model=Window,
)
async def list_annotations(
    video_id: UUID,
    page: ByTime,
    tx: UserTx,
    from_us: Annotated[int | None, Microseconds] = None,
    to_us: Annotated[int | None, Microseconds] = None,
    at_us: Annotated[int | None, Query(ge=-(2**62), le=2**62, description="One time, instead of a window.")] = None,
    label_id: Annotated[list[UUID] | None, Query(max_length=200)] = None,
    state: Annotated[list[State] | None, Query()] = None,
    track_id: Annotated[list[UUID] | None, Query(max_length=1000)] = None,
    interpolate: Annotated[
        bool,
        Query(description="Tracks between their keyframes too, at the times of the video's frames, or at `at_us`."),
    ] = False,
) -> Response:
    """What is annotated in a window of a video's time, from `from_us` to before `to_us`, by time; and tags that last into
    it. Rejected annotations are among them: ask for a `state` where they should not be.

    An interpolated annotation has no id, and is nowhere stored. Boxes and polygons move in a straight line, masks and points
    hold; between a keyframe that says `outside` and the next there is nothing.
    """
    if at_us is not None:
        if from_us is not None or to_us is not None:
            raise InvalidRequest("query/at_us: give one time, or a window, and not both")
        from_us, to_us = at_us, at_us + 1
    video = await tx.one(videos.get(video_id))
    ask = Ask(video.project_id, video_id, from_us, to_us, label_id, state, track_id)
    if interpolate:
        times_us = None if at_us is None else [at_us]
        part = await windows.read_interpolated(tx, ask, page.after, page.limit, times_us=times_us)
    else:
        part = await windows.read(tx, ask, page.after, page.limit)
    cursor = json.dumps(None if part.next_place is None else cursor_of(part.next_place))
    body = f'{{"items":[{",".join(part.items)}],"tracks":[{",".join(part.tracks)}],"next_cursor":{cursor}}}'
    return Response(body, media_type="application/json")


@router.get("/annotations/{annotation_id}", operation_id="get_annotation")
async def get_annotation(annotation_id: UUID, tx: UserTx, response: Response) -> Annotation:
    """One annotation that has not been deleted."""
    return tagged(await tx.one(annotation_rows.get(annotation_id)), response)


@router.patch(
    "/annotations/{annotation_id}", operation_id="update_annotation", responses=documented(403, 409, 412, 428)
)
async def update_annotation(
    annotation_id: UUID, change: AnnotationUpdate, versions: IfMatch, tx: UserTx, response: Response
) -> Annotation:
    """Correct it: another shape or label makes a model's proposal a person's, and accepted; or accept or reject it as it is.

    Of two who change one version, one does; the other's 412 has what it is now, as `current`.
    """
    current = annotation_rows.get(annotation_id)
    row = await annotating.changes(tx, await tx.one(current), change)
    return tagged(await edit(tx, annotation_rows.update(annotation_id, row, versions), current, versions), response)


@router.delete(
    "/annotations/{annotation_id}",
    status_code=204,
    operation_id="delete_annotation",
    responses=documented(403, 412, 428),
)
async def delete_annotation(annotation_id: UUID, versions: IfMatch, tx: UserTx) -> None:
    """Delete it. `POST /v1/annotations/{annotation_id}:restore` brings it back."""
    await edit(tx, annotation_rows.delete(annotation_id, versions), annotation_rows.get(annotation_id), versions)


@router.get("/annotations/{annotation_id}/history", operation_id="list_annotation_history")
async def list_annotation_history(annotation_id: UUID, page: ByVersion, tx: UserTx) -> Page[HistoryEntry]:
    """Its earlier versions, latest first, and who replaced each; of a deleted one too."""
    await tx.one(annotation_rows.get_even_deleted(annotation_id))
    rows = await tx.all(history.page(annotation_id, after=page.after, rows=page.rows))
    return page.page(rows, lambda row: row.version)


@router.post(
    "/annotations/{annotation_id}:restore",
    operation_id="restore_annotation",
    dependencies=[Idempotent],
    responses=documented(403, 409, 412),
)
async def restore_annotation(
    annotation_id: UUID, asked: Restore, versions: MayMatch, tx: UserTx, response: Response
) -> Annotation:
    """As it was at an earlier version, a deleted one too; what it is now is kept as a version as well."""
    await annotating.check_restorable(tx, annotation_id, asked.version)
    restored = annotation_rows.restore(annotation_id, asked.version, versions)
    with annotating.one_keyframe_at_a_time():
        back = await edit(tx, restored, annotation_rows.get_even_deleted(annotation_id), versions)
    return tagged(back, response)


@router.post(
    "/projects/{project_id}/annotations:accept",
    operation_id="accept_annotations",
    dependencies=[Idempotent],
    responses=documented(403),
)
async def accept_annotations(project_id: ProjectId, asked: Accept, tx: UserTx) -> Reviewed:
    """Accept all that the filter lets through, with the tracks that they are keyframes of; how many."""
    return await tx.one(annotation_rows.accept(project_id, asked.filter))


@router.post(
    "/projects/{project_id}/annotations:reject",
    operation_id="reject_annotations",
    dependencies=[Idempotent],
    responses=documented(403),
)
async def reject_annotations(project_id: ProjectId, asked: Reject, tx: UserTx) -> Reviewed:
    """Reject all that the filter lets through, and the tracks of which nothing else is left; how many."""
    return await tx.one(annotation_rows.reject(project_id, asked.filter, asked.reason))
