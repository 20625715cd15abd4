"""Broadcast replay: a channel that joins may first be sent what a private topic said lately."""

from __future__ import annotations

from pydantic import BaseModel, Field

from argus_ray.local.supabase.database import Pool
from argus_ray.local.supabase.hub import Member


class Replay(BaseModel):
    since: int = Field(ge=0, le=4_000_000_000_000, description="Milliseconds since 1970.")
    limit: int = Field(25, ge=1, le=25)


async def replay(pool: Pool, member: Member, wanted: Replay) -> None:
    """Push the topic's latest messages from the database, oldest first, each marked as replayed."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            """
            select id::text, event, payload
            from realtime.messages
            where topic = %(topic)s and private and extension = 'broadcast'
              and inserted_at >= to_timestamp(%(since_ms)s / 1000.0) at time zone 'utc'
              and inserted_at > now() at time zone 'utc' - interval '3 days'
            order by seq desc limit %(limit)s
            """,
            {"topic": member.room.topic, "since_ms": wanted.since, "limit": wanted.limit},
        )
        rows = await cursor.fetchall()
    for row in reversed(rows):
        member.push(
            "broadcast",
            {
                "type": "broadcast",
                "event": row["event"],
                "payload": row["payload"],
                "meta": {"id": row["id"], "replayed": True},
            },
        )
