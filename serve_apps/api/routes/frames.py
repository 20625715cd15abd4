"""Frames: the pictures kept of a video, with URLs to see them by."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import Response

from argus_ray import s3 as objects
from argus_ray import showing
from argus_ray.catalog import frames, videos
from argus_ray.schemas.annotation import State
from argus_ray.schemas.common import Page
from argus_ray.schemas.frame import Frame
from serve_apps.api.dependencies import S3, Paging, Settings, Transactions, UserTx, paging
from serve_apps.api.problems import documented
from serve_apps.api.route import Route

router = APIRouter(prefix="/v1", tags=["frames"], route_class=Route, responses=documented(401))

ByTime = Annotated[Paging[int], Depends(paging(int))]
Microseconds = Query(ge=-(2**62), le=2**62)


@router.get("/videos/{video_id}/frames", operation_id="list_frames", responses=documented(404, 422))
async def list_frames(
    video_id: UUID,
    page: ByTime,
    tx: UserTx,
    s3: S3,
    settings: Settings,
    from_us: Annotated[int | None, Microseconds] = None,
    to_us: Annotated[int | None, Microseconds] = None,
) -> Page[Frame]:
    """The frames of a ready video by their times, from `from_us` to before `to_us`. Others have none to show."""
    video = await tx.one(videos.get(video_id))
    rows = frames.page(video.project_id, video_id, from_us=from_us, to_us=to_us, after=page.after, rows=page.rows)
    found = page.page(await tx.all(rows), lambda row: row.pts_us)
    items = [_shown(row, s3, settings.url_expires_s) for row in found.items]
    return Page[Frame](items=items, next_cursor=found.next_cursor)


@router.get("/frames/{frame_id}", operation_id="get_frame", responses=documented(404, 422))
async def get_frame(frame_id: UUID, tx: UserTx, s3: S3, settings: Settings) -> Frame:
    """One frame of a ready video."""
    return _shown(await tx.one(frames.get(frame_id)), s3, settings.url_expires_s)


@router.get(
    "/frames/{frame_id}/overlay.png",
    operation_id="draw_frame",
    response_class=Response,
    responses={
        **documented(404, 422, 503),
        200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}},
        304: {"description": "The picture that you have is the same: `If-None-Match` names its `ETag`."},
    },
)
async def draw_frame(
    frame_id: UUID,
    begin: Transactions,
    s3: S3,
    state: Annotated[list[State] | None, Query(max_length=3, description="Else what is not rejected.")] = None,
    label_id: Annotated[list[UUID] | None, Query(max_length=200, description="Only of these labels.")] = None,
    job_id: Annotated[UUID | None, Query(description="Only what this job has proposed.")] = None,
    colour_by: Annotated[Literal["label", "track"], Query(description="What a colour tells.")] = "label",
    width: Annotated[int | None, Query(ge=16, le=8192, description="In pixels, at most; never enlarged.")] = None,
    if_none_match: Annotated[str | None, Header(max_length=1000)] = None,
) -> Response:
    """A frame with what is annotated on it, tracks between their keyframes too: masks, boxes, names, numbers, scores.

    Accepted ones have solid lines, proposed ones dashed, rejected ones are crossed out.
    """
    async with begin() as tx:
        overlay = await showing.overlay(
            tx,
            frame_id,
            states=state,
            label_ids=label_id,
            job_id=job_id,
            by_track=colour_by == "track",
            width=width,
        )
    headers = {"ETag": overlay.etag, "Cache-Control": "private, no-cache"}  # kept, and asked for again each time
    if if_none_match is not None and overlay.etag in if_none_match:
        return Response(status_code=304, headers=headers)
    return Response(await asyncio.to_thread(overlay.png, s3), media_type="image/png", headers=headers)


def _shown(row: frames.FrameRow, s3: objects.S3, expires_s: int) -> Frame:
    key = objects.frame_key(row.project_id, row.video_id, row.pts_us)
    url = s3.presign_get(s3.at(key), expires_s=expires_s)
    return Frame.model_validate({**vars(row), "url": url})
