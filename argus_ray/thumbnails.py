"""Posters of videos, in the private bucket `thumbnails` of Supabase Storage, at `<project>/<video>.jpg`.

A poster is a nicety: where Storage does not answer, a video is shown without one, and nothing else waits for it. So
signing remembers for a moment that Storage is down instead of asking it again for every page.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
from storage3.exceptions import StorageApiError
from supabase import ClientOptions, create_client

from argus_ray.errors import ConfigurationError, Unavailable
from argus_ray.settings import Settings

BUCKET = "thumbnails"
MOST_REMEMBERED = 20_000


def thumbnail_key(project_id: UUID, video_id: UUID) -> str:
    return f"{project_id}/{video_id}.jpg"


class Thumbnails:
    """The bucket, as the secret key reaches it. Sync and thread-safe; nothing is sent before the first call."""

    def __init__(self, settings: Settings, *, timeout_s: float = 3, rest_s: float = 10) -> None:
        url, key = settings.supabase_url, settings.secret("secret_key")
        if not url or not key:
            raise ConfigurationError("posters need Supabase Storage: set ARGUS_SUPABASE_URL and ARGUS_SECRET_KEY")
        self._http = httpx.Client(timeout=timeout_s)
        options = ClientOptions(httpx_client=self._http, auto_refresh_token=False, persist_session=False)
        self._bucket: Any = create_client(url, key, options).storage.from_(BUCKET)
        self._signed: dict[str, tuple[str, float]] = {}
        self._rest_s = rest_s
        self._resting_until = 0.0

    def put(self, key: str, jpeg: bytes) -> None:
        """Write a poster; again replaces it. Raises Unavailable."""
        try:
            self._bucket.upload(key, jpeg, {"content-type": "image/jpeg", "upsert": "true"})
        except (StorageApiError, httpx.HTTPError) as error:
            raise Unavailable("Supabase Storage did not take a poster: try again in a moment") from error

    def delete(self, keys: Sequence[str]) -> None:
        """Delete posters; one that is not there is no error. Raises Unavailable."""
        try:
            self._bucket.remove(list(keys))
        except (StorageApiError, httpx.HTTPError) as error:
            raise Unavailable("Supabase Storage did not delete posters: try again in a moment") from error

    def sign(self, keys: Sequence[str], *, expires: timedelta) -> dict[str, str]:
        """A URL for each poster that there is, good for at least half of `expires`; none while Storage is down."""
        now = time.monotonic()
        known = {key: url for key in keys if (url := self._remembered(key, now))}
        unknown = [key for key in keys if key not in known]
        if unknown and now >= self._resting_until:
            try:
                answers = self._bucket.create_signed_urls(unknown, round(expires.total_seconds()))
            except (StorageApiError, httpx.HTTPError, ValueError):  # ValueError: not Storage's words at all
                self._resting_until = now + self._rest_s
                return known
            fresh = {said["path"]: said["signedURL"] for said in answers if not said["error"]}
            if len(self._signed) + len(fresh) > MOST_REMEMBERED:
                self._signed.clear()
            self._signed |= {key: (url, now + expires.total_seconds() / 2) for key, url in fresh.items()}
            known |= fresh
        return known

    def close(self) -> None:
        self._http.close()

    def _remembered(self, key: str, now: float) -> str | None:
        url, until = self._signed.get(key, ("", 0.0))
        return url if now < until else None
