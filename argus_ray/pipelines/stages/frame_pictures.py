"""FramePictures: kept frames as pixels, read from S3 and decoded by threads ahead of whoever looks at them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from argus_ray.errors import NotFound
from argus_ray.models.pictures import decode_picture
from argus_ray.s3 import S3, frame_key
from argus_ray.settings import Settings

AHEAD = 8
"""Pictures in memory beside those in use."""


class FramePictures:
    """`enough` is the side in pixels beyond which nobody sees a difference: larger JPEGs are decoded smaller."""

    def __init__(self, settings: Settings, *, enough: int | None) -> None:
        # this side of the network, not the clients'
        self.s3 = S3(settings.model_copy(update={"s3_public_endpoint": None}))
        self.max_pixels, self.enough = settings.max_pixels, enough
        self.threads = ThreadPoolExecutor(4, thread_name_prefix="pictures")

    def read(
        self, project_id: UUID, video_id: UUID, times_us: Sequence[int]
    ) -> Iterator[tuple[int, NDArray[np.uint8] | None]]:
        """In this order: time and RGB pixels uint8 [H, W, 3], or None for a frame that is not kept any more."""
        coming: deque[tuple[int, Future[NDArray[np.uint8] | None]]] = deque()
        todo = iter(times_us)
        try:
            while True:
                while len(coming) < AHEAD and (pts_us := next(todo, None)) is not None:
                    coming.append((pts_us, self.threads.submit(self._picture, project_id, video_id, pts_us)))
                if not coming:
                    return
                pts_us, picture = coming.popleft()
                yield pts_us, picture.result()
        finally:
            for _, picture in coming:
                picture.cancel()

    def _picture(self, project_id: UUID, video_id: UUID, pts_us: int) -> NDArray[np.uint8] | None:
        try:
            jpeg = self.s3.get(self.s3.at(frame_key(project_id, video_id, pts_us)))
        except NotFound:  # another policy was applied since the job was queued
            return None
        return decode_picture(jpeg, self.max_pixels, self.enough)
