"""Posters: one small picture a video, for a console to show beside its name.

One that cannot be stored is a warning on a ready video, and the dispatcher tries again.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from argus_ray.catalog import posters as rows
from argus_ray.catalog.connect import Database
from argus_ray.catalog.statement import Tx
from argus_ray.s3 import S3, frame_key
from argus_ray.settings import Settings
from argus_ray.thumbnails import Thumbnails, thumbnail_key

LONG_SIDE = 640
LOOKED_AT = 16
NO_POSTER = {"type": "no-poster", "detail": "the poster could not be stored; it will be tried again"}


def poster_of(pixels: Sequence[NDArray[np.uint8]], jpegs: Sequence[bytes]) -> bytes:
    """The poster of a video whose first frames are these, as RGB [S, S, 3] and as JPEG: the one with the most contrast,
    neither black nor half a fade.
    """
    contrasts = [picture[::4, ::4].astype(np.float32).std() for picture in pixels[:LOOKED_AT]]
    return draw(jpegs[int(np.argmax(contrasts))])


def draw(jpeg: bytes) -> bytes:
    """A frame's JPEG as a poster's, with a long side of at most 640 pixels."""
    with Image.open(io.BytesIO(jpeg)) as picture:
        picture.draft("RGB", (LONG_SIDE, LONG_SIDE))
        picture.thumbnail((LONG_SIDE, LONG_SIDE))
        out = io.BytesIO()
        picture.convert("RGB").save(out, "JPEG", quality=80)
    return out.getvalue()


def store_missing(settings: Settings, database: Database, *, limit: int = 20) -> int:
    """Store posters that could not be stored before, made of the kept frames; how many. Raises Unavailable."""
    missing = database.retry(lambda tx: tx.all(rows.missing(limit)))
    if not missing:
        return 0
    s3, thumbnails = S3(settings), Thumbnails(settings)
    try:
        for video in missing:
            keys = [frame_key(video.project_id, video.video_id, pts_us) for pts_us in video.pts_us]
            jpegs = [s3.get(s3.at(key)) for key in keys]
            thumbnails.put(thumbnail_key(video.project_id, video.video_id), poster_of([_rgb(j) for j in jpegs], jpegs))
            stored = rows.note(video.project_id, video.video_id)
            database.retry(partial(Tx.run, statement=stored))
    finally:
        s3.close()
        thumbnails.close()
    return len(missing)


def _rgb(jpeg: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(jpeg)) as picture:
        return np.asarray(picture.convert("RGB"))
