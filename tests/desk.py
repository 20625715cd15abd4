"""A desk to work at: the API over real Postgres and S3, people of the local Supabase, and the demo weights behind search.

What stands behind `argus up` but Ray: a test that wants frames starts a run, or puts them there.
"""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from PIL import Image
from pydantic import SecretStr

from argus_ray import weights
from argus_ray.catalog import embeddings
from argus_ray.catalog import frames as frame_rows
from argus_ray.catalog.frames import Arriving
from argus_ray.cli import main
from argus_ray.local.postgres import Postgres
from argus_ray.local.seaweedfs import SeaweedFS
from argus_ray.models import siglip2
from argus_ray.s3 import frame_key
from argus_ray.settings import DEMO_SIGLIP2
from tests.library import Library, library
from tests.local_supabase import LocalSupabase


class DemoModel:
    """The demo weights as search asks them, in this very process."""

    def __init__(self) -> None:
        self.model = siglip2.load(DEMO_SIGLIP2, "cpu")

    async def info(self) -> dict[str, Any]:
        return {"model_id": "demo", "weights_id": self.model.weights_id, "dim": self.model.dim}

    async def embed_texts(self, _: str, texts: list[str]) -> Any:
        return await asyncio.to_thread(self.model.embed_texts, texts)

    async def embed_images(self, _: str, images: list[bytes]) -> Any:
        pixels = np.stack([np.asarray(Image.open(io.BytesIO(image)).convert("RGB")) for image in images])
        return await asyncio.to_thread(self.model.embed_images, pixels)


@dataclass
class Desk:
    library: Library
    supabase: LocalSupabase
    model: DemoModel
    model_number: int
    owner_url: str

    @property
    def url(self) -> str:
        return self.library.url

    def make_ready(self, video_id: UUID | str, pictures: Sequence[np.ndarray]) -> list[UUID]:
        """End a video's ingest as the pipeline would, with these pictures, one a second; the ids of its frames."""
        (job,) = self.library.sql("select id, project_id from jobs where video_id = %s", video_id)
        self.library.make_ready({"id": job["id"], "video_id": video_id, "project_id": job["project_id"]})
        vectors = self.model.model.embed_images(np.stack(pictures)).astype(np.float16)
        pts_us = np.arange(len(pictures), dtype=np.int64) * 1_000_000
        height, width = (np.full(len(pictures), size, np.int32) for size in pictures[0].shape[:2])
        for picture, at in zip(pictures, pts_us, strict=True):
            jpeg = io.BytesIO()
            Image.fromarray(picture).save(jpeg, "JPEG")
            self.library.s3.put_frames([(frame_key(job["project_id"], UUID(str(video_id)), int(at)), jpeg.getvalue())])
        with self.library.worker.transaction() as tx:
            frame_rows.copy(tx, UUID(str(video_id)), Arriving(pts_us, width, height, np.ones_like(width), vectors))
            tx.run(
                frame_rows.upsert(job["project_id"], UUID(str(video_id)), job_id=job["id"], segment_number=0, why="fps")
            )
            tx.run(embeddings.upsert(job["project_id"], UUID(str(video_id)), model_number=self.model_number))
        return [
            row["id"] for row in self.library.sql("select id from frames where video_id = %s order by pts_us", video_id)
        ]


@contextmanager
def desk(postgres: Postgres, s3: SeaweedFS, supabase: LocalSupabase, **changes: Any) -> Iterator[Desk]:
    model = DemoModel()
    settings = {"supabase_url": supabase.url, "publishable_key": supabase.publishable_key, **changes}
    with library(postgres, s3, siglip2=model, siglip2_model=DEMO_SIGLIP2, **settings) as place:
        owner_url = postgres.url(place.owner.info.dbname)
        known = weights.register(place.settings.model_copy(update={"database_url": SecretStr(owner_url)}), DEMO_SIGLIP2)
        yield Desk(place, supabase, model, known.number, owner_url)


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def ids(self) -> list[str]:
        return self.out.split()


class Command:
    """Runs `argus` in this process, as its console script does."""

    def __init__(self, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> None:
        self._patch = patch
        self._capture = capture

    def __call__(self, *words: object, stdin: str = "", **environment: str) -> Said:
        self._capture.readouterr()
        with self._patch.context() as patch:
            patch.setattr(sys, "argv", ["argus", *map(str, words)])
            patch.setattr(sys, "stdin", io.StringIO(stdin))
            for name, value in environment.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as end:
                main()
        said = self._capture.readouterr()
        return Said(int(end.value.code or 0), said.out, said.err)

    def ok(self, *words: object, **rest: str) -> str:
        """What it printed; it must succeed."""
        said = self(*words, **rest)
        assert said.code == 0, said
        return said.out


def new_email() -> str:
    return f"{uuid4().hex[:12]}@example.org"
