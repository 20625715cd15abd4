"""A SAM 3 as requests ask it, in this very process: what stands behind the API but Ray."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from argus_ray.local.seaweedfs import SeaweedFS
from argus_ray.models import sam3
from argus_ray.models.concepts import Found, Pointed, Prompt, Segmented
from argus_ray.models.pictures import decode_picture
from argus_ray.models.sam3 import Question
from argus_ray.rle import Size


class InProcess:
    """A Finder that reads pictures from the bucket."""

    def __init__(self, folder: Path, s3: SeaweedFS) -> None:
        self.uri = str(folder)
        self.model = sam3.load(self.uri, "cpu")
        self._client, self._bucket = s3.client(), s3.bucket

    async def info(self) -> dict[str, Any]:
        name = self.model.weights_id
        return {"model_id": name, "uri": self.uri, "weights_id": name, "tracker": self.model.tracker}

    async def find(
        self,
        model_id: str,
        keys: Sequence[str],
        prompts: Sequence[Prompt],
        *,
        sizes: Sequence[Size],
        threshold: float | None,
    ) -> list[list[Found]]:
        return await asyncio.to_thread(self._find, keys, prompts, sizes, threshold)

    async def segment(self, model_id: str, key: str, objects: Sequence[Pointed], *, size: Size) -> list[Segmented]:
        return await asyncio.to_thread(lambda: self.model.segment(self._seen([key])[0], objects, size=size))

    def _find(
        self, keys: Sequence[str], prompts: Sequence[Prompt], sizes: Sequence[Size], threshold: float | None
    ) -> list[list[Found]]:
        for prompt in prompts:
            self.model.check(prompt)
        return [
            self.model.answer([Question(one, prompt, size, threshold) for prompt in prompts])
            for one, size in zip(self._seen(keys), sizes, strict=True)
        ]

    def _seen(self, keys: Sequence[str]) -> list[sam3.Features]:
        files = [self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read() for key in keys]
        return self.model.features([decode_picture(file, 10**8) for file in files])
