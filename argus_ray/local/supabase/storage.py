"""Storage, as its clients speak it: names, owners and rights in Postgres, bytes in S3.

Every request reads and writes `storage.objects` as its caller, so that the policies decide. Here are lists, moves,
copies, removals and signed URLs; `uploads` and `downloads` move bytes. Image transformation, resumable uploads and the
S3 protocol are not here: S3 itself is.
"""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
from fastapi import APIRouter, FastAPI
from pydantic import BaseModel, Field

from argus_ray.local.supabase import buckets, downloads, storage_errors, uploads
from argus_ray.local.supabase.buckets import BucketName, ObjectName, bucket_name, object_name
from argus_ray.local.supabase.database import Connection, acting_as
from argus_ray.local.supabase.listing import ListRequest, ListV2Request, list_folder, list_page
from argus_ray.local.supabase.object_rows import found, write_row
from argus_ray.local.supabase.objects import Bytes, Objects, Version
from argus_ray.local.supabase.services import Caller, Here, Services
from argus_ray.local.supabase.storage_errors import StorageProblem, no_bucket, no_object

MAX_URL_EXPIRES_S = 10 * 365 * 24 * 3600

router = APIRouter(prefix="/object")


class Names(BaseModel):
    prefixes: list[str] = Field(min_length=1, max_length=1000)


class Transfer(BaseModel):
    bucket_id: str = Field(alias="bucketId")
    source: str = Field(alias="sourceKey")
    target: str = Field(alias="destinationKey")
    target_bucket: str | None = Field(None, alias="destinationBucket")


class Signing(BaseModel):
    expires_s: int = Field(alias="expiresIn", ge=1, le=MAX_URL_EXPIRES_S)
    transform: dict[str, Any] | None = None


class BulkSigning(Signing):
    paths: list[str] = Field(max_length=500)


@router.post("/list/{bucket}")
async def list_objects(here: Here, caller: Caller, bucket: BucketName, wanted: ListRequest) -> list[dict[str, Any]]:
    async with acting_as(here.pool, caller) as connection:
        return await list_folder(connection, bucket, wanted)


@router.post("/list-v2/{bucket}")
async def list_objects_v2(here: Here, caller: Caller, bucket: BucketName, wanted: ListV2Request) -> dict[str, Any]:
    async with acting_as(here.pool, caller) as connection:
        return await list_page(connection, bucket, wanted)


@router.post("/move")
async def move(here: Here, objects: Bytes, caller: Caller, wanted: Transfer) -> dict[str, Any]:
    old, new = _ends(wanted)
    async with acting_as(here.pool, caller) as connection:
        row = await found(connection, old.bucket, old.name)
    old = Version(old.bucket, old.name, row["version"])
    await objects.copy(old, new)
    try:
        async with acting_as(here.pool, caller) as connection:
            await _rename(connection, old, new)
    except BaseException:
        await objects.delete([new])
        raise
    await objects.delete([old])
    return {"message": "Successfully moved", "Id": str(row["id"]), "Key": f"{new.bucket}/{new.name}"}


async def _rename(connection: Connection, old: Version, new: Version) -> None:
    try:
        cursor = await connection.execute(
            """
            update storage.objects
            set bucket_id = %(new_bucket)s, name = %(new_name)s, version = %(new_version)s, updated_at = now()
            where bucket_id = %(bucket)s and name = %(name)s and version = %(version)s
            """,
            {
                "bucket": old.bucket,
                "name": old.name,
                "version": old.version,
                "new_bucket": new.bucket,
                "new_name": new.name,
                "new_version": new.version,
            },
        )
    except psycopg.errors.ForeignKeyViolation as error:
        raise no_bucket() from error
    if cursor.rowcount == 0:
        raise no_object()


@router.post("/copy")
async def copy(here: Here, objects: Bytes, caller: Caller, wanted: Transfer) -> dict[str, Any]:
    old, new = _ends(wanted)
    async with acting_as(here.pool, caller) as connection:
        row = await found(connection, old.bucket, old.name)
    metadata = row["metadata"] or {}
    await uploads.may_write(
        here, caller, new.bucket, new.name, metadata.get("size", 0), metadata.get("mimetype", ""), upsert=False
    )
    await objects.copy(Version(old.bucket, old.name, row["version"]), new)
    try:
        async with acting_as(here.pool, caller) as connection:
            await write_row(connection, caller, new, metadata, row["user_metadata"], upsert=False)
    except BaseException:
        await objects.delete([new])
        raise
    return {"Key": f"{new.bucket}/{new.name}"}


@router.delete("/{bucket}")
async def remove(here: Here, objects: Bytes, caller: Caller, bucket: BucketName, names: Names) -> list[dict[str, Any]]:
    """Remove what the caller may; the answer names what was removed."""
    async with acting_as(here.pool, caller) as connection:
        rows = await _delete(connection, bucket, names.prefixes)
    await objects.delete(Version(bucket, row["name"], row["version"]) for row in rows)
    return rows


@router.delete("/{bucket}/{name:path}")
async def remove_one(
    here: Here, objects: Bytes, caller: Caller, bucket: BucketName, name: ObjectName
) -> dict[str, str]:
    async with acting_as(here.pool, caller) as connection:
        rows = await _delete(connection, bucket, [name])
    if not rows:
        raise no_object()
    await objects.delete(Version(bucket, row["name"], row["version"]) for row in rows)
    return {"message": "Successfully deleted"}


async def _delete(connection: Connection, bucket: str, names: list[str]) -> list[dict[str, Any]]:
    cursor = await connection.execute(
        """
        delete from storage.objects where bucket_id = %s and name = any(%s)
        returning id, bucket_id, name, owner, owner_id, version, metadata, user_metadata,
                  created_at, updated_at, last_accessed_at
        """,
        [bucket, names],
    )
    return await cursor.fetchall()


@router.post("/sign/{bucket}")
async def sign_many(here: Here, caller: Caller, bucket: BucketName, wanted: BulkSigning) -> list[dict[str, Any]]:
    async with acting_as(here.pool, caller) as connection:
        cursor = await connection.execute(
            "select name from storage.objects where bucket_id = %s and name = any(%s)", [bucket, wanted.paths]
        )
        seen = {row["name"] for row in await cursor.fetchall()}
    return [
        {"path": path, "error": None, "signedURL": _signed_url(here, bucket, path, wanted.expires_s)}
        if path in seen
        else {
            "path": path,
            "error": "Either the object does not exist or you do not have access to it",
            "signedURL": None,
        }
        for path in wanted.paths
    ]


@router.post("/sign/{bucket}/{name:path}")
async def sign(here: Here, caller: Caller, bucket: BucketName, name: ObjectName, wanted: Signing) -> dict[str, str]:
    if wanted.transform:
        raise StorageProblem(400, "FeatureNotEnabled", "image transformation is not part of the local Supabase")
    async with acting_as(here.pool, caller) as connection:
        await found(connection, bucket, name)
    return {"signedURL": _signed_url(here, bucket, name, wanted.expires_s)}


def _signed_url(here: Services, bucket: str, name: str, expires_s: int) -> str:
    token = here.keys.sign_url({"url": f"{bucket}/{name}", "scope": "download"}, expires_s)
    return f"/object/sign/{bucket}/{downloads.quoted(name)}?token={token}"


def _ends(wanted: Transfer) -> tuple[Version, Version]:
    """Where from (its version not yet known) and where to."""
    source = bucket_name(wanted.bucket_id)
    target = bucket_name(wanted.target_bucket or wanted.bucket_id)
    new = Version(target, object_name(wanted.target), str(uuid.uuid4()))
    return Version(source, object_name(wanted.source), ""), new


def create(here: Services, objects: Objects) -> FastAPI:
    app = FastAPI(openapi_url=None)
    app.state.services, app.state.objects = here, objects
    storage_errors.install(app)
    # The order counts: `/object/list/{bucket}` is also of the form `/object/{bucket}/{name}`.
    for routes in (buckets.router, router, uploads.router, downloads.router):
        app.include_router(routes)
    return app
