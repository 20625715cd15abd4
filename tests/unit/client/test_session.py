from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from argus_ray.client import Credentials, SessionAuth, sign_in
from argus_ray.errors import Unavailable


def credentials(token: str, lasts_s: float = 3600) -> Credentials:
    return Credentials(
        supabase_url="http://127.0.0.1:1",
        publishable_key="k",
        access_token=token,
        refresh_token=f"refresh {token}",
        expires_at=int(time.time() + lasts_s),
    )


class Renewal:
    """Counts, and makes the next token."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, _: Credentials) -> Credentials:
        self.count += 1
        return credentials(f"token {self.count}")


def test_a_token_that_is_about_to_end_is_renewed_once_for_all_threads():
    renewal = Renewal()
    session = SessionAuth(credentials("old", lasts_s=30), renewal)
    together = threading.Barrier(8)

    def ask(_: int) -> str:
        together.wait()
        return session.token()

    with ThreadPoolExecutor(8) as threads:
        tokens = {*threads.map(ask, range(8))}

    assert tokens == {"token 1"}
    assert renewal.count == 1


def test_a_token_that_was_refused_is_renewed_unless_another_thread_has_done_it():
    renewal = Renewal()
    session = SessionAuth(credentials("old"), renewal)

    assert session.token() == "old"
    assert session.token(refused="old") == "token 1"
    assert session.token(refused="old") == "token 1"


def test_a_token_that_is_good_costs_no_thread():
    session = SessionAuth(credentials("good"))

    async def ask() -> str:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        asyncio.get_running_loop().run_in_executor(None, threading.Event().wait, 0)
        return await session.token_async()

    assert asyncio.run(ask()) == "good"


def test_where_no_supabase_answers_the_error_names_its_address():
    with pytest.raises(Unavailable, match=r"http://127\.0\.0\.1:1 does not answer"):
        sign_in("http://127.0.0.1:1", "key", "a@example.org", "secret")
