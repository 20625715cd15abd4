"""The SAM 3 deployment as the API calls it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from argus_ray.models.concepts import Found, Pointed, Prompt, Segmented
from argus_ray.rle import Size
from serve_apps.api.served import Served

_PATIENCE_S = 90.0  # the first request after a quiet time waits for a process and its weights


class ServedSam3:
    """A Finder over the Serve application of this name."""

    def __init__(self, application: str) -> None:
        self._served = Served(application, patience_s=_PATIENCE_S)

    async def info(self) -> dict[str, Any]:
        described: dict[str, Any] = await self._served.call("info")
        return described

    async def find(
        self,
        model_id: str,
        keys: Sequence[str],
        prompts: Sequence[Prompt],
        *,
        sizes: Sequence[Size],
        threshold: float | None,
    ) -> list[list[Found]]:
        pictures = [("s3", key) for key in keys]
        found: list[list[Found]] = await self._served.call(
            "find", model_id, pictures, list(prompts), sizes=list(sizes), threshold=threshold
        )
        return found

    async def segment(self, model_id: str, key: str, objects: Sequence[Pointed], *, size: Size) -> list[Segmented]:
        segmented: list[Segmented] = await self._served.call("segment", model_id, ("s3", key), list(objects), size=size)
        return segmented
