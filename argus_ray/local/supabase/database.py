"""Postgres as the local Supabase uses it: a pool of the owner's connections, and transactions as the caller.

Who may do what to objects and messages is decided by row-level security alone, as on Supabase: a request's transaction
takes the caller's role and claims before it touches them.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

Connection: TypeAlias = AsyncConnection[DictRow]
Pool: TypeAlias = AsyncConnectionPool[Connection]

ROLES = frozenset({"anon", "authenticated", "service_role"})
"""The roles that a token may name; anything else in the claim is refused before it reaches `set role`."""


def open_pool(url: str) -> Pool:
    """Not yet opened. A connection that died with its server is replaced when it is asked for, not when it fails.

    The pool pauses longer after each failed attempt to connect. It gives up soon instead, and tries again when somebody
    asks: so it is back as soon as Postgres is.
    """
    return AsyncConnectionPool(
        url,
        connection_class=AsyncConnection[DictRow],
        kwargs={"row_factory": dict_row},
        min_size=1,
        max_size=8,
        timeout=5,
        reconnect_timeout=1,
        open=False,
        check=AsyncConnectionPool.check_connection,
        name="local supabase",
    )


@asynccontextmanager
async def acting_as(pool: Pool, claims: Mapping[str, Any]) -> AsyncIterator[Connection]:
    """A transaction with the caller's role and claims. Commits at the end, rolls back when left by an exception."""
    async with pool.connection() as connection, connection.transaction():
        await act_as(connection, claims)
        yield connection


async def act_as(connection: Connection, claims: Mapping[str, Any]) -> None:
    """Take the caller's role and claims until the transaction ends."""
    if claims["role"] not in ROLES:
        raise ValueError(f"no request runs as role {claims['role']!r}")
    await connection.execute(
        "select set_config('role', %(role)s, true), set_config('request.jwt.claims', %(claims)s, true)",
        {"role": claims["role"], "claims": json.dumps(dict(claims))},
    )
