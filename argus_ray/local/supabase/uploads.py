"""Uploads to Storage: raw bodies and forms, with a session or with a signed URL.

may I? (asked of the policies, rolled back) ─▶ bytes to S3, a new version ─▶ row ─▶ the old version is deleted
"""

from __future__ import annotations

import json
import tempfile
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import IO, Any, cast

from fastapi import APIRouter, Request
from starlette.datastructures import UploadFile

from argus_ray.local.supabase import buckets, downloads
from argus_ray.local.supabase.buckets import BucketName, ObjectName
from argus_ray.local.supabase.database import act_as, acting_as
from argus_ray.local.supabase.gateway import Claims
from argus_ray.local.supabase.object_rows import find, found, write_row
from argus_ray.local.supabase.objects import Bytes, Objects, Version
from argus_ray.local.supabase.services import Caller, Here, Services
from argus_ray.local.supabase.storage_errors import StorageProblem

SPOOL_BYTES = 2 * 2**20  # an upload up to here stays in memory, a larger one waits in a temporary file
URL_EXPIRES_S = 7200

router = APIRouter(prefix="/object")


@dataclass(frozen=True)
class Upload:
    """A body that has arrived: a stream at its beginning, and what its sender says of it."""

    body: IO[bytes]
    size_bytes: int
    content_type: str
    cache_control: str
    user_metadata: dict[str, Any] | None


@router.post("/upload/sign/{bucket}/{name:path}")
async def sign_upload(
    here: Here, caller: Caller, request: Request, bucket: BucketName, name: ObjectName
) -> dict[str, str]:
    upsert = _upsert(request)
    await may_write(here, caller, bucket, name, upsert=upsert)
    claims = {"url": f"{bucket}/{name}", "scope": "upload", "upsert": upsert, "owner": caller.get("sub")}
    token = here.keys.sign_url(claims, URL_EXPIRES_S)
    return {"url": f"/object/upload/sign/{bucket}/{downloads.quoted(name)}?token={token}", "token": token}


@router.put("/upload/sign/{bucket}/{name:path}")
async def upload_signed(
    here: Here, objects: Bytes, request: Request, bucket: BucketName, name: ObjectName, token: str
) -> dict[str, str]:
    """Whether the signer may write was asked when the URL was signed."""
    signed = downloads.url_claims(here, token, "upload", bucket, name)
    claims = {"role": "service_role", "sub": signed["owner"]}
    return await _store(
        here, objects, claims, request, Version(bucket, name, str(uuid.uuid4())), upsert=signed["upsert"]
    )


@router.post("/{bucket}/{name:path}")
async def upload(
    here: Here, objects: Bytes, caller: Caller, request: Request, bucket: BucketName, name: ObjectName
) -> dict[str, str]:
    new = Version(bucket, name, str(uuid.uuid4()))
    return await _store(here, objects, caller, request, new, upsert=_upsert(request))


@router.put("/{bucket}/{name:path}")
async def replace(
    here: Here, objects: Bytes, caller: Caller, request: Request, bucket: BucketName, name: ObjectName
) -> dict[str, str]:
    async with acting_as(here.pool, caller) as connection:
        await found(connection, bucket, name)
    return await _store(here, objects, caller, request, Version(bucket, name, str(uuid.uuid4())), upsert=True)


async def may_write(
    here: Services, claims: Claims, bucket: str, name: str, size_bytes: int = 0, content_type: str = "", *, upsert: bool
) -> dict[str, Any]:
    """Ask bucket and policies before bytes move, and return the bucket. Raises: StorageProblem, psycopg.Error."""
    async with here.pool.connection() as connection:
        bucket_row = await buckets.seen(connection, bucket)  # as the owner: who may write need not see the bucket
    if content_type:
        buckets.check(bucket_row, size_bytes, content_type)
    async with acting_as(here.pool, claims) as connection, connection.transaction(force_rollback=True):
        await write_row(connection, claims, Version(bucket, name, ""), {}, None, upsert=upsert)
    return bucket_row


async def _store(
    here: Services, objects: Objects, claims: Claims, request: Request, new: Version, *, upsert: bool
) -> dict[str, str]:
    bucket = await may_write(here, claims, new.bucket, new.name, upsert=upsert)
    async with _arrived(request) as arrived:
        if arrived.size_bytes > here.config.max_object_bytes:
            raise StorageProblem(413, "Payload too large", "The object exceeded the maximum allowed size")
        buckets.check(bucket, arrived.size_bytes, arrived.content_type)
        etag = await objects.put(new, arrived.body, arrived.content_type, arrived.cache_control)
    metadata = {
        "eTag": etag,
        "size": arrived.size_bytes,
        "mimetype": arrived.content_type,
        "cacheControl": arrived.cache_control,
        "contentLength": arrived.size_bytes,
        "httpStatusCode": 200,
    }
    try:
        async with here.pool.connection() as connection, connection.transaction():
            await connection.execute(
                "select from storage.objects where bucket_id = %s and name = %s for update", [new.bucket, new.name]
            )
            old = await find(connection, new.bucket, new.name)
            await act_as(connection, claims)
            await write_row(connection, claims, new, metadata, arrived.user_metadata, upsert=upsert)
            await connection.execute("select set_config('role', 'none', true)")
            written = await found(connection, new.bucket, new.name)
    except BaseException:
        await objects.delete([new])
        raise
    if old is not None and old["version"]:
        await objects.delete([Version(new.bucket, new.name, old["version"])])
    return {"Id": str(written["id"]), "Key": f"{new.bucket}/{new.name}"}


@asynccontextmanager
async def _arrived(request: Request) -> AsyncIterator[Upload]:
    """The body of an upload: raw, or the file of a form."""
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        async with request.form(max_files=1, max_fields=10) as form:
            file = next((value for value in form.values() if isinstance(value, UploadFile)), None)
            if file is None:
                raise StorageProblem(400, "InvalidRequest", "the form has no file")
            yield Upload(
                body=cast("IO[bytes]", file.file),
                size_bytes=file.size or 0,
                content_type=file.content_type or "application/octet-stream",
                cache_control=_max_age(form.get("cacheControl")),
                user_metadata=_user_metadata(form.get("metadata")),
            )
        return
    with tempfile.SpooledTemporaryFile(SPOOL_BYTES) as body:
        async for part in request.stream():
            body.write(part)
        size_bytes = body.tell()
        body.seek(0)
        yield Upload(
            body=cast("IO[bytes]", body),
            size_bytes=size_bytes,
            content_type=request.headers.get("content-type") or "application/octet-stream",
            cache_control=request.headers.get("cache-control") or "no-cache",
            user_metadata=None,
        )


def _max_age(given: Any) -> str:
    return f"max-age={given}" if isinstance(given, str) and given.isdecimal() else "no-cache"


def _user_metadata(given: Any) -> dict[str, Any] | None:
    if not isinstance(given, str):
        return None
    try:
        parsed = json.loads(given)
    except ValueError as error:
        raise StorageProblem(400, "InvalidRequest", "metadata is not JSON") from error
    if not isinstance(parsed, dict):
        raise StorageProblem(400, "InvalidRequest", "metadata is not an object")
    return parsed


def _upsert(request: Request) -> bool:
    return request.headers.get("x-upsert", "").lower() == "true"
