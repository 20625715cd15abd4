"""Downloads from Storage: as the caller, of a public bucket, or by a signed URL. Ranges and conditions are S3's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import quote

import jwt
from botocore.exceptions import ClientError
from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from argus_ray.local.supabase import buckets
from argus_ray.local.supabase.buckets import BucketName, ObjectName
from argus_ray.local.supabase.database import acting_as
from argus_ray.local.supabase.object_rows import found
from argus_ray.local.supabase.objects import Bytes, Objects, Version
from argus_ray.local.supabase.services import Caller, Here, Services
from argus_ray.local.supabase.storage_errors import StorageProblem, no_bucket, no_object

CONDITIONS = {"range": "Range", "if-none-match": "IfNoneMatch", "if-match": "IfMatch"}
CHUNK_BYTES = 256 * 1024

router = APIRouter(prefix="/object")


@router.get("/public/{bucket}/{name:path}")
async def download_public(
    here: Here, objects: Bytes, request: Request, bucket: BucketName, name: ObjectName
) -> Response:
    async with here.pool.connection() as connection:
        if not (await buckets.seen(connection, bucket))["public"]:
            raise no_bucket()
        row = await found(connection, bucket, name)
    return await _send(objects, request, row)


@router.get("/sign/{bucket}/{name:path}")
async def download_signed(
    here: Here, objects: Bytes, request: Request, bucket: BucketName, name: ObjectName, token: str
) -> Response:
    """Whether the signer may read was asked when the URL was signed."""
    url_claims(here, token, "download", bucket, name)
    async with here.pool.connection() as connection:
        row = await found(connection, bucket, name)
    return await _send(objects, request, row)


@router.get("/info/authenticated/{bucket}/{name:path}")
@router.get("/info/{bucket}/{name:path}")
async def info(here: Here, caller: Caller, bucket: BucketName, name: ObjectName) -> dict[str, Any]:
    async with acting_as(here.pool, caller) as connection:
        row = await found(connection, bucket, name)
    metadata = row["metadata"] or {}
    return {
        "id": row["id"],
        "name": row["name"],
        "version": row["version"],
        "bucket_id": row["bucket_id"],
        "size": metadata.get("size"),
        "content_type": metadata.get("mimetype"),
        "cache_control": metadata.get("cacheControl"),
        "etag": metadata.get("eTag"),
        "metadata": row["user_metadata"],
        "last_modified": row["updated_at"],
        "created_at": row["created_at"],
    }


@router.api_route("/authenticated/{bucket}/{name:path}", methods=["GET", "HEAD"])
@router.api_route("/{bucket}/{name:path}", methods=["GET", "HEAD"])
async def download(
    here: Here, objects: Bytes, caller: Caller, request: Request, bucket: BucketName, name: ObjectName
) -> Response:
    async with acting_as(here.pool, caller) as connection:
        row = await found(connection, bucket, name)
    return await _send(objects, request, row)


def url_claims(
    here: Services, token: str, scope: Literal["download", "upload"], bucket: str, name: str
) -> dict[str, Any]:
    """What a signed URL says. Raises: StorageProblem unless it was signed here, for this, and has not expired."""
    try:
        claims = here.keys.verify_url(token)
    except jwt.InvalidTokenError as error:
        raise StorageProblem(400, "InvalidJWT", "the URL's token is malformed, forged or has expired") from error
    if claims.get("scope") != scope or claims.get("url") != f"{bucket}/{name}":
        raise StorageProblem(400, "InvalidSignature", "The url do not match the signature")
    return claims


def quoted(name: str) -> str:
    """A name as part of a URL's path."""
    return quote(name, safe="/")


async def _send(objects: Objects, request: Request, row: Mapping[str, Any]) -> Response:
    """S3's answer to the same request: whole, a range (206), unchanged (304), or a refusal in Storage's words."""
    conditions = {argument: request.headers[name] for name, argument in CONDITIONS.items() if name in request.headers}
    try:
        got = await objects.get(Version(row["bucket_id"], row["name"], row["version"]), conditions)
    except ClientError as error:
        match error.response["ResponseMetadata"]["HTTPStatusCode"]:
            case 304:
                return Response(status_code=304)
            case 412:
                raise StorageProblem(412, "PreconditionFailed", "The object is another one by now") from error
            case 416:
                raise StorageProblem(416, "InvalidRange", "The range lies outside the object") from error
            case 404:  # replaced between the row and the bytes: what was asked for is gone
                raise no_object() from error
            case _:
                raise
    headers = {
        "Content-Length": str(got["ContentLength"]),
        "Content-Type": got["ContentType"],
        "Cache-Control": got.get("CacheControl", "no-cache"),
        "ETag": got["ETag"],
        "Last-Modified": got["LastModified"].strftime("%a, %d %b %Y %H:%M:%S GMT"),
        "Accept-Ranges": "bytes",
        "X-Content-Type-Options": "nosniff",
    }
    if "ContentRange" in got:
        headers["Content-Range"] = got["ContentRange"]
    if "download" in request.query_params:
        name = request.query_params["download"] or row["name"].split("/")[-1]
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
    if request.method == "HEAD":
        got["Body"].close()
        return Response(headers=headers)
    return StreamingResponse(got["Body"].iter_chunks(CHUNK_BYTES), 206 if "ContentRange" in got else 200, headers)
