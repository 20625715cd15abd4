"""Messages that the database sends: rows of `realtime.messages`, handed to the hub exactly once, in order.

A notification only wakes the feed. What it then reads are the rows that have become visible since the snapshot of its
last reading: `xact`, the transaction that wrote a row, was not visible in that snapshot and is in this one. So neither a
lost connection nor a transaction that commits after later ones loses a message or sends it twice. (A sequence number
would not do: numbers are given before commits, and commit out of order.)

After a crash, Postgres may give the number of a transaction that left no trace to another one: the old snapshot then
takes the new one for seen. Those began after the last reading, so that rows of a later `inserted_at` (the begin of their
transaction) are read as well; in quiet times they are the same rows.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator
from datetime import datetime

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row

from argus_ray.local.supabase.hub import Hub, Room

log = logging.getLogger(__name__)

LOOK_EVERY_S = 10.0  # without being woken, in case a notification was lost
PRUNE_EVERY_S = 3600.0
MAX_PAUSE_S = 2.0


class Feed:
    """Reads on a session connection of its own, and connects again for as long as it takes."""

    def __init__(self, database_url: str, hub: Hub) -> None:
        self.database_url, self.hub = database_url, hub
        self.connected = asyncio.Event()
        self._snapshot: str | None = None
        self._looked_at: datetime | None = None  # in UTC, without saying so, as `inserted_at`
        self._pruned_at = -PRUNE_EVERY_S

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Deliver while the block lasts; inside it the feed is listening."""
        task = asyncio.create_task(self._run(), name="realtime feed")
        try:
            await self.connected.wait()
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                async with await AsyncConnection[DictRow].connect(
                    self.database_url, autocommit=True, row_factory=dict_row, connect_timeout=5, keepalives_idle=30
                ) as connection:
                    await connection.execute("listen realtime")
                    await self._deliver(connection)
                    self.connected.set()
                    failures = 0
                    while True:
                        async for _ in connection.notifies(timeout=LOOK_EVERY_S, stop_after=1):
                            pass
                        await self._deliver(connection)
                        await self._prune(connection)
            except psycopg.OperationalError as error:
                self.connected.clear()
                failures += 1
                if failures == 1:
                    log.warning("Realtime has lost Postgres and tries until it is back: %s", error)
                await asyncio.sleep(random.uniform(0.5, 1) * min(0.1 * 2**failures, MAX_PAUSE_S))  # noqa: S311  no secret

    async def _deliver(self, connection: AsyncConnection[DictRow]) -> None:
        """Hand over what has become visible since the last call; the first call only remembers where to begin."""
        cursor = await connection.execute(
            """
            select looked.snapshot::text as snapshot, looked.at,
                   m.id::text, m.topic, m.event, m.payload, coalesce(m.private, false) as private
            from (select pg_current_snapshot() as snapshot, clock_timestamp() at time zone 'utc' as at) looked
            left join realtime.messages m
              on m.extension = 'broadcast'
              and ((m.xact >= pg_snapshot_xmin(%(last)s::pg_snapshot)
                    and not pg_visible_in_snapshot(m.xact, %(last)s::pg_snapshot))
                   or m.inserted_at >= %(looked_at)s)
            order by m.seq
            """,
            {"last": self._snapshot, "looked_at": self._looked_at},
        )
        rows = await cursor.fetchall()
        self._snapshot, self._looked_at = rows[0]["snapshot"], rows[0]["at"]
        for row in rows:
            if row["id"] is not None:
                self.hub.broadcast(
                    Room(row["topic"], row["private"]),
                    {"type": "broadcast", "event": row["event"], "payload": row["payload"], "meta": {"id": row["id"]}},
                )

    async def _prune(self, connection: AsyncConnection[DictRow]) -> None:
        """Delete messages of more than three days ago, as Supabase does."""
        if time.monotonic() < self._pruned_at + PRUNE_EVERY_S:
            return
        self._pruned_at = time.monotonic()
        await connection.execute(
            "delete from realtime.messages where inserted_at < now() at time zone 'utc' - interval '3 days'"
        )
