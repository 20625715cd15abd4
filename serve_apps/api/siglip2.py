"""The SigLIP 2 deployment as the API calls it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from serve_apps.api.served import Served

Vectors = npt.NDArray[np.floating[Any]]

_PATIENCE_S = 30.0


class ServedSiglip2:
    """An Embedder over the Serve application of this name."""

    def __init__(self, application: str) -> None:
        self._served = Served(application, patience_s=_PATIENCE_S)

    async def info(self) -> dict[str, Any]:
        described: dict[str, Any] = await self._served.call("info")
        return described

    async def embed_texts(self, model_id: str, texts: list[str]) -> Vectors:
        vectors: Vectors = await self._served.call("embed_texts", model_id, texts)
        return vectors

    async def embed_images(self, model_id: str, images: list[bytes]) -> Vectors:
        vectors: Vectors = await self._served.call("embed_images", model_id, images)
        return vectors
