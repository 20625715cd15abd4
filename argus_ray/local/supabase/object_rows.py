"""Rows of `storage.objects`, read and written with the role that the transaction has: the policies decide."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from psycopg.types.json import Jsonb

from argus_ray.local.supabase.database import Connection
from argus_ray.local.supabase.gateway import Claims
from argus_ray.local.supabase.objects import Version
from argus_ray.local.supabase.storage_errors import no_object


async def find(connection: Connection, bucket: str, name: str) -> dict[str, Any] | None:
    cursor = await connection.execute(
        "select * from storage.objects where bucket_id = %s and name = %s", [bucket, name]
    )
    return await cursor.fetchone()


async def found(connection: Connection, bucket: str, name: str) -> dict[str, Any]:
    """Raises: StorageProblem when it is not there, or not to be seen: the same for both."""
    row = await find(connection, bucket, name)
    if row is None:
        raise no_object()
    return row


async def write_row(
    connection: Connection,
    claims: Claims,
    version: Version,
    metadata: Mapping[str, Any],
    user_metadata: Mapping[str, Any] | None,
    *,
    upsert: bool,
) -> None:
    """Insert the object's row, or with `upsert` change the one that is there.

    Nothing is returned from the statement: who may write need not be able to read.
    """
    values = {
        "id": uuid.uuid4(),
        "bucket": version.bucket,
        "name": version.name,
        "version": version.version,
        "owner": claims.get("sub"),
        "metadata": Jsonb(dict(metadata)),
        "user_metadata": Jsonb(dict(user_metadata)) if user_metadata is not None else None,
    }
    if upsert:
        await connection.execute(
            """
            insert into storage.objects (id, bucket_id, name, version, owner, owner_id, metadata, user_metadata)
            values (%(id)s, %(bucket)s, %(name)s, %(version)s, %(owner)s::uuid, %(owner)s, %(metadata)s, %(user_metadata)s)
            on conflict (bucket_id, name) do update
            set version = excluded.version, metadata = excluded.metadata, updated_at = now(),
                user_metadata = coalesce(excluded.user_metadata, objects.user_metadata)
            """,
            values,
        )
    else:
        await connection.execute(
            """
            insert into storage.objects (id, bucket_id, name, version, owner, owner_id, metadata, user_metadata)
            values (%(id)s, %(bucket)s, %(name)s, %(version)s, %(owner)s::uuid, %(owner)s, %(metadata)s, %(user_metadata)s)
            """,
            values,
        )
