"""Waiting for a notification, through restarts of Postgres: whoever waits looks again by itself now and then."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, LiteralString, Self

import psycopg


class Bell:
    """Rings when one of these channels is notified. `url` must be a session connection, not a transaction pooler.

    A lost connection is a wait without a bell: it is opened again at the next one.
    """

    def __init__(self, url: str, *channels: LiteralString) -> None:
        self.url = url
        self.channels = channels
        self._connection: psycopg.Connection[Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hang_up()

    def wait(self, timeout_s: float) -> list[psycopg.Notify]:
        """What was told, as soon as something is; nothing after `timeout_s`.

        Returns at once after it has begun to listen (again): what was told before that went unheard.
        """
        end = time.monotonic() + timeout_s
        try:
            if self._connection is None:
                self._connection = psycopg.connect(self.url, autocommit=True, prepare_threshold=None, connect_timeout=5)
                for channel in self.channels:
                    self._connection.execute(f"listen {channel}".encode())
                return []
            return list(self._connection.notifies(timeout=timeout_s, stop_after=1))
        except psycopg.OperationalError:
            self._hang_up()
            time.sleep(max(0, end - time.monotonic()))
            return []

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
