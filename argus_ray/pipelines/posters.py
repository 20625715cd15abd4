"""Posters: one small picture a video, in Supabase Storage, where a console shows it beside the name.

A poster that cannot be stored is a warning on a ready video; the dispatcher tries again with `Posters.put` later.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from uuid import UUID

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from storage3._sync.file_api import SyncBucketProxy
from storage3.exceptions import StorageApiError
from supabase import Client, ClientOptions, create_client

from argus_ray.errors import ConfigurationError, Unavailable
from argus_ray.settings import Settings

BUCKET = "thumbnails"
LONG_SIDE = 640
NO_POSTER = {"type": "no-poster", "detail": "the poster could not be stored; it will be tried again"}


def most_telling(pixels: NDArray[np.uint8]) -> int:
    """The place of the picture with the most contrast among the first ones [N, S, S, 3]: neither black nor a fade."""
    first = pixels[:16, ::4, ::4].astype(np.float32)
    return int(first.std(axis=(1, 2, 3)).argmax())


def draw(jpeg: bytes) -> bytes:
    """A frame's JPEG as a poster's, with a long side of at most 640 pixels."""
    with Image.open(io.BytesIO(jpeg)) as picture:
        picture.draft("RGB", (LONG_SIDE, LONG_SIDE))
        picture.thumbnail((LONG_SIDE, LONG_SIDE))
        out = io.BytesIO()
        picture.convert("RGB").save(out, "JPEG", quality=80)
    return out.getvalue()


def poster_of(pixels: NDArray[np.uint8], jpegs: Sequence[bytes]) -> bytes:
    """The poster of a video whose first kept frames are these."""
    return draw(jpegs[most_telling(pixels)])


class Posters:
    """The bucket of posters, as the service role: one for each process."""

    def __init__(self, settings: Settings) -> None:
        self.url, self.key = settings.supabase_url, settings.secret("secret_key")
        self._client: Client | None = None

    def put(self, project_id: UUID, video_id: UUID, jpeg: bytes) -> None:
        """Store a video's poster. Raises Unavailable or ConfigurationError."""
        path = f"{project_id}/{video_id}.jpg"
        try:
            self._bucket().upload(path, jpeg, {"content-type": "image/jpeg", "upsert": "true"})
        except (StorageApiError, httpx.HTTPError) as error:
            raise Unavailable(f"Storage does not take the poster {path}: {error}") from error

    def _bucket(self) -> SyncBucketProxy:
        if not self.url or not self.key:
            raise ConfigurationError("posters need ARGUS_SUPABASE_URL and ARGUS_SECRET_KEY")
        if self._client is None:
            options = ClientOptions(auto_refresh_token=False, persist_session=False, storage_client_timeout=10)
            self._client = create_client(self.url, self.key, options)
        return self._client.storage.from_(BUCKET)
