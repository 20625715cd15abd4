"""Connections: one for each worker process, a pool for the API.

Everything works through a transaction pooler: no prepared statements, no session state, no session locks. LISTEN alone
needs a session connection, which has a URL of its own in the settings.

A user's request becomes `anon` or `authenticated` with its claims for one transaction, and row-level security does the
rest: the API's login has no rights of its own.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, LiteralString, TypeVar

import psycopg
from psycopg_pool import AsyncConnectionPool

from argus_ray.catalog.statement import AsyncTx, Tx, translated
from argus_ray.errors import ConfigurationError, Unavailable
from argus_ray.settings import Settings

T = TypeVar("T")


def worker_url(settings: Settings) -> str:
    """The workers' connection. Raises ConfigurationError where the settings have none."""
    url = settings.secret("worker_database_url")
    if not url:
        raise ConfigurationError("ARGUS_WORKER_DATABASE_URL is empty: say where workers find Postgres, as argus_worker")
    return url


def listen_url(settings: Settings) -> str:
    """A session connection of the workers, for LISTEN. Raises ConfigurationError."""
    return settings.secret("listen_database_url") or worker_url(settings)


class Database:
    """A worker's connection: opened when first used, opened again after a loss."""

    def __init__(self, url: str, *, patience_s: float = 300) -> None:
        self.url = url
        self.patience_s = patience_s
        self._connection: psycopg.Connection[Any] | None = None

    @contextmanager
    def transaction(self) -> Iterator[Tx]:
        """One transaction. A lost connection is Unavailable, and nothing of it has happened, or all of it."""
        with translated():
            if self._connection is None or self._connection.closed:
                self._connection = psycopg.connect(self.url, prepare_threshold=None, autocommit=True)
            with self._connection.transaction():
                yield Tx(self._connection)

    def retry(self, work: Callable[[Tx], T]) -> T:
        """Run `work` in a transaction; while Postgres is gone, wait and run it again, for `patience_s`.

        `work` must be safe to run twice, as a fenced upsert is: a connection lost at the commit leaves open whether it
        took place.
        """
        end = time.monotonic() + self.patience_s
        for attempt in range(1_000_000):
            try:
                with self.transaction() as tx:
                    return work(tx)
            except Unavailable:
                self.close()
                if time.monotonic() > end:
                    raise
                time.sleep(min(5, 0.1 * 2 ** min(attempt, 6)) * random.uniform(0.5, 1))  # noqa: S311  # jitter, not a secret
        raise AssertionError

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def pool(url: str, *, size: int = 8) -> AsyncConnectionPool[psycopg.AsyncConnection[Any]]:
    """The API's connections; open it in the process's lifespan. A broken one is noticed before it is lent.

    The pool gives up connecting at once, and the next request tries anew: left to itself it would double its pauses,
    and a Postgres that comes back would not be noticed for minutes.
    """
    return AsyncConnectionPool(
        url,
        min_size=1,
        max_size=size,
        open=False,
        timeout=5,
        reconnect_timeout=0.1,
        kwargs={"prepare_threshold": None, "autocommit": True},
        check=AsyncConnectionPool.check_connection,
    )


@asynccontextmanager
async def as_caller(
    connections: AsyncConnectionPool[psycopg.AsyncConnection[Any]],
    claims: Mapping[str, Any] | None,
    *,
    ip: str = "",
    request_id: str = "",
) -> AsyncIterator[AsyncTx]:
    """A transaction as the caller: `claims` verified before, None for a caller who is not signed in.

    It begins with the first statement, so that a request which is refused before, or waits for a model, holds none.
    """
    role: LiteralString = "set local role authenticated" if claims else "set local role anon"
    with translated():
        async with AsyncExitStack() as stack:

            async def begin() -> psycopg.AsyncConnection[Any]:
                connection = await stack.enter_async_context(connections.connection())
                await stack.enter_async_context(connection.transaction())
                await connection.execute(role)
                await connection.execute(
                    "select set_config('request.jwt.claims', %s, true), set_config('request.ip', %s, true), "
                    "set_config('request.id', %s, true)",
                    (json.dumps(claims or {"role": "anon"}), ip, request_id),
                )
                return connection

            yield AsyncTx(begin)
