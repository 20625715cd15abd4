"""One HTTP client for all checks of the stack: making one reads every certificate authority, 50 ms of CPU each time."""

from __future__ import annotations

import functools

import httpx

from argus_ray.errors import Unavailable


@functools.cache
def _client() -> httpx.Client:
    # no proxy for loopback; no connection kept, since the other end may have been restarted
    return httpx.Client(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))


def get(url: str, who: str, *, token: str | None = None, timeout_s: float = 5) -> httpx.Response:
    """The answer 200 of a server. Raises: Unavailable, saying who it is, for any other answer or none."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        answer = _client().get(url, headers=headers, timeout=timeout_s)
    except httpx.TransportError as error:
        raise Unavailable(f"{who} does not answer at {url} ({error})") from error
    if answer.status_code != httpx.codes.OK:
        raise Unavailable(f"{who} says {answer.status_code} at {url}: {answer.text[:500]}")
    return answer
