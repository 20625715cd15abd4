"""FrameEmbedder: the pixels of a chunk become vectors, and stop here."""

from __future__ import annotations

import json
import logging
from typing import Any, cast

import numpy as np

from argus_ray.errors import ArgusError
from argus_ray.pipelines.stages.rows import EmbeddedChunk, FrameChunk
from argus_ray.settings import Settings

log = logging.getLogger(__name__)


class FrameEmbedder:
    """FrameChunk in, EmbeddedChunk out. A chunk of no frames passes through, as a failed one does."""

    def __init__(self, settings: Settings) -> None:
        from argus_ray.models import siglip2
        from argus_ray.weights import fetcher

        self.model = siglip2.load(settings.siglip2_model, settings.device, towers="vision", fetch=fetcher(settings))

    def __call__(self, chunk: FrameChunk) -> EmbeddedChunk:
        pixels = chunk["pixels"]
        row: dict[str, Any] = {name: value for name, value in chunk.items() if name != "pixels"}
        vectors = np.zeros((0, self.model.dim), np.float16)
        if len(pixels):
            try:
                vectors = self.model.embed_images(np.asarray(pixels)).astype(np.float16)
            except Exception as error:
                log.exception("chunk %d of segment %s could not be embedded", chunk["chunk"], chunk["segment_id"])
                reason = (
                    error.reason()
                    if isinstance(error, ArgusError)
                    else ArgusError(f"embedding failed: {error}").reason()
                )
                none = np.zeros(0, np.int32)
                row |= {"error": json.dumps(reason), "is_final": False, "pts_us": none.astype(np.int64)}
                row |= {"width": none, "height": none, "size_bytes": none}
        return cast("EmbeddedChunk", {**row, "vectors": vectors})
