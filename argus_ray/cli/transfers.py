"""Files to and from S3 by presigned URLs; a download goes on where it was cut off."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx

from argus_ray.client.transport import options
from argus_ray.errors import ConfigurationError, Unavailable, UploadMismatch
from argus_ray.schemas.dataset import Download

TIMEOUT_S = 60
TRIES = 5


def put(url: str, headers: Mapping[str, str], file: Path) -> None:
    """Send a file's bytes. Raises Unavailable, or UploadMismatch where S3 refuses them."""
    try:
        with httpx.Client(**options(TIMEOUT_S)) as http, file.open("rb") as content:
            answer = http.put(url, content=content, headers=dict(headers))
    except httpx.RequestError as error:
        raise Unavailable(f"{file.name} could not be sent: {error}") from error
    if not answer.is_success:
        raise UploadMismatch(f"S3 refuses {file.name} ({answer.status_code}): has the file changed meanwhile?")


def fetch(where: Callable[[], Download], out: Path) -> None:
    """Write what lies at a URL to a file, renamed when it is whole; `where` gives a fresh URL for each try.

    What an earlier try has left beside it, of the same name with `.part`, is gone on with.
    """
    part = out.with_name(f"{out.name}.part")
    try:
        with httpx.Client(**options(TIMEOUT_S)) as http:
            for _ in range(TRIES):
                at = where()
                if _fetch(http, at, part):
                    part.replace(out)
                    return
    except OSError as error:
        raise ConfigurationError(f"{part} cannot be written: {error.strerror}") from error
    raise Unavailable(f"{out.name} could not be fetched whole in {TRIES} tries: run the command again to go on")


def _fetch(http: httpx.Client, at: Download, part: Path) -> bool:
    """Whether the file is whole now."""
    there = part.stat().st_size if part.exists() else 0
    if there > at.size_bytes:
        part.unlink()
        there = 0
    if there < at.size_bytes:
        try:
            with http.stream("GET", at.url, headers={"Range": f"bytes={there}-"}) as answer, part.open("ab") as file:
                if answer.status_code != httpx.codes.PARTIAL_CONTENT:
                    return False
                for piece in answer.iter_bytes(2**20):
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
        except httpx.RequestError:
            return False
    return part.stat().st_size == at.size_bytes
