"""Storage's buckets: their routes, and what a bucket lets in."""

from __future__ import annotations

import fnmatch
import re
from typing import Annotated, Any

import psycopg
from fastapi import APIRouter, Path
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from argus_ray.local.supabase.database import Connection, acting_as
from argus_ray.local.supabase.objects import Bytes, Version
from argus_ray.local.supabase.services import Caller, Here
from argus_ray.local.supabase.storage_errors import StorageProblem, no_bucket

BUCKET_NAME = re.compile(r"[A-Za-z0-9_!.*'() &$=@;:+,?-]{1,100}")
OBJECT_NAME = re.compile(r"[A-Za-z0-9_/!.*'() &$=@;:+,?-]{1,900}")
"""S3's safe characters, as Storage has them; 900 leaves room for bucket and version in a key of 1024."""
SIZE = re.compile(r"(\d+)\s*(|B|KB|MB|GB|TB)", re.IGNORECASE)
UNITS = {"": 0, "B": 0, "KB": 1, "MB": 2, "GB": 3, "TB": 4}


def bucket_name(name: str) -> str:
    if not BUCKET_NAME.fullmatch(name) or name != name.strip() or name in {".", ".."}:
        raise StorageProblem(400, "InvalidBucketName", "Bucket name invalid")
    return name


def object_name(name: str) -> str:
    """A name that is a path of non-empty parts, none of them `.` or `..`. Raises: StorageProblem."""
    if not OBJECT_NAME.fullmatch(name) or any(part in {"", ".", ".."} for part in name.split("/")):
        raise StorageProblem(400, "InvalidKey", f"Invalid key: {name[:100]!r}")
    return name


def _size_bytes(given: Any) -> Any:
    """A number of bytes, or `20MB` as the documentation writes it."""
    if isinstance(given, str) and (found := SIZE.fullmatch(given.strip())):
        return int(found[1]) * 1024 ** UNITS[found[2].upper()]
    return given


BucketName = Annotated[str, Path(), AfterValidator(bucket_name)]
ObjectName = Annotated[str, Path(), AfterValidator(object_name)]
SizeBytes = Annotated[int, BeforeValidator(_size_bytes), Field(gt=0, lt=2**62)]


class BucketUpdate(BaseModel):
    public: bool | None = None
    file_size_limit: SizeBytes | None = None
    allowed_mime_types: list[str] | None = Field(None, max_length=1000)


class BucketCreate(BucketUpdate):
    id: str | None = None
    name: str


router = APIRouter(prefix="/bucket")


@router.post("")
async def create(here: Here, caller: Caller, new: BucketCreate) -> dict[str, str]:
    name = bucket_name(new.id or new.name)
    async with acting_as(here.pool, caller) as connection:
        await connection.execute(
            """
            insert into storage.buckets (id, name, public, file_size_limit, allowed_mime_types, owner, owner_id)
            values (%(id)s, %(id)s, %(public)s, %(size)s, %(types)s, %(owner)s::uuid, %(owner)s)
            """,
            {
                "id": name,
                "public": bool(new.public),
                "size": new.file_size_limit,
                "types": new.allowed_mime_types,
                "owner": caller.get("sub"),
            },
        )
    return {"name": name}


@router.get("")
async def list_buckets(here: Here, caller: Caller) -> list[dict[str, Any]]:
    async with acting_as(here.pool, caller) as connection:
        cursor = await connection.execute("select * from storage.buckets order by id")
        return [_json(row) for row in await cursor.fetchall()]


@router.get("/{bucket}")
async def get(here: Here, caller: Caller, bucket: BucketName) -> dict[str, Any]:
    async with acting_as(here.pool, caller) as connection:
        return _json(await seen(connection, bucket))


@router.put("/{bucket}")
async def update(here: Here, caller: Caller, bucket: BucketName, change: BucketUpdate) -> dict[str, str]:
    given = change.model_dump(exclude_unset=True)
    async with acting_as(here.pool, caller) as connection:
        row = {**await seen(connection, bucket), **given}
        cursor = await connection.execute(
            """
            update storage.buckets
            set public = coalesce(%(public)s, public), file_size_limit = %(file_size_limit)s,
                allowed_mime_types = %(allowed_mime_types)s, updated_at = now()
            where id = %(id)s
            """,
            {name: row[name] for name in ("id", "public", "file_size_limit", "allowed_mime_types")},
        )
        if cursor.rowcount == 0:
            raise no_bucket()
    return {"message": "Successfully updated"}


@router.delete("/{bucket}")
async def delete(here: Here, caller: Caller, bucket: BucketName) -> dict[str, str]:
    try:
        async with acting_as(here.pool, caller) as connection:
            await seen(connection, bucket)
            cursor = await connection.execute("delete from storage.buckets where id = %s", [bucket])
            if cursor.rowcount == 0:
                raise no_bucket()
    except psycopg.errors.ForeignKeyViolation as error:
        raise StorageProblem(409, "InvalidRequest", "The bucket you tried to delete is not empty") from error
    return {"message": "Successfully deleted"}


@router.post("/{bucket}/empty")
async def empty(here: Here, objects: Bytes, caller: Caller, bucket: BucketName) -> dict[str, str]:
    async with acting_as(here.pool, caller) as connection:
        await seen(connection, bucket)
        cursor = await connection.execute(
            "delete from storage.objects where bucket_id = %s returning name, version", [bucket]
        )
        rows = await cursor.fetchall()
    await objects.delete(Version(bucket, row["name"], row["version"]) for row in rows)
    return {"message": "Successfully emptied"}


async def seen(connection: Connection, bucket: str) -> dict[str, Any]:
    """The bucket's row, if the transaction's role may see it. Raises: StorageProblem."""
    cursor = await connection.execute("select * from storage.buckets where id = %s", [bucket])
    row = await cursor.fetchone()
    if row is None:
        raise no_bucket()
    return row


def check(bucket: dict[str, Any], size_bytes: int, content_type: str) -> None:
    """What a bucket lets in. Raises: StorageProblem."""
    limit = bucket["file_size_limit"]
    if limit is not None and size_bytes > limit:
        raise StorageProblem(413, "Payload too large", "The object exceeded the maximum allowed size")
    allowed, kind = bucket["allowed_mime_types"], content_type.partition(";")[0].strip().lower()
    if allowed and not any(fnmatch.fnmatchcase(kind, pattern.strip().lower()) for pattern in allowed):
        raise StorageProblem(415, "invalid_mime_type", f"mime type {kind} is not supported")


def _json(row: dict[str, Any]) -> dict[str, Any]:
    names = ("id", "name", "public", "file_size_limit", "allowed_mime_types", "created_at", "updated_at")
    return {**{name: row[name] for name in names}, "owner": row["owner_id"] or "", "type": "STANDARD"}
