"""The SigLIP 2 deployment as the API calls it: one hop, and its failures in words of ours."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import numpy.typing as npt
from ray import serve
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, RayServeException

from argus_ray.errors import ArgusError, TooManyRequests, Unavailable

Vectors = npt.NDArray[np.floating[Any]]

_RETRY_AFTER_S = 2
_PATIENCE_S = 30.0


class ServedSiglip2:
    """An Embedder over the Serve application of this name, found when first needed: the API starts without it."""

    def __init__(self, application: str) -> None:
        self._application = application
        self._handle: Any = None

    async def info(self) -> dict[str, Any]:
        described: dict[str, Any] = await self._call("info")
        return described

    async def embed_texts(self, model_id: str, texts: list[str]) -> Vectors:
        vectors: Vectors = await self._call("embed_texts", model_id, texts)
        return vectors

    async def embed_images(self, model_id: str, images: list[bytes]) -> Vectors:
        vectors: Vectors = await self._call("embed_images", model_id, images)
        return vectors

    async def _call(self, method: str, *arguments: Any) -> Any:
        """Raises what the deployment raises of ours, TooManyRequests when it sheds load, Unavailable when it is gone."""
        try:
            if self._handle is None:
                self._handle = await asyncio.to_thread(serve.get_app_handle, self._application)
            return await asyncio.wait_for(getattr(self._handle, method).remote(*arguments), _PATIENCE_S)
        except BackPressureError as error:
            raise TooManyRequests(
                "the model has all the requests that it can hold: try again in a moment", retry_after_s=_RETRY_AFTER_S
            ) from error
        except RayTaskError as error:
            if isinstance(error.cause, ArgusError):
                raise error.cause from None
            raise
        except (RayServeException, RayError, TimeoutError) as error:
            raise Unavailable("the model does not answer: try again in a moment") from error
