"""Which Argus the command speaks to, and as whom: an API key, or the person who signed in.

In order: `--url` and `--api-key` (or ARGUS_URL and ARGUS_API_KEY), then what `argus login` kept in
`~/.config/argus/credentials.json`, readable by its owner alone.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import httpx
from pydantic import BaseModel

from argus_ray.client import Client, Credentials, SessionAuth
from argus_ray.errors import ConfigurationError, Unauthenticated, Unavailable


class SignedIn(BaseModel):
    """What `argus login` keeps."""

    url: str
    credentials: Credentials


@dataclass(frozen=True)
class Endpoint:
    """What was given on the command line or in the environment."""

    url: str | None
    api_key: str | None

    def client(self) -> Client:
        """A client that is signed in. Raises Unauthenticated, saying how to sign in."""
        if self.api_key:
            if not self.url:
                raise ConfigurationError("an API key needs the address of its Argus: give --url, or set ARGUS_URL")
            return Client(self.url, self.api_key)
        kept = load()
        if kept is None or (self.url and self.url.rstrip("/") != kept.url):
            raise Unauthenticated(
                f"not signed in{f' at {self.url}' if self.url else ''}: run `argus login`, or set ARGUS_API_KEY"
            )

        def refreshed(credentials: Credentials) -> None:
            save(SignedIn(url=kept.url, credentials=credentials))

        return Client(kept.url, SessionAuth(kept.credentials, refreshed))


def path() -> Path:
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return config / "argus" / "credentials.json"


def load() -> SignedIn | None:
    file = path()
    return SignedIn.model_validate_json(file.read_text()) if file.is_file() else None


def save(signed_in: SignedIn) -> None:
    """Written beside and renamed, so that two commands at once never leave half a file."""
    file = path()
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = file.with_suffix(f".{os.getpid()}")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        out.write(signed_in.model_dump_json(indent=2))
    beside.replace(file)


def forget() -> bool:
    """Whether somebody was signed in."""
    file = path()
    if not file.is_file():
        return False
    file.unlink()
    return True


def auth_of(url: str) -> tuple[str, str]:
    """The Supabase URL and publishable key that an Argus says to sign in with."""
    try:
        answer = httpx.get(f"{url}/sign-in", timeout=10).raise_for_status().json()
        return answer["supabase_url"], answer["publishable_key"]
    except httpx.HTTPError as error:
        raise Unavailable(f"no Argus answers at {url}: {error}") from error
    except (json.JSONDecodeError, KeyError) as error:
        raise Unavailable(f"what answers at {url} is not Argus: check the address") from error
