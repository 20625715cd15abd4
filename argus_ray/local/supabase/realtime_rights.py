"""Who may hear and say what in a private room: the policies on `realtime.messages` decide.

Asked as Supabase asks: in a transaction that is always rolled back, a message of each kind is written into the topic;
who sees it as the caller may hear the topic, who may write another may speak in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from argus_ray.local.supabase.database import Connection, Pool, act_as
from argus_ray.local.supabase.gateway import Claims

KINDS = ("broadcast", "presence")


@dataclass(frozen=True)
class Rights:
    """What a caller may do in a room."""

    hears: frozenset[str]  # of KINDS
    says: frozenset[str]


EVERYTHING = Rights(frozenset(KINDS), frozenset(KINDS))
"""In a public room."""


async def rights(pool: Pool, claims: Claims, topic: str) -> Rights:
    """What the caller may do in the private room of this topic."""
    async with pool.connection() as connection, connection.transaction(force_rollback=True):
        cursor = await connection.execute(
            """
            with probes as (
              insert into realtime.messages (topic, extension, private)
              select %(topic)s, kind, true from unnest(%(kinds)s::text[]) as kind
              returning id
            )
            select array_agg(id) as ids from probes
            """,
            {"topic": topic, "kinds": list(KINDS)},
        )
        probes = await cursor.fetchone()
        assert probes is not None
        await act_as(connection, claims)
        await connection.execute("select set_config('realtime.topic', %s, true)", [topic])
        cursor = await connection.execute(
            "select extension from realtime.messages where id = any(%s) and topic = %s", [probes["ids"], topic]
        )
        hears = frozenset({row["extension"] for row in await cursor.fetchall()})
        says = frozenset([kind for kind in KINDS if await _may_say(connection, topic, kind)])
    return Rights(hears, says)


async def _may_say(connection: Connection, topic: str, kind: str) -> bool:
    try:
        async with connection.transaction(force_rollback=True):
            await connection.execute(
                "insert into realtime.messages (topic, extension, private) values (%s, %s, true)", [topic, kind]
            )
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True
