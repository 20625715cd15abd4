"""The door: which API key came, and as whom the request runs.

As Supabase's gateway does it: an API key (`apikey`) says which role an unauthenticated request has; a session's token in
`Authorization` names the user instead. The new kind of key is no JWT and official clients send it in `Authorization` as
well: there it stands for nothing, and the role comes from the header `apikey` alone.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from argus_ray.local.supabase.config import Config
from argus_ray.local.supabase.keys import Keys

Claims = Mapping[str, Any]


class NoApiKey(Exception):
    """No API key, or a wrong one."""


@dataclass(frozen=True)
class Gateway:
    """Tells callers apart."""

    config: Config
    keys: Keys

    def role_of(self, api_key: str) -> Claims:
        """The claims that an API key stands for. Raises: NoApiKey.

        Both keys are always compared, each in constant time, so that nothing is learnt from how long it took.
        """
        given = api_key.encode(errors="replace")
        secret = hmac.compare_digest(given, self.config.secret_key.get_secret_value().encode())
        publishable = hmac.compare_digest(given, self.config.publishable_key.get_secret_value().encode())
        if not (secret or publishable):
            raise NoApiKey("the API key is missing or wrong")
        return {"role": "service_role" if secret else "anon", "iss": "supabase"}

    def caller(self, headers: Mapping[str, str]) -> Claims:
        """Who a request with both headers runs as. Raises: NoApiKey, jwt.InvalidTokenError."""
        of_key = self.role_of(headers.get("apikey", ""))
        return self.claims_of(bearer(headers), of_key)

    def claims_of(self, token: str | None, of_key: Claims) -> Claims:
        """A session's claims, or the API key's where there is no session. Raises: jwt.InvalidTokenError."""
        if not token or token.startswith("sb_"):
            return of_key
        claims = self.keys.verify(token)
        if claims["role"] not in {"authenticated", "anon", "service_role"}:
            raise jwt.InvalidTokenError("the token names an unknown role")
        return claims


def bearer(headers: Mapping[str, str]) -> str | None:
    """The token of `Authorization: Bearer …`, or None."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None
