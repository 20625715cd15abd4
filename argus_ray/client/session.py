"""Who the client is: a project API key, or a person signed in at Supabase Auth.

A session renews itself shortly before its access token ends, and when a token is refused. Signing in speaks to Supabase
through its official client; Argus never sees a password.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import httpx
from pydantic import BaseModel

from argus_ray.client.transport import options
from argus_ray.errors import ArgusError, InvalidRequest, TooManyRequests, Unauthenticated, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from supabase_auth import SyncGoTrueClient
    from supabase_auth.types import Session as SupabaseSession

T = TypeVar("T")

RENEW_BEFORE_S = 60
TIMEOUT_S = 30


class ApiKeyAuth(httpx.Auth):
    """A project API key, `argus_…`. Raises Unauthenticated for what cannot be one, without repeating it."""

    def __init__(self, key: str) -> None:
        if not (key.isascii() and key.isprintable() and key and " " not in key):
            raise Unauthenticated("that is no API key: copy it again, without spaces or line breaks")
        self._key = key

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self._key}"
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
    """A person's session. `renew` makes new credentials of old ones, whose refresh token is spent by it: whoever keeps
    them in a file gives a function that writes them there. One session may serve many threads.
    """

    def __init__(self, credentials: Credentials, renew: Callable[[Credentials], Credentials] | None = None) -> None:
        self.credentials = credentials
        self._renew = renew or renewed
        self._lock = threading.Lock()

    def token(self, refused: str | None = None) -> str:
        """An access token that is good for some time, and another one than `refused`. Raises Unauthenticated when the
        session has ended.
        """
        with self._lock:
            if self._must_renew(refused):
                self.credentials = self._renew(self.credentials)
            return self.credentials.access_token

    def _must_renew(self, refused: str | None) -> bool:
        held = self.credentials
        return held.access_token == refused or held.expires_at - time.time() < RENEW_BEFORE_S

    async def token_async(self, refused: str | None = None) -> str:
        """The same; a thread is used only when there is something to wait for."""
        if self._must_renew(refused):
            return await asyncio.to_thread(self.token, refused)
        return self.credentials.access_token

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        token = self.token()
        request.headers["Authorization"] = f"Bearer {token}"
        response = yield request
        if response.status_code == httpx.codes.UNAUTHORIZED:  # our clock is slow, or the keys have changed
            request.headers["Authorization"] = f"Bearer {self.token(refused=token)}"
            yield request

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        token = await self.token_async()
        request.headers["Authorization"] = f"Bearer {token}"
        response = yield request
        if response.status_code == httpx.codes.UNAUTHORIZED:
            request.headers["Authorization"] = f"Bearer {await self.token_async(refused=token)}"
            yield request


def sign_in(supabase_url: str, publishable_key: str, email: str, password: str) -> Credentials:
    """A session for an e-mail and password. Raises Unauthenticated when they are not a pair."""
    with _supabase(supabase_url, publishable_key) as auth:
        session = auth.sign_in_with_password({"email": email, "password": password}).session
    return _credentials(supabase_url, publishable_key, session)


def sign_up(supabase_url: str, publishable_key: str, email: str, password: str) -> Credentials:
    """A new account and its session. Raises InvalidRequest where the e-mail is taken or the password too weak, and
    Unauthenticated where the e-mail must be confirmed first.
    """
    with _supabase(supabase_url, publishable_key) as auth:
        session = auth.sign_up({"email": email, "password": password}).session
    return _credentials(supabase_url, publishable_key, session)


def renewed(old: Credentials) -> Credentials:
    """New credentials of the same session; the old ones are spent. Raises Unauthenticated when the session has ended."""
    try:
        with _supabase(old.supabase_url, old.publishable_key) as auth:
            session = auth.refresh_session(old.refresh_token).session
    except (InvalidRequest, Unauthenticated) as error:
        raise Unauthenticated(f"your session has ended ({error.detail}): sign in again") from error
    return _credentials(old.supabase_url, old.publishable_key, session)


def sign_out(credentials: Credentials) -> None:
    """End the session, so that its refresh token is worth nothing; others of the person go on."""
    with _supabase(credentials.supabase_url, credentials.publishable_key) as auth:
        auth.admin.sign_out(credentials.access_token, "local")


@contextmanager
def _supabase(url: str, publishable_key: str) -> Iterator[SyncGoTrueClient]:
    """Supabase's own client for a moment, its errors in our words."""
    from supabase_auth import SyncGoTrueClient
    from supabase_auth.errors import AuthApiError, AuthError, AuthRetryableError, AuthUnknownError

    with httpx.Client(**options(TIMEOUT_S), follow_redirects=True) as http:
        auth = SyncGoTrueClient(
            url=f"{url.rstrip('/')}/auth/v1",
            headers={"apikey": publishable_key, "Authorization": f"Bearer {publishable_key}"},
            auto_refresh_token=False,
            persist_session=False,
            http_client=http,
        )
        try:
            yield auth
        except AuthRetryableError as error:
            raise Unavailable(f"{url} does not answer: {error.message}") from error
        except AuthUnknownError as error:
            raise Unavailable(f"{url} does not answer as Supabase does: check the address") from error
        except AuthApiError as error:
            raise _refusal(error.status, error.code)(error.message, code=error.code) from error
        except AuthError as error:
            raise InvalidRequest(error.message) from error


def _refusal(status: int, code: str | None) -> type[ArgusError]:
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return TooManyRequests
    if status >= httpx.codes.INTERNAL_SERVER_ERROR:
        return Unavailable
    signed_out = status in {401, 403} or code in {"invalid_credentials", "email_not_confirmed", "user_banned"}
    return Unauthenticated if signed_out else InvalidRequest


def _credentials(supabase_url: str, publishable_key: str, session: SupabaseSession | None) -> Credentials:
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
