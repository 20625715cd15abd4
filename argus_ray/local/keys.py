"""The passwords and keys of an embedded stack: one a file in `$ARGUS_HOME/keys`, made once, readable by the owner alone.

They have the forms that a Supabase project's have: an ES256 key that signs access tokens, and a publishable and a
secret API key that are compared whole.
"""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from argus_ray.errors import ConfigurationError
from argus_ray.local.supabase.keys import generate_api_key, generate_jwk_set


@dataclasses.dataclass(frozen=True, repr=False)
class Keys:
    """Every secret of one home."""

    jwk_set: str
    """JWK Set with the private ES256 key that signs access tokens."""
    publishable_key: str
    secret_key: str
    postgres_password: str
    api_password: str
    worker_password: str
    s3_access_key: str
    s3_secret_key: str
    ray_token: str
    stack_id: str
    """In the environment of every process of this stack and of no other: what is left over is known by it."""


def load(home: Path) -> Keys:
    """Read the keys, and make those that are missing. The caller holds the home's lock.

    Raises: ConfigurationError when a key file belongs to another user.
    """
    return Keys(
        **{field.name: _keep(home / "keys" / field.name, _MAKE[field.name]) for field in dataclasses.fields(Keys)}
    )


def _keep(path: Path, make: Callable[[], str]) -> str:
    if not path.exists():
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(make())
            file.flush()
            os.fsync(file.fileno())  # the database remembers these passwords for ever
        unfinished.replace(path)  # whole or not at all
    found = path.lstat()
    if found.st_uid != os.geteuid():
        raise ConfigurationError(f"{path} belongs to uid {found.st_uid}, who knows it then: remove it and start again")
    if found.st_mode & 0o077:
        path.chmod(0o600)
    return path.read_text().strip()


def _password() -> str:
    return secrets.token_urlsafe(30)


_MAKE: dict[str, Callable[[], str]] = {
    "jwk_set": lambda: json.dumps(generate_jwk_set()),
    "publishable_key": lambda: generate_api_key("publishable"),
    "secret_key": lambda: generate_api_key("secret"),
    "postgres_password": _password,
    "api_password": _password,
    "worker_password": _password,
    "s3_access_key": lambda: secrets.token_hex(10),
    "s3_secret_key": _password,
    "ray_token": lambda: secrets.token_hex(32),
    "stack_id": lambda: secrets.token_hex(16),
}
