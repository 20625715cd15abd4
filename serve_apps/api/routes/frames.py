"""Frames: the pictures kept of a video, with URLs to see them by."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from argus_ray import s3 as objects
from argus_ray.catalog import frames, videos
from argus_ray.schemas.common import Page
from argus_ray.schemas.frame import Frame
from serve_apps.api.dependencies import S3, Paging, Settings, UserTx, paging
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


def _shown(row: frames.FrameRow, s3: objects.S3, expires_s: int) -> Frame:
    key = objects.frame_key(row.project_id, row.video_id, row.pts_us)
    url = s3.presign_get(s3.at(key), expires_s=expires_s)
    return Frame.model_validate({**vars(row), "url": url})
