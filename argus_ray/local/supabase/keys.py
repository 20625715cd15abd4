"""Signing keys and API keys: how they are made, and how tokens are signed and verified with them.

Access tokens are ES256, so that whoever verifies them (the API, the official client's `get_claims`) needs public keys
only, as in production. Storage's URL tokens use HS256 with a key derived from the signing key: nobody but this process
reads them, and one kind can never pass for the other.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from argus_ray.errors import ConfigurationError

ALGORITHM = "ES256"
URL_ALGORITHM = "HS256"
AUDIENCE = "authenticated"


def generate_jwk_set() -> dict[str, Any]:
    """A JWK Set with one new private key, to be written to the file of `Config.local_jwk_file`, mode 0600."""
    private = ec.generate_private_key(ec.SECP256R1())
    jwk = ECAlgorithm.to_jwk(private, as_dict=True)
    return {"keys": [{**jwk, "alg": ALGORITHM, "use": "sig", "kid": secrets.token_hex(8)}]}


def generate_api_key(kind: str) -> str:
    """A key of kind `publishable` or `secret`: `sb_<kind>_<22 characters>_<8 of checksum>`."""
    body = base64.urlsafe_b64encode(secrets.token_bytes(17)).decode()[:22].replace("_", "-")
    return f"sb_{kind}_{body}_{zlib.crc32(body.encode()):08x}"


@dataclass(frozen=True)
class Keys:
    """Signs and verifies. `jwks` is what the world may see."""

    signing: jwt.PyJWK = field(repr=False)
    verifying: Mapping[str, jwt.PyJWK] = field(repr=False)
    jwks: dict[str, Any]
    url_key: bytes = field(repr=False)
    issuer: str

    def sign(self, claims: Mapping[str, Any]) -> str:
        return jwt.encode(dict(claims), self.signing.key, ALGORITHM, headers={"kid": self.signing.key_id})

    def verify(self, token: str) -> dict[str, Any]:
        """The claims of one of our access tokens. Raises jwt.InvalidTokenError otherwise, whatever is wrong with it."""
        key = self.verifying.get(jwt.get_unverified_header(token).get("kid") or "")
        if key is None:
            raise jwt.InvalidTokenError("signed by an unknown key")
        claims: dict[str, Any] = jwt.decode(
            token,
            key.key,
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            issuer=self.issuer,
            options={"require": ["exp", "sub", "iss", "aud", "role"]},
        )
        return claims

    def sign_url(self, claims: Mapping[str, Any], expires_s: int) -> str:
        now = int(time.time())
        return jwt.encode({**claims, "iat": now, "exp": now + expires_s}, self.url_key, URL_ALGORITHM)

    def verify_url(self, token: str) -> dict[str, Any]:
        """The claims of one of our URL tokens. Raises jwt.InvalidTokenError otherwise."""
        claims: dict[str, Any] = jwt.decode(
            token, self.url_key, algorithms=[URL_ALGORITHM], options={"require": ["exp"]}
        )
        return claims


def read(path: Path, issuer: str) -> Keys:
    """The keys of a JWK Set file. Raises: ConfigurationError when it holds no private ES256 key."""
    try:
        found = [key for key in json.loads(path.read_text())["keys"] if key.get("alg") == ALGORITHM and "d" in key]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{path} is not a JWK Set ({error}): see local_jwk_file") from error
    if not found:
        raise ConfigurationError(f"{path} holds no private {ALGORITHM} key: see local_jwk_file")
    public = [{name: value for name, value in key.items() if name != "d"} | {"key_ops": ["verify"]} for key in found]
    return Keys(
        signing=jwt.PyJWK(found[0]),
        verifying={key["kid"]: jwt.PyJWK(key) for key in public},
        jwks={"keys": public},
        url_key=hmac.digest(found[0]["d"].encode(), b"storage urls", hashlib.sha256),
        issuer=issuer,
    )
