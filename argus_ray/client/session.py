"""Who the client is: a project API key, or a person signed in at Supabase Auth.

A session refreshes itself shortly before its access token ends. Signing in speaks to Supabase through its official
client; Argus never sees a password.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator

import httpx
from pydantic import BaseModel
from supabase_auth import SyncGoTrueClient
from supabase_auth.errors import AuthApiError, AuthError, AuthRetryableError
from supabase_auth.types import Session as SupabaseSession

from argus_ray.errors import Unauthenticated, Unavailable

REFRESH_BEFORE_S = 60


class ApiKeyAuth(httpx.Auth):
    """A project API key, `argus_…`."""

    def __init__(self, key: str) -> None:
        self.key = key

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self.key}"
        yield request


class Credentials(BaseModel):
    """A session as it may be kept in a file of its owner. `expires_at` in seconds since 1970."""

    supabase_url: str
    publishable_key: str
    access_token: str
    refresh_token: str
    expires_at: int
    email: str = ""


class SessionAuth(httpx.Auth):
    """A person's session. `refreshed` is told of new credentials, since the old refresh token is spent."""

    def __init__(self, credentials: Credentials, refreshed: Callable[[Credentials], None] | None = None) -> None:
        self.credentials = credentials
        self._refreshed = refreshed
        self._lock = threading.Lock()

    def token(self) -> str:
        """An access token that is good for some time. Raises Unauthenticated when the session has ended."""
        with self._lock:
            if self.credentials.expires_at - time.time() < REFRESH_BEFORE_S:
                self.credentials = _refresh(self.credentials)
                if self._refreshed is not None:
                    self._refreshed(self.credentials)
            return self.credentials.access_token

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self.token()}"
        yield request

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        request.headers["Authorization"] = f"Bearer {await asyncio.to_thread(self.token)}"
        yield request


def sign_in(supabase_url: str, publishable_key: str, email: str, password: str) -> Credentials:
    """A session for an e-mail and password. Raises Unauthenticated when they are not a pair."""
    return _session(
        supabase_url,
        publishable_key,
        lambda auth: auth.sign_in_with_password({"email": email, "password": password}).session,
    )


def sign_up(supabase_url: str, publishable_key: str, email: str, password: str) -> Credentials:
    """A new account and its session. Raises Unauthenticated where the e-mail must be confirmed first, or is taken."""
    return _session(
        supabase_url, publishable_key, lambda auth: auth.sign_up({"email": email, "password": password}).session
    )


def _refresh(old: Credentials) -> Credentials:
    return _session(old.supabase_url, old.publishable_key, lambda auth: auth.refresh_session(old.refresh_token).session)


def _session(
    supabase_url: str, publishable_key: str, ask: Callable[[SyncGoTrueClient], SupabaseSession | None]
) -> Credentials:
    auth = SyncGoTrueClient(
        url=f"{supabase_url.rstrip('/')}/auth/v1",
        headers={"apikey": publishable_key, "Authorization": f"Bearer {publishable_key}"},
        auto_refresh_token=False,
        persist_session=False,
    )
    try:
        session = ask(auth)
    except AuthRetryableError as error:
        raise Unavailable(f"{supabase_url} does not answer: {error.message}") from error
    except AuthApiError as error:
        raise Unauthenticated(f"{error.message}: sign in again", code=error.code) from error
    except AuthError as error:
        raise Unauthenticated(f"{error.message}: sign in again") from error
    finally:
        auth.close()
    if session is None:
        raise Unauthenticated("the e-mail must be confirmed first: follow the link in the message, then sign in")
    return Credentials(
        supabase_url=supabase_url,
        publishable_key=publishable_key,
        access_token=session.access_token,
        refresh_token=session.refresh_token,
        expires_at=session.expires_at or int(time.time()) + session.expires_in,
        email=session.user.email or "",
    )
