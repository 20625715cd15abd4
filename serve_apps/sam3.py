"""SAM 3 behind Ray Serve: pictures and what is asked of them in, masks out, in passes that form by themselves.

The API calls it through a handle, one hop:

    serve run serve_apps.sam3:build uri=demo:sam3

Requests gather into one pass, bounded by the pixels that it will compute and not by their number: a request for one phrase
in one picture and one for twenty phrases in sixteen are not the same load. What the model sees in a picture is kept, so
that the next click or phrase on the same picture costs a tenth; pictures that lie in S3 are named by their key and read here.

Without requests for a while no replica runs, so that a machine that nobody asks anything of holds no model. A replica loads
its weights with the first request; where they cannot be had, each request is told why.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig, BackpressureConfig

from argus_ray.errors import ArgusError, InvalidRequest, NotFound
from argus_ray.models import sam3
from argus_ray.models.concepts import Found, Pointed, Prompt, Segmented
from argus_ray.models.pictures import decode_picture
from argus_ray.models.sam3 import Features, Question
from argus_ray.rle import Size
from argus_ray.s3 import S3
from argus_ray.settings import Settings
from argus_ray.weights import fetcher

Picture = bytes | tuple[Literal["s3"], str]
"""A JPEG, PNG or WebP file, or the key of one in the bucket."""

T = TypeVar("T")

_MOST_PICTURES, _MOST_ASKED = 16, 256  # of one request; the second counts prompts or objects, in all pictures together
_BATCH_WAIT_S = 0.005  # a lone request waits this long for company
_PROMPT_SHARE = 0.25  # of a picture's cost, what one prompt costs


class Args(BaseModel):
    """What `build` takes, from a Serve config file or `serve run`; the defaults are those of the settings."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    uri: str = ""
    device: str = ""
    num_cpus: float = Field(0.25, ge=0)
    num_gpus: float = Field(0, ge=0)
    min_replicas: int = Field(0, ge=0)
    max_replicas: int = Field(1, ge=1)
    target_ongoing_requests: float = Field(4, gt=0)
    max_ongoing_requests: int = Field(32, ge=1)
    max_queued_requests: int = Field(64, ge=1)
    retry_after_s: float = Field(2, gt=0)
    downscale_to_zero_delay_s: float = Field(900, ge=0)
    load_again_after_s: float = Field(30, ge=0)
    """Weights that could not be had are not looked for again sooner."""
    max_pixels: int = Field(64_000_000, ge=1)
    pass_pixels: int = Field(8 * 1008**2, ge=1)
    """Pixels of the model's squares that one pass computes, a prompt counted as a quarter of a picture."""
    cache_bytes: int = Field(256 * 2**20, ge=0)
    """What is kept of pictures seen: about 65 MB each with the real weights in half precision."""


@dataclass(eq=False)
class _Seen:
    """A picture on its way through a pass: what is kept of it, or else its pixels, squashed to the model's size."""

    key: str
    wanted: Size | None = None
    features: Features | None = None
    pixels: NDArray[np.uint8] | None = None
    size: Size = (0, 0)


@dataclass(eq=False)
class _Work:
    """One request: prompts for every picture, or objects pointed at in its only one."""

    pictures: list[_Seen]
    prompts: Sequence[Prompt] = ()
    objects: Sequence[Pointed] = ()
    threshold: float | None = None
    cost_pixels: int = field(default=1)


class _Kept:
    """Features by picture, the least recently used forgotten first. Used by the replica's event loop alone."""

    def __init__(self, most_bytes: int) -> None:
        self._most, self._bytes = most_bytes, 0
        self._features: OrderedDict[str, Features] = OrderedDict()

    def get(self, key: str) -> Features | None:
        if key in self._features:
            self._features.move_to_end(key)
        return self._features.get(key)

    def put(self, key: str, features: Features) -> None:
        if key in self._features or features.size_bytes > self._most:
            return
        self._features[key] = features
        self._bytes += features.size_bytes
        while self._bytes > self._most:
            self._bytes -= self._features.popitem(last=False)[1].size_bytes

    def facts(self) -> dict[str, int]:
        return {"pictures": len(self._features), "bytes": self._bytes}


@serve.deployment
class Sam3:
    """One replica: one model, one thread that computes, so that waiting requests gather into the next pass."""

    def __init__(self, uri: str, device: str, args: Args) -> None:
        self._settings = Settings()
        self._uri, self._device, self._args = uri, device, args
        self._s3 = S3(self._settings)
        self._model: sam3.Sam3 | None = None
        self._loading = asyncio.Lock()
        self._refused: tuple[float, ArgusError] | None = None
        self._kept = _Kept(args.cache_bytes)
        self._hits = self._misses = 0
        self._computing = ThreadPoolExecutor(1, thread_name_prefix="sam3-compute")
        self._reading = ThreadPoolExecutor(2, thread_name_prefix="sam3-read")
        self._pass.set_max_batch_size(args.pass_pixels)

    async def info(self) -> dict[str, Any]:
        """The model that answers, what its tracker has learnt, and what is kept of pictures. Loads the model."""
        model = await self._loaded()
        return {
            "family": "sam3",
            "model_id": model.weights_id,
            "uri": self._uri,
            "weights_id": model.weights_id,
            "image_size": model.image_size,
            "score_threshold": model.score_threshold,
            "tracker": model.tracker,
            "has_video_tracker": model.has_video_tracker,
            "kept": {**self._kept.facts(), "hits": self._hits, "misses": self._misses},
        }

    async def find(
        self,
        model_id: str,
        pictures: list[Picture],
        prompts: list[Prompt],
        *,
        sizes: list[Size] | None = None,
        threshold: float | None = None,
    ) -> list[list[Found]]:
        """For each picture, the instances of each prompt; masks at its place in `sizes` (height, width), or its own size.

        NotFound for a model that is not served here or a key without an object; InvalidRequest or TooLarge for a phrase
        or a picture that cannot be read; ModelUnavailable where the weights cannot be had.
        """
        model = await self._checked(model_id, len(pictures), len(pictures) * len(prompts))
        if sizes is not None and len(sizes) != len(pictures):
            raise InvalidRequest(f"{len(sizes)} sizes for {len(pictures)} pictures: give one for each")
        for prompt in prompts:
            model.check(prompt)
        seen = await self._seen(model, pictures, sizes or [None] * len(pictures))
        work = self._weighed(model, _Work(seen, prompts=prompts, threshold=threshold))
        answers: list[list[Found]] = _told(await self._pass(work))
        return answers

    async def segment(
        self, model_id: str, picture: Picture, objects: list[Pointed], *, size: Size | None = None
    ) -> list[Segmented]:
        """The masks of objects pointed at in one picture, at `size` or the picture's own; a mask that is given has the
        same. Raises as `find` does, and ModelUnsupported for weights whose tracker has not learnt to.
        """
        model = await self._checked(model_id, 1, len(objects))
        seen = await self._seen(model, [picture], [size])
        work = self._weighed(model, _Work(seen, objects=objects))
        answers: list[Segmented] = _told(await self._pass(work))
        return answers

    def check_health(self) -> None:
        """The replica answers: its event loop is not blocked, since the model computes in a thread."""

    # -- the model ---------------------------------------------------------------------------------

    async def _loaded(self) -> sam3.Sam3:
        """The model, loaded by the first who asks. Raises what `sam3.load` raises, and for a while the same again."""
        async with self._loading:
            if self._model is None:
                if self._refused and time.monotonic() < self._refused[0]:
                    raise self._refused[1]
                try:
                    self._model = await _in_thread(self._computing, self._load)
                except ArgusError as error:
                    self._refused = time.monotonic() + self._args.load_again_after_s, error
                    raise
            return self._model

    def _load(self) -> sam3.Sam3:
        return sam3.load(self._uri, self._device, fetch=fetcher(self._settings), parts=("concepts", "clicks"))

    async def _checked(self, model_id: str, pictures: int, asked: int) -> sam3.Sam3:
        model = await self._loaded()
        if model_id not in {model.weights_id, self._uri}:
            raise NotFound(
                f"model {model_id!r} is not served here: this deployment answers for {model.weights_id} ({self._uri})",
                model_id=model.weights_id,
            )
        if not 1 <= pictures <= _MOST_PICTURES:
            raise InvalidRequest(f"{pictures} pictures in one request: give 1 to {_MOST_PICTURES}")
        if not 1 <= asked <= _MOST_ASKED:
            raise InvalidRequest(f"{asked} questions in one request, pictures times prompts: give 1 to {_MOST_ASKED}")
        return model

    # -- pictures ----------------------------------------------------------------------------------

    async def _seen(self, model: sam3.Sam3, pictures: Sequence[Picture], wanted: Sequence[Size | None]) -> list[_Seen]:
        """Each request reads its own pictures before it meets others: a broken one fails alone."""
        seen = []
        for picture, size in zip(pictures, wanted, strict=True):
            key = picture[1] if isinstance(picture, tuple) else hashlib.sha256(picture).hexdigest()
            drafted = size is not None  # a picture whose own size is not asked for may be read at a smaller one
            one = _Seen(f"{model.weights_id}/{'drafted' if drafted else 'whole'}/{key}", wanted=size)
            one.features = self._kept.get(one.key)
            if one.features is None:
                one.pixels, one.size = await _in_thread(self._reading, self._read, model, picture, drafted)
            seen.append(one)
        return seen

    def _read(self, model: sam3.Sam3, picture: Picture, drafted: bool) -> tuple[NDArray[np.uint8], Size]:
        data = self._s3.get(self._s3.at(picture[1])) if isinstance(picture, tuple) else picture
        pixels = decode_picture(data, self._args.max_pixels, enough=model.image_size if drafted else None)
        return model.squash(pixels), (pixels.shape[0], pixels.shape[1])

    # -- passes ------------------------------------------------------------------------------------

    def _weighed(self, model: sam3.Sam3, work: _Work) -> _Work:
        asked = len(work.pictures) * len(work.prompts) + len(work.objects)
        new = sum(one.features is None for one in work.pictures)
        cost = model.image_size**2 * (new + _PROMPT_SHARE * asked)
        work.cost_pixels = min(max(1, round(cost)), self._args.pass_pixels)
        return work

    @serve.batch(  # type: ignore[untyped-decorator]
        max_batch_size=1,  # set when the replica starts
        batch_wait_timeout_s=_BATCH_WAIT_S,
        batch_size_fn=lambda works: sum(work.cost_pixels for work in works),
    )
    async def _pass(self, works: list[_Work]) -> list[Any]:
        model = await self._loaded()
        for one in (one for work in works for one in work.pictures if one.features is None):
            one.features = self._kept.get(one.key)  # another pass may have seen it meanwhile
        answers = await _in_thread(self._computing, _computed, model, works)
        for one in (one for work in works for one in work.pictures):
            self._hits, self._misses = self._hits + (one.pixels is None), self._misses + (one.pixels is not None)
            if one.features is not None:
                self._kept.put(one.key, one.features)
        return answers


def _computed(model: sam3.Sam3, works: Sequence[_Work]) -> list[Any]:
    """One pass: every new picture is looked at once, whoever asks, and all prompts go together.

    What fails for one request is its answer, and no other's.
    """
    new = {one.key: one for work in works for one in work.pictures if one.features is None and one.pixels is not None}
    pixels = [one.pixels for one in new.values() if one.pixels is not None]
    looked_at = model.features(pixels, sizes=[one.size for one in new.values()]) if new else []
    features = dict(zip(new, looked_at, strict=True))
    for one in (one for work in works for one in work.pictures):
        one.features = one.features or features[one.key]
    answers: list[Any] = [_pointed_out(model, work) if work.objects else None for work in works]
    found = iter(
        model.answer(
            [
                Question(one.features, prompt, one.wanted, work.threshold)
                for work in works
                for one in work.pictures
                for prompt in work.prompts
                if one.features is not None
            ]
        )
    )
    for place, work in enumerate(works):
        if work.prompts:
            answers[place] = [[next(found) for _ in work.prompts] for _ in work.pictures]
    return answers


def _pointed_out(model: sam3.Sam3, work: _Work) -> list[Segmented] | ArgusError:
    [picture] = work.pictures
    assert picture.features is not None
    try:
        return model.segment(picture.features, work.objects, size=picture.wanted)
    except ArgusError as error:
        return error


def _told(answer: Any) -> Any:
    """An answer of a pass, or raised what this request alone did wrong."""
    if isinstance(answer, ArgusError):
        raise answer
    return answer


async def _in_thread(threads: ThreadPoolExecutor, function: Callable[..., T], *arguments: Any) -> T:
    return await asyncio.get_running_loop().run_in_executor(threads, function, *arguments)


def build(given: dict[str, Any] | Args) -> Application:
    """The application, as `serve run serve_apps.sam3:build` and a Serve config file name it."""
    args = Args.model_validate(given)
    settings = Settings()
    deployment = Sam3.options(  # type: ignore[attr-defined]  # Ray is untyped
        name="Sam3",
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
    return deployment.bind(args.uri or settings.sam3_model, args.device or settings.device, args)
