"""DecodedPictures: pictures of a video at a chosen rate, decoded from the original by a child process."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from argus_ray.catalog.labelling import Filmed
from argus_ray.errors import SourceGone
from argus_ray.models.pictures import decode_picture
from argus_ray.s3 import S3
from argus_ray.schemas.video import SamplingPolicy
from argus_ray.settings import Settings
from argus_ray.video import work
from argus_ray.video.decode import Kept, Summary
from argus_ray.video.limits import Limits
from argus_ray.video.pictures import Output
from argus_ray.video.process import DecodeProcess
from argus_ray.video.work import Stored

URL_EXPIRES_S = 12 * 3600  # longer than any segment may take, and never shown to anybody


class DecodedPictures:
    """`enough` is the long side in pixels that pictures are made smaller to."""

    def __init__(self, settings: Settings, *, enough: int) -> None:
        self.settings = settings
        self.s3 = S3(settings.model_copy(update={"s3_public_endpoint": None}))
        self.decoder = DecodeProcess(settings.decode_memory_bytes)
        self.output = Output(long_side=enough, quality=95, model_size=16)
        self.limits = Limits(
            max_duration_s=settings.max_duration_s,
            max_pixels=settings.max_pixels,
            max_video_frames=settings.max_video_frames,
            max_frames_kept=settings.max_video_frames,  # what is followed is not kept
            max_size_bytes=settings.max_size_bytes,
        )

    def read(
        self, project_id: UUID, video: Filmed, *, fps: float, start_us: int, end_us: int
    ) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """The pictures shown at k/fps seconds that begin from `start_us` to `end_us`: time and RGB pixels uint8 [H, W, 3].

        Raises what the decoder does, and SourceGone where the original is not there any more.
        """
        source = self.s3.original(project_id, video.video_id, video.source_uri)
        size_bytes = video.size_bytes
        if size_bytes is None:
            head = self.s3.head(source)
            if head is None:
                raise SourceGone("the stored file is not there any more: upload it again", http_status=404)
            size_bytes = head.size_bytes
        stored = Stored(
            location=self.s3.presign_get(source, expires_s=URL_EXPIRES_S),
            filename=video.name,
            size_bytes=size_bytes,
            scratch=self.settings.scratch,
        )
        policy = SamplingPolicy(policy="fps", fps=fps, dedupe=False)
        items: Generator[Kept | Summary] = self.decoder.run(  # type: ignore[assignment]  # it is a generator
            work.between,
            stored,
            policy,
            self.output,
            self.limits,
            start_us,
            end_us,
            timeout_s=self.settings.decode_timeout_s,
            stall_s=self.settings.decode_stall_s,
        )
        with closing(items):  # leaving early ends the child
            for item in items:
                if (
                    not isinstance(item, Summary)
                    and item.pts_us <= end_us
                    and (start_us <= 0 or item.pts_us >= start_us)
                ):
                    yield item.pts_us, decode_picture(item.jpeg, self.settings.max_pixels)
