"""Uploads: fresh URLs, what has arrived, complete, give up."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from argus_ray import uploads
from argus_ray.cursors import cursor_of
from argus_ray.schemas.common import Page
from argus_ray.schemas.job import Job
from argus_ray.schemas.video import CompleteUpload, Part, PartRequest, Upload, UploadedPart
from serve_apps.api.dependencies import S3, Paging, Settings, UserTx, paging
from serve_apps.api.problems import documented
from serve_apps.api.route import Idempotent, Route

router = APIRouter(prefix="/v1", tags=["uploads"], route_class=Route, responses=documented(401))

ByNumber = Annotated[Paging[int], Depends(paging(int))]


@router.post(
    "/videos/{video_id}/complete",
    status_code=202,
    operation_id="complete_upload",
    dependencies=[Idempotent],
    responses=documented(403, 404, 409, 422, 503),
)
async def complete_upload(
    video_id: UUID, tx: UserTx, s3: S3, response: Response, said: CompleteUpload | None = None
) -> Job:
    """Say that the bytes are sent. S3 is asked what arrived, and the ingest is queued; the job. Again gives the same job.

    `parts` are a cross-check and may be left out. Where something is missing or wrong, nothing changes and the upload
    stays usable.
    """
    job = await uploads.complete(tx, s3, video_id, said or CompleteUpload())
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job


@router.get("/uploads/{upload_id}", operation_id="get_upload", responses=documented(403, 404, 409, 422))
async def get_upload(upload_id: UUID, tx: UserTx, s3: S3, settings: Settings) -> Upload:
    """An open upload, with fresh URLs."""
    return await uploads.look(tx, s3, settings, upload_id)


@router.delete(
    "/uploads/{upload_id}", status_code=204, operation_id="abort_upload", responses=documented(403, 404, 409, 422, 503)
)
async def abort_upload(upload_id: UUID, tx: UserTx, s3: S3) -> None:
    """Give it up, here and at S3; its video goes with it. Again changes nothing."""
    await uploads.abort(tx, s3, upload_id)


@router.get("/uploads/{upload_id}/parts", operation_id="list_parts", responses=documented(404, 409, 422, 503))
async def list_parts(upload_id: UUID, page: ByNumber, tx: UserTx, s3: S3) -> Page[UploadedPart]:
    """The parts that have arrived, by their numbers: what is missing is still to be sent."""
    parts, following = await uploads.arrived_parts(tx, s3, upload_id, after=page.after or 0, limit=page.limit)
    items = [UploadedPart(number=part.number, size_bytes=part.size_bytes, etag=part.etag) for part in parts]
    return Page(items=items, next_cursor=None if following is None else cursor_of(following))


@router.post("/uploads/{upload_id}/parts", operation_id="renew_parts", responses=documented(403, 404, 409, 422))
async def renew_parts(upload_id: UUID, asked: PartRequest, tx: UserTx, s3: S3, settings: Settings) -> Page[Part]:
    """Fresh URLs of these parts."""
    return Page(items=await uploads.fresh_parts(tx, s3, settings, upload_id, asked.numbers))
