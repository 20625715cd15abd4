"""Videos: announce, list, see, edit, delete, ingest again, and where the original can be watched."""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from fastapi.requests import Request
from fastapi.responses import RedirectResponse, Response
from pydantic import AwareDatetime, TypeAdapter, ValidationError

from argus_ray import ingests, thumbnails, uploads
from argus_ray.catalog import videos
from argus_ray.catalog.videos import VideoRow
from argus_ray.errors import Conflict, InvalidRequest
from argus_ray.schemas.common import JsonObject, Page, Text
from argus_ray.schemas.job import Job
from argus_ray.schemas.video import (
    Media,
    Reingest,
    Video,
    VideoCreate,
    VideoCreated,
    VideoImport,
    VideoState,
    VideoUpdate,
)
from argus_ray.thumbnails import thumbnail_key
from serve_apps.api.dependencies import (
    S3,
    EditableProjectId,
    IfMatch,
    NewestFirst,
    ProjectId,
    Settings,
    UserTx,
    edit,
    newest,
    tagged,
)
from serve_apps.api.problems import documented
from serve_apps.api.route import Idempotent, Route

router = APIRouter(prefix="/v1", tags=["videos"], route_class=Route, responses=documented(401))


async def _thumbnails(request: Request) -> thumbnails.Thumbnails | None:
    held: thumbnails.Thumbnails | None = request.app.state.thumbnails
    return held


Thumbnails = Annotated[thumbnails.Thumbnails | None, Depends(_thumbnails)]
"""None where no Storage is configured: videos have no posters then."""


@router.post(
    "/projects/{project_id}/videos",
    status_code=201,
    operation_id="create_video",
    dependencies=[Idempotent],
    responses=documented(403, 404, 409, 422, 503)
    | {200: {"model": VideoCreated, "description": "The project has these bytes already."}},
)
async def create_video(
    project_id: ProjectId,
    new: VideoCreate,
    tx: UserTx,
    s3: S3,
    settings: Settings,
    posters: Thumbnails,
    response: Response,
) -> VideoCreated:
    """Announce a video; the answer says where to send its bytes, straight to S3.

    Below a size the `upload` is one PUT: send `headers` with it, exactly. Above, it is `multipart`: PUT each part of
    `part_size_bytes` (the last one is what is left) to its URL; URLs expire sooner than the upload, and
    `POST /v1/uploads/{id}/parts` gives fresh ones. A `sha256` that the project has answers 200 with that video.
    """
    created = await uploads.start(tx, s3, settings, project_id, new)
    response.headers["Location"] = f"/v1/videos/{created.video.id}"
    if created.upload is None:
        response.status_code = 200
        assert isinstance(created.video, VideoRow)
        (video,) = await _shown([created.video], posters, settings.url_expires_s)
        return VideoCreated(video=video)
    return created


@router.post(
    "/projects/{project_id}/videos:import",
    status_code=202,
    operation_id="import_video",
    dependencies=[Idempotent],
    responses=documented(403, 404, 409, 422, 503),
)
async def import_video(
    project_id: EditableProjectId, asked: VideoImport, tx: UserTx, s3: S3, settings: Settings, response: Response
) -> Job:
    """Take a file that lies in a bucket, without copying it; the job of its ingest, which names the video.

    It must lie below one of the prefixes that the operator allows.
    """
    job = await uploads.import_(tx, s3, settings, project_id, asked)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job


@router.get("/projects/{project_id}/videos", operation_id="list_videos", responses=documented(404, 422))
async def list_videos(
    project_id: ProjectId,
    paging: NewestFirst,
    tx: UserTx,
    settings: Settings,
    posters: Thumbnails,
    state: Annotated[list[VideoState] | None, Query(max_length=6, description="In one of these states.")] = None,
    name: Annotated[Text | None, Query(max_length=200, description="Part of the name, in any case.")] = None,
    metadata: Annotated[
        str | None, Query(max_length=4000, description="A JSON object that the video's metadata contains.")
    ] = None,
    created_after: Annotated[AwareDatetime | None, Query(description="Not earlier than this.")] = None,
    created_before: Annotated[AwareDatetime | None, Query(description="Earlier than this.")] = None,
) -> Page[Video]:
    """The project's videos, newest first. `probe` is left out here."""
    found = videos.page(
        project_id,
        states=[str(one) for one in state] if state else None,
        name=name,
        metadata=_json_object(metadata) if metadata else None,
        created_after=created_after,
        created_before=created_before,
        after=paging.after,
        rows=paging.rows,
    )
    page = paging.page(await tx.all(found), newest)
    shown = await _shown(page.items, posters, settings.url_expires_s)
    return Page[Video](items=shown, next_cursor=page.next_cursor)


@router.post(
    "/videos/{video_id}:reingest",
    status_code=202,
    operation_id="reingest_video",
    dependencies=[Idempotent],
    responses=documented(403, 404, 409, 422),
)
async def reingest_video(video_id: UUID, tx: UserTx, response: Response, asked: Reingest | None = None) -> Job:
    """Ingest a ready or failed video again, under another policy where one is given; the job.

    Its frames are not found until that has ended. Frames that the new policy does not keep go.
    """
    job = await ingests.reingest(tx, video_id, asked or Reingest())
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job


@router.get("/videos/{video_id}", operation_id="get_video", responses=documented(404, 422))
async def get_video(video_id: UUID, tx: UserTx, settings: Settings, posters: Thumbnails, response: Response) -> Video:
    """What is known of a video. `poster_url` is null while there is none, or Storage does not answer."""
    (video,) = await _shown([await tx.one(videos.get(video_id))], posters, settings.url_expires_s)
    return tagged(video, response)


@router.patch("/videos/{video_id}", operation_id="update_video", responses=documented(403, 404, 412, 422, 428))
async def update_video(
    video_id: UUID,
    change: VideoUpdate,
    versions: IfMatch,
    tx: UserTx,
    settings: Settings,
    posters: Thumbnails,
    response: Response,
) -> Video:
    """Rename it, or replace its metadata."""
    row = await edit(tx, videos.update(video_id, change, versions), videos.get(video_id), versions)
    (video,) = await _shown([row], posters, settings.url_expires_s)
    return tagged(video, response)


@router.delete("/videos/{video_id}", status_code=204, operation_id="delete_video", responses=documented(403, 404, 422))
async def delete_video(video_id: UUID, tx: UserTx) -> None:
    """Delete it with its frames, vectors, work in flight and objects. Again changes nothing."""
    await tx.one(videos.delete(video_id))


@router.get(
    "/videos/{video_id}/media",
    operation_id="get_media",
    response_model=Media,
    responses=documented(404, 409, 422) | {307: {"description": "With `redirect=1`: go there."}},
)
async def get_media(
    video_id: UUID,
    tx: UserTx,
    s3: S3,
    settings: Settings,
    redirect: Annotated[bool, Query(description="Answer 307 instead, for a player's `src`.")] = False,
) -> Media | Response:
    """A short-lived URL of the original bytes, which takes ranges; add `#t=<seconds>` to open it at a moment."""
    video = await tx.one(videos.get(video_id))
    if video.state is VideoState.AWAITING_UPLOAD:
        raise Conflict("the video's bytes have not arrived: complete its upload first", state=video.state)
    url = s3.presign_get(
        s3.original(video.project_id, video.id, video.source_uri),
        expires_s=settings.url_expires_s,
        filename=video.name,
        content_type=_playable_type(video.content_type, video.name),
    )
    if redirect:
        return RedirectResponse(url, 307, {"Cache-Control": "private, no-store"})
    return Media(url=url, expires_at=datetime.now(UTC) + timedelta(seconds=settings.url_expires_s))


def _playable_type(announced: str | None, name: str) -> str:
    """What a player is told: the announced type or the name's; nothing that a browser would run as a page."""
    for said in (announced, mimetypes.guess_type(name)[0]):
        if said and said.startswith("video/"):
            return said
    return "application/octet-stream"


def _json_object(text: str) -> JsonObject:
    try:
        return TypeAdapter(JsonObject).validate_json(text)
    except ValidationError as error:
        said = error.errors()[0]["msg"]
        raise InvalidRequest(f'query/metadata: write a JSON object, as {{"camera": 3}}: {said}') from error


async def _shown(rows: Sequence[VideoRow], posters: thumbnails.Thumbnails | None, expires_s: int) -> list[Video]:
    """The videos with URLs of their posters."""
    keys = {row.id: thumbnail_key(row.project_id, row.id) for row in rows if row.poster}
    expires = timedelta(seconds=expires_s)
    urls = await asyncio.to_thread(posters.sign, list(keys.values()), expires=expires) if posters and keys else {}
    return [Video.model_construct(**{**row.__dict__, "poster_url": urls.get(keys.get(row.id, ""))}) for row in rows]
