"""Imports: where to send a file of annotations. What is done with it is a job."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from fastapi import APIRouter

from argus_ray.errors import TooLarge
from argus_ray.s3 import import_key
from argus_ray.schemas.dataset import ImportCreate, ImportUpload
from serve_apps.api.dependencies import S3, EditableProjectId, Settings
from serve_apps.api.problems import documented
from serve_apps.api.route import Route

router = APIRouter(prefix="/v1", tags=["datasets"], route_class=Route, responses=documented(401))


@router.post(
    "/projects/{project_id}/imports",
    status_code=201,
    operation_id="create_import",
    responses=documented(403, 404, 413, 422),
)
async def create_import(project_id: EditableProjectId, new: ImportCreate, s3: S3, settings: Settings) -> ImportUpload:
    """Announce a file of annotations; the answer says where to send its bytes, straight to S3.

    Then ask for a job of kind `import` with its `object_key`: first a dry run, whose report says what is known and what is
    not, then the import itself, of the same file.
    """
    if new.size_bytes > settings.max_import_bytes:
        raise TooLarge(
            f"the file has {new.size_bytes} bytes and the limit is {settings.max_import_bytes}: split it",
            limit_bytes=settings.max_import_bytes,
        )
    key = import_key(project_id, uuid4())
    url, headers = s3.presign_put(key, expires_s=settings.url_expires_s, size_bytes=new.size_bytes)
    expires_at = datetime.now(UTC) + timedelta(seconds=settings.url_expires_s)
    return ImportUpload(object_key=key, url=url, headers=headers, expires_at=expires_at)
