"""How requests travel: straight to this machine whatever proxy is set, and again where a second try may do.

A call that changes something is sent twice only where it cannot happen twice: it carries an idempotency key, or its first
try was refused before it began (no connection, 429).
"""

from __future__ import annotations

import random
import socket
from typing import Any

import httpx

from argus_ray import __version__
from argus_ray.client.call import Call
from argus_ray.errors import ConfigurationError, Unavailable

BUSY = frozenset({502, 503, 504})
LONGEST_PAUSE_S = 8.0
LONGEST_RETRY_AFTER_S = 60.0

_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_NO_PROXY = {"all://127.0.0.1": None, "all://localhost": None, "all://[::1]": None}


def options(timeout_s: float) -> dict[str, Any]:
    """What every `httpx.Client` and `httpx.AsyncClient` of ours is made with."""
    return {"timeout": timeout_s, "mounts": _NO_PROXY, "headers": {"User-Agent": f"argus-python/{__version__}"}}


def checked_url(url: str) -> str:
    """An address without its last slash. Raises ConfigurationError for what is none."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ConfigurationError(f"{url!r} is not the address of an Argus: {error}") from None
    if parsed.scheme not in {"http", "https"} or not parsed.host or any(c.isspace() for c in url):
        raise ConfigurationError(f"{url!r} is not the address of an Argus: write it as http://127.0.0.1:8000")
    return url.rstrip("/")


class Tries:
    """The tries of one call: how long to pause before the next one, or that there is none."""

    def __init__(self, call: Call[Any], url: str) -> None:
        self._call = call
        self._url = url
        self._failed = 0
        self._unanswered = False

    def after_failure(self, error: httpx.RequestError) -> float:
        """Seconds to pause after a try that got no answer. Raises Unavailable when there is no other try."""
        self._failed += 1
        never_sent = isinstance(error, _NEVER_SENT)
        self._unanswered |= not never_sent
        again = (self._call.repeatable or never_sent) and isinstance(error, httpx.TransportError)
        if not again or self._failed >= self._call.tries or isinstance(error, httpx.LocalProtocolError):
            raise Unavailable(f"{self._url} does not answer: {error or type(error).__name__}") from error
        if no_such_host(error):
            raise Unavailable(f"{self._url} cannot be found: there is no host of that name") from error
        return pause_s(self._failed)

    def after_answer(self, response: httpx.Response) -> float | None:
        """Seconds to pause before the next try; None: this answer counts."""
        busy = response.status_code == httpx.codes.TOO_MANY_REQUESTS or (
            self._call.repeatable and response.status_code in BUSY
        )
        # a try that was cut off may still be at work under the same key
        own = response.status_code == httpx.codes.CONFLICT and self._unanswered and self._call.idempotency_key
        self._failed += 1
        if self._failed >= self._call.tries or not (busy or own):
            return None
        asked = response.headers.get("Retry-After", "")
        return min(float(asked), LONGEST_RETRY_AFTER_S) if asked.isdecimal() else pause_s(self._failed)


def pause_s(failed: int) -> float:
    """After so many failures: from half a second doubling to eight, less up to a quarter so that many do not come at once."""
    spread = 1 - random.random() / 4  # noqa: S311  # no secret
    return min(LONGEST_PAUSE_S, 0.25 * 2.0**failed) * spread


def no_such_host(error: BaseException) -> bool:
    """Whether a name is wrong: that does not heal, and is not worth waiting for."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, socket.gaierror):
            return cause.errno == socket.EAI_NONAME
        cause = cause.__cause__ or cause.__context__
    return False
