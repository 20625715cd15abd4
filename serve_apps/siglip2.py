"""SigLIP 2 behind Ray Serve: words and pictures in, unit vectors out, in batches that form by themselves.

The API calls it through a handle, one hop:

    serve run serve_apps.siglip2:build uri=demo:siglip2

A request names the model whose vectors it will be compared with, since vectors of two models have nothing to say to each
other. When more requests wait than `max_queued_requests`, the caller's handle raises `BackPressureError`, which the API
answers with 429 and its `retry_after_s`.
"""

import asyncio
from collections.abc import Callable, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig, BackpressureConfig

from argus_ray.errors import InvalidRequest, NotFound
from argus_ray.models import siglip2
from argus_ray.models.pictures import decode_picture
from argus_ray.settings import Settings
from argus_ray.weights import fetcher

_MOST_ITEMS = 256  # texts or pictures in one request
_BATCH, _BATCH_WAIT_S = 16, 0.005  # requests that share a pass; a lone request waits this long for company


class Args(BaseModel):
    """What `build` takes, from a Serve config file or `serve run`; the defaults are those of the settings."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    uri: str = ""
    model_id: str = ""
    """A further name that requests may use; they may always use the weights id and the URI."""
    device: str = ""
    num_cpus: float = Field(0.3, ge=0)
    num_gpus: float = Field(0, ge=0)
    min_replicas: int = Field(1, ge=0)
    max_replicas: int = Field(1, ge=1)
    target_ongoing_requests: float = Field(8, gt=0)
    max_ongoing_requests: int = Field(64, ge=1)
    max_queued_requests: int = Field(128, ge=1)
    retry_after_s: float = Field(2, gt=0)
    downscale_to_zero_delay_s: float = Field(900, ge=0)
    max_pixels: int = Field(64_000_000, ge=1)


@serve.deployment
class Siglip2:
    """One replica: one model, one thread that computes, so that waiting requests gather into the next batch."""

    def __init__(self, uri: str, model_id: str, device: str, max_pixels: int) -> None:
        self._model = siglip2.load(uri, device, fetch=fetcher(Settings()))
        self._uri, self._max_pixels = uri, max_pixels
        self._model_id = model_id or self._model.weights_id
        self._names = {self._model_id, self._model.weights_id, uri}
        self._computing = ThreadPoolExecutor(1, thread_name_prefix="siglip2-compute")
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="siglip2-read")

    def info(self) -> dict[str, Any]:
        """The model that answers: its names, the size of its vectors and pictures, and what turns a cosine into a
        probability, sigmoid(logit_scale x cosine + logit_bias).
        """
        return {
            "family": "siglip2",
            "model_id": self._model_id,
            "uri": self._uri,
            "weights_id": self._model.weights_id,
            "dim": self._model.dim,
            "image_size": self._model.image_size,
            "logit_scale": self._model.logit_scale,
            "logit_bias": self._model.logit_bias,
        }

    async def embed_texts(self, model_id: str, texts: list[str]) -> NDArray[np.float32]:
        """float32 [N, D], unit length. NotFound for a model that is not served here."""
        self._check(model_id, len(texts))
        vectors: NDArray[np.float32] = await self._text_batch(texts)
        return vectors

    async def embed_images(self, model_id: str, images: NDArray[np.uint8] | list[bytes]) -> NDArray[np.float32]:
        """Pictures as uint8 [N, H, W, 3] or as JPEG, PNG or WebP files -> float32 [N, D], unit length.

        NotFound for a model that is not served here; InvalidRequest or TooLarge for a file that cannot be read.
        """
        self._check(model_id, len(images))
        # Each request is read on its own and made small before it meets others: a broken picture fails alone.
        pixels = await _in_thread(self._reading, self._read, images)
        vectors: NDArray[np.float32] = await self._image_batch(pixels)
        return vectors

    def check_health(self) -> None:
        """The replica answers: its event loop is not blocked, since the model computes in a thread."""

    def _check(self, model_id: str, items: int) -> None:
        if model_id not in self._names:
            raise NotFound(
                f"model {model_id!r} is not served here: this deployment answers for {self._model_id} ({self._uri})",
                model_id=self._model_id,
            )
        if items > _MOST_ITEMS:
            raise InvalidRequest(f"{items} items in one request, and the limit is {_MOST_ITEMS}: send them in several")

    def _read(self, images: NDArray[np.uint8] | list[bytes]) -> NDArray[np.uint8]:
        size = self._model.image_size
        if isinstance(images, np.ndarray):
            return self._model.squash(images)
        pictures = (decode_picture(data, self._max_pixels, enough=2 * size)[None] for data in images)
        squashed = [self._model.squash(picture) for picture in pictures]
        return np.concatenate(squashed) if squashed else np.empty((0, size, size, 3), np.uint8)

    @serve.batch(max_batch_size=_BATCH, batch_wait_timeout_s=_BATCH_WAIT_S)  # type: ignore[untyped-decorator]
    async def _text_batch(self, requests: list[list[str]]) -> list[NDArray[np.float32]]:
        texts = [text for request in requests for text in request]
        return _shares(await _in_thread(self._computing, self._model.embed_texts, texts), requests)

    @serve.batch(max_batch_size=_BATCH, batch_wait_timeout_s=_BATCH_WAIT_S)  # type: ignore[untyped-decorator]
    async def _image_batch(self, requests: list[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        pixels = np.concatenate(requests)
        return _shares(await _in_thread(self._computing, self._model.embed_images, pixels), requests)


async def _in_thread(threads: ThreadPoolExecutor, function: Callable[[Any], Any], argument: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(threads, function, argument)


def _shares(vectors: NDArray[np.float32], requests: Sequence[Sized]) -> list[NDArray[np.float32]]:
    """The rows of a batch, given back to the requests they came from."""
    return np.split(vectors, np.cumsum([len(request) for request in requests])[:-1])


def build(given: dict[str, Any] | Args) -> Application:
    """The application, as `serve run serve_apps.siglip2:build` and a Serve config file name it."""
    args = Args.model_validate(given)
    settings = Settings()
    deployment = Siglip2.options(  # type: ignore[attr-defined]  # Ray is untyped
        name="Siglip2",
        max_ongoing_requests=args.max_ongoing_requests,
        max_queued_requests=args.max_queued_requests,
        backpressure_config=BackpressureConfig(status_code=429, retry_after_s=args.retry_after_s),
        autoscaling_config=AutoscalingConfig(
            min_replicas=args.min_replicas,
            max_replicas=max(args.min_replicas, args.max_replicas),
            target_ongoing_requests=args.target_ongoing_requests,
            downscale_to_zero_delay_s=args.downscale_to_zero_delay_s,
        ),
        ray_actor_options={"num_cpus": args.num_cpus, "num_gpus": args.num_gpus},
    )
    return deployment.bind(
        uri=args.uri or settings.siglip2_model,
        model_id=args.model_id,
        device=args.device or settings.device,
        max_pixels=args.max_pixels,
    )
