"""Lists of objects: the folder view of `list`, and the keyset pages of `list-v2`."""

from __future__ import annotations

import base64
from typing import Any, Literal

from psycopg import sql
from pydantic import BaseModel, Field

from argus_ray.local.supabase.database import Connection
from argus_ray.local.supabase.storage_errors import StorageProblem


class SortBy(BaseModel):
    column: Literal["name", "id", "updated_at", "created_at", "last_accessed_at"] = "name"
    order: Literal["asc", "desc"] = "asc"


class ListRequest(BaseModel):
    prefix: str = Field("", max_length=1024)
    limit: int = Field(100, ge=1, le=10_000)
    offset: int = Field(0, ge=0, le=2**31)
    sort_by: SortBy = Field(SortBy(), alias="sortBy")
    search: str = Field("", max_length=1024)


class NameOrder(BaseModel):
    column: Literal["name"] = "name"
    order: Literal["asc", "desc"] = "asc"


class ListV2Request(BaseModel):
    prefix: str = Field("", max_length=1024)
    limit: int = Field(1000, ge=1, le=1000)
    cursor: str | None = Field(None, max_length=4096)
    with_delimiter: bool = False
    sort_by: NameOrder = Field(NameOrder(), alias="sortBy")


async def list_folder(connection: Connection, bucket: str, wanted: ListRequest) -> list[dict[str, Any]]:
    """What lies directly in the folder `prefix`: files with their facts, folders with none (`id` is null)."""
    prefix = f"{wanted.prefix.strip('/')}/" if wanted.prefix.strip("/") else ""
    cursor = await connection.execute(
        sql.SQL("""
            with below as (
              select *, path_tokens[%(depth)s] as entry, cardinality(path_tokens) = %(depth)s as is_file
              from storage.objects
              where bucket_id = %(bucket)s and starts_with(name, %(prefix)s)
            )
            select entry as name, id, updated_at, created_at, last_accessed_at, metadata from below where is_file
              and starts_with(lower(entry), lower(%(search)s))
            union all
            select distinct entry, null::uuid, null::timestamptz, null::timestamptz, null::timestamptz, null::jsonb
            from below where not is_file and starts_with(lower(entry), lower(%(search)s))
            order by {column} {order}
            limit %(limit)s offset %(offset)s
        """).format(column=sql.Identifier(wanted.sort_by.column), order=_direction(wanted.sort_by.order)),
        {
            "bucket": bucket,
            "prefix": prefix,
            "depth": prefix.count("/") + 1,
            "search": wanted.search,
            "limit": wanted.limit,
            "offset": wanted.offset,
        },
    )
    return await cursor.fetchall()


async def list_page(connection: Connection, bucket: str, wanted: ListV2Request) -> dict[str, Any]:
    """One page of names that begin with `prefix`; with the delimiter, what shares a folder below it is one entry."""
    cursor = await connection.execute(
        sql.SQL("""
            with matching as (
              select *, case when %(delimited)s and strpos(substr(name, %(begin)s), '/') > 0
                then %(prefix)s || split_part(substr(name, %(begin)s), '/', 1) || '/' end as folder
              from storage.objects
              where bucket_id = %(bucket)s and starts_with(name, %(prefix)s)
            ), entries as (
              select name, id, updated_at, created_at, last_accessed_at, metadata from matching where folder is null
              union all
              select distinct folder collate "C", null::uuid, null::timestamptz, null::timestamptz, null::timestamptz,
                null::jsonb
              from matching where folder is not null
            )
            select * from entries
            where %(after)s::text is null or name {beyond} %(after)s
            order by name {order}
            limit %(limit)s
        """).format(
            beyond=sql.SQL("<" if wanted.sort_by.order == "desc" else ">"), order=_direction(wanted.sort_by.order)
        ),
        {
            "bucket": bucket,
            "prefix": wanted.prefix,
            "begin": len(wanted.prefix) + 1,
            "delimited": wanted.with_delimiter,
            "after": _after(wanted.cursor),
            "limit": wanted.limit + 1,
        },
    )
    rows = await cursor.fetchall()
    entries, more = rows[: wanted.limit], len(rows) > wanted.limit
    page: dict[str, Any] = {
        "hasNext": more,
        "folders": [{"name": row["name"], "key": row["name"]} for row in entries if row["id"] is None],
        "objects": [{**row, "key": row["name"]} for row in entries if row["id"] is not None],
    }
    if more:
        page["nextCursor"] = base64.urlsafe_b64encode(entries[-1]["name"].encode()).decode()
    return page


def _direction(order: Literal["asc", "desc"]) -> sql.SQL:
    return sql.SQL("desc" if order == "desc" else "asc")


def _after(cursor: str | None) -> str | None:
    if cursor is None:
        return None
    try:
        return base64.b64decode(cursor, altchars=b"-_", validate=True).decode()
    except ValueError as error:
        raise StorageProblem(400, "InvalidRequest", "the cursor is not one of ours") from error
