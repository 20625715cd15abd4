"""Passwords: hashed with scrypt, and guessed only so often.

scrypt with n=2^14, r=8, p=1 (16 MiB, some 50 ms): what its paper gives for interactive sign-ins, enough for a server that
listens on loopback. The parameters are in the hash, so that they can grow without locking anybody out.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import secrets
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

LOG_N, R, P = 14, 8, 1
MAX_MEMORY = 64 * 2**20
HASHED = re.compile(r"\$scrypt\$ln=(\d+),r=(\d+),p=(\d+)\$([^$]+)\$([^$]+)")
MIN_LENGTH, MAX_BYTES = 6, 72
"""GoTrue's default, and the most that its bcrypt takes."""

_workers = ThreadPoolExecutor(2, "scrypt")  # a burst of sign-ins must not take every core and 16 MiB each


def _scrypt(password: str, salt: bytes, log_n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=2**log_n, r=r, p=p, maxmem=MAX_MEMORY, dklen=32)


def hash_now(password: str) -> str:
    salt = secrets.token_bytes(16)
    digest = _scrypt(password, salt, LOG_N, R, P)
    encoded = "$".join(base64.b64encode(part).decode() for part in (salt, digest))
    return f"$scrypt$ln={LOG_N},r={R},p={P}${encoded}"


def matches_now(password: str, hashed: str | None) -> bool:
    """Takes as long where there is no such user (None), so that time does not tell who has an account."""
    parts = HASHED.fullmatch(hashed or "")
    if parts is None:
        _scrypt(password, b"nobody has this salt", LOG_N, R, P)
        return False
    log_n, r, p = map(int, parts.groups()[:3])
    salt, digest = map(base64.b64decode, parts.groups()[3:])
    return hmac.compare_digest(_scrypt(password, salt, log_n, r, p), digest)


async def hash_password(password: str) -> str:
    return await asyncio.get_running_loop().run_in_executor(_workers, hash_now, password)


async def password_matches(password: str, hashed: str | None) -> bool:
    return await asyncio.get_running_loop().run_in_executor(_workers, matches_now, password, hashed)


class Tries:
    """Failed tries of each key within a window; the least recently used keys are forgotten at `capacity`.

    In memory: a restart forgives, and costs the guesser more than it gives.
    """

    def __init__(self, limit: int, window_s: float, capacity: int = 10_000) -> None:
        self.limit, self.window_s, self.capacity = limit, window_s, capacity
        self._failures: OrderedDict[str, list[float]] = OrderedDict()

    def wait_s(self, key: str, now: float | None = None) -> float:
        """Seconds until this key may try again; 0 when it may now."""
        now = time.monotonic() if now is None else now
        recent = [at for at in self._failures.get(key, []) if at > now - self.window_s]
        return recent[-self.limit] + self.window_s - now if len(recent) >= self.limit else 0.0

    def failed(self, key: str, now: float | None = None) -> None:
        now = time.monotonic() if now is None else now
        recent = [at for at in self._failures.pop(key, []) if at > now - self.window_s]
        self._failures[key] = [*recent, now][-self.limit :]
        while len(self._failures) > self.capacity:
            self._failures.popitem(last=False)

    def succeeded(self, key: str) -> None:
        self._failures.pop(key, None)
