"""Who is calling: a person with an access token, or a machine with a project's API key.

Both end as claims of role `authenticated`, which a transaction carries into Postgres, where the same policies judge
them. A token is believed when its issuer's published key has signed it (ES256, RS256; HS256 only where a legacy secret
is configured) and issuer, audience and time are right. Of its claims only those that a policy reads travel on: `argus`
is never among them, since a key alone may carry it.

Every refusal says the same sentence: which check failed is for the log, not for somebody who is guessing.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
import jwt
from psycopg_pool import AsyncConnectionPool

from argus_ray.catalog import api_keys
from argus_ray.catalog.connect import as_caller
from argus_ray.errors import ConfigurationError, Unauthenticated, Unavailable
from argus_ray.schemas.common import storable
from argus_ray.settings import Settings

log = logging.getLogger("argus.auth")

PREFIX = "argus_"
_KEY_LENGTH = len(PREFIX) + 43  # 32 random bytes in URL-safe base64

_PUBLISHED = frozenset({"ES256", "RS256"})
_LONGEST_TOKEN = 16 * 1024

_FRESH_S = 600.0  # Supabase lets its key set be cached this long
_STALE_S = 24 * 3600.0  # while the issuer is down, keys that are known stay good this long
_BETWEEN_FETCHES_S = 10.0  # tokens with made-up key ids cannot make us hammer the issuer


@dataclass(frozen=True)
class Caller:
    """`claims` are verified, and are what Postgres is told. A person has `user_id`, an API key the two other ids."""

    claims: Mapping[str, Any]
    user_id: UUID | None = None
    email: str | None = None
    api_key_id: UUID | None = None
    project_id: UUID | None = None


class Issuer:
    """The issuer's keys, fetched when first needed, and the verdict on a token."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        *,
        jwks_url: str,
        issuer: str,
        audience: str,
        leeway_s: float = 10,
        secret: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.http = http
        self.jwks_url = jwks_url
        self.issuer = issuer
        self.audience = audience
        self.leeway_s = leeway_s
        self.secret = secret
        self.clock = clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = self._tried_at = float("-inf")
        self._one_fetch = asyncio.Lock()

    async def caller(self, token: str) -> Caller:
        """The person whose valid access token this is. Raises Unauthenticated, or Unavailable without any keys."""
        try:
            claims = await self._verified(token)
            person = UUID(claims["sub"])
            email = claims.get("email") or None
            if claims.get("role") != "authenticated" or not (email is None or isinstance(email, str)):
                raise _refusal("role or e-mail is not a person's")
            if email is not None:
                storable(email)
        except (jwt.PyJWTError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise _refusal(type(error).__name__) from error
        return Caller(
            claims={
                "role": "authenticated",
                "sub": str(person),
                "email": email,
                "is_anonymous": claims.get("is_anonymous") is True,
            },
            user_id=person,
            email=email,
        )

    async def _verified(self, token: str) -> dict[str, Any]:
        if len(token) > _LONGEST_TOKEN or not token.isascii():
            raise _refusal("too long, or not ASCII")
        header = jwt.get_unverified_header(token)
        algorithm = header.get("alg")
        key: jwt.PyJWK | str
        if algorithm in _PUBLISHED:
            key = await self._key(header.get("kid"))
            if key.algorithm_name != algorithm:
                raise _refusal("the key is of another algorithm")
        elif algorithm == "HS256" and self.secret:
            key = self.secret
        else:
            raise _refusal("the algorithm is not accepted")
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=self.audience,
            issuer=self.issuer,
            leeway=self.leeway_s,
            options={"require": ["exp", "iss", "aud", "sub"]},
        )
        return claims

    async def _key(self, kid: Any) -> jwt.PyJWK:
        if not isinstance(kid, str):
            raise _refusal("no key id")
        if kid not in self._keys or self.clock() - self._fetched_at > _FRESH_S:
            async with self._one_fetch:
                await self._fetch_unless_just_tried()
        age_s = self.clock() - self._fetched_at
        if kid in self._keys and age_s <= _STALE_S:
            return self._keys[kid]
        if age_s > _FRESH_S:  # the last fetch failed, so that nobody knows whether this is a new key
            raise Unavailable("access tokens cannot be checked, since their issuer does not answer: try again soon")
        raise _refusal("unknown key id")

    async def _fetch_unless_just_tried(self) -> None:
        if self.clock() - self._tried_at < _BETWEEN_FETCHES_S:
            return
        self._tried_at = self.clock()
        try:
            answer = await self.http.get(self.jwks_url)
            answer.raise_for_status()
            published = answer.json()["keys"]
            self._keys = {kid: key for kid, key in map(_usable, published) if kid and key}
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            log.warning("the issuer's key set could not be fetched from %s: %r", self.jwks_url, error)
        else:
            self._fetched_at = self.clock()


def issuer(settings: Settings, http: httpx.AsyncClient) -> Issuer:
    """The issuer that the settings name. Raises ConfigurationError where they name none."""
    if not settings.supabase_url:
        raise ConfigurationError("ARGUS_SUPABASE_URL is empty: say whose access tokens the API believes")
    auth_url = settings.supabase_url.rstrip("/") + "/auth/v1"
    return Issuer(
        http,
        jwks_url=auth_url + "/.well-known/jwks.json",
        issuer=settings.jwt_issuer or auth_url,
        audience=settings.jwt_audience,
        leeway_s=settings.jwt_leeway_s,
        secret=settings.secret("jwt_secret"),
    )


def new_key() -> tuple[str, str, bytes]:
    """A new API key, the prefix by which people tell keys apart, and the hash that is kept."""
    key = PREFIX + secrets.token_urlsafe(32)
    return key, key[: len(PREFIX) + 6], hash_of(key)


def hash_of(key: str) -> bytes:
    """SHA-256: a key has 256 random bits, so that a slow hash would protect nothing."""
    return hashlib.sha256(key.encode()).digest()


async def caller_of_key(key: str, connections: AsyncConnectionPool[Any]) -> Caller:
    """The project's key that this is. Raises Unauthenticated when it is unknown, revoked or expired."""
    if len(key) != _KEY_LENGTH or not key.isascii():
        raise _refusal("not the form of an API key")
    async with as_caller(connections, None) as tx:
        claims = await tx.maybe(api_keys.claims_of(hash_of(key)))
    if claims is None:
        raise _refusal("unknown API key")
    return Caller(
        claims=claims.model_dump(mode="json"),
        api_key_id=claims.argus.api_key_id,
        project_id=claims.argus.project_id,
    )


async def authenticate(headers: Mapping[str, str], tokens: Issuer, connections: AsyncConnectionPool[Any]) -> Caller:
    """The caller by `Authorization: Bearer <access token or API key>` or `X-Api-Key: <API key>`."""
    authorization = headers.get("authorization")
    if authorization is None:
        if key := headers.get("x-api-key"):
            return await caller_of_key(key, connections)
        raise Unauthenticated("send an access token or an API key: Authorization: Bearer …")
    scheme, _, credential = authorization.partition(" ")
    credential = credential.strip()
    if scheme.lower() != "bearer" or not credential:
        raise Unauthenticated("send an access token or an API key: Authorization: Bearer …")
    if credential.startswith(PREFIX):
        return await caller_of_key(credential, connections)
    return await tokens.caller(credential)


def _usable(published: Any) -> tuple[str | None, jwt.PyJWK | None]:
    """A published key with its id, unless it is of a kind that signs no token here."""
    if not isinstance(published, dict) or published.get("use", "sig") != "sig":
        return None, None
    try:
        key = jwt.PyJWK(published)
    except (jwt.PyJWTError, ValueError, TypeError):
        return None, None
    return (key.key_id, key) if key.algorithm_name in _PUBLISHED else (None, None)


def _refusal(why: str) -> Unauthenticated:
    log.info("a credential was refused: %s", why)
    return Unauthenticated("the access token or API key is not valid, or no longer: sign in again, or use another key")
