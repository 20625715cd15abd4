"""The session that `argus login` keeps in `~/.config/argus/credentials.json`, readable by its owner alone.

A refresh token is good once: a lock beside the file lets one command at a time renew the session, and the others take
what it has written.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ValidationError

from argus_ray.client import Credentials, renewed
from argus_ray.errors import ConfigurationError, Unauthenticated


class SignedIn(BaseModel):
    """What the file holds."""

    url: str
    credentials: Credentials


def path() -> Path:
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return config / "argus" / "credentials.json"


def load() -> SignedIn | None:
    """Who is signed in. Raises Unauthenticated when the file cannot be read or is damaged."""
    file = path()
    try:
        return SignedIn.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unauthenticated(f"{file} cannot be read ({error.strerror}): mend it, or set ARGUS_API_KEY") from error
    except ValidationError:
        raise Unauthenticated(f"{file} is damaged: run `argus login` again, which replaces it") from None


def save(signed_in: SignedIn) -> None:
    """Written beside and renamed, so that nobody ever reads half a file. Raises ConfigurationError."""
    file = path()
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=".credentials-", delete=False) as beside:  # 0600
            beside.write(signed_in.model_dump_json(indent=2))
            beside.flush()
            os.fsync(beside.fileno())
        Path(beside.name).replace(file)
    except OSError as error:
        raise ConfigurationError(
            f"the session cannot be kept in {file}: {error.strerror}: set XDG_CONFIG_HOME"
        ) from error


def renew(old: Credentials) -> Credentials:
    """New credentials, kept in the file; another command's, if it was faster. Raises Unauthenticated."""
    with _locked():
        kept = load()
        if kept is None:
            raise Unauthenticated("signed out meanwhile: run `argus login`")
        if (kept.credentials.supabase_url, kept.credentials.email) != (old.supabase_url, old.email):
            return renewed(old)  # somebody else has signed in here meanwhile: theirs is theirs
        if kept.credentials.refresh_token != old.refresh_token:
            return kept.credentials
        fresh = renewed(old)
        save(SignedIn(url=kept.url, credentials=fresh))
        return fresh


def forget() -> SignedIn | None:
    """Remove the file; who was signed in, if that can still be read."""
    with _locked():
        try:
            kept = load()
        except Unauthenticated:
            kept = None
        path().unlink(missing_ok=True)
    return kept


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    file = path().with_suffix(".lock")
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = file.open("w")
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be written: {error.strerror}: set XDG_CONFIG_HOME") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # closing the file lets go of it
        yield
