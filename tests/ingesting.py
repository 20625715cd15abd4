"""A place to ingest in: a database with the catalogue, a bucket, a tiny model, and videos that were uploaded."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import dict_row
from pydantic import SecretStr

from argus_ray import weights
from argus_ray.catalog.migrate import migrate
from argus_ray.local.postgres import Postgres, set_login, url
from argus_ray.local.seaweedfs import SeaweedFS
from argus_ray.s3 import original_key
from argus_ray.settings import Settings


def tiny_model(folder: Path, *, seed: int = 7) -> Path:
    """A SigLIP of 20,000 random weights with all its files: pictures of 32 x 32, vectors of 32."""
    import torch
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    torch.manual_seed(seed)
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    tokens = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    config = SiglipConfig(
        vision_config={**size, "image_size": 32, "patch_size": 16},
        text_config={**size, "vocab_size": 64, "max_position_embeddings": 16, "projection_size": 32, **tokens},
    )
    SiglipModel(config).save_pretrained(folder)
    SiglipImageProcessor(size={"height": 32, "width": 32}, resample=2).save_pretrained(folder)
    return folder


@dataclass
class Place:
    """Where a test ingests. `owner` is a connection that may see and do everything."""

    settings: Settings
    owner: psycopg.Connection[dict[str, Any]] = field(repr=False)
    s3: Any = field(repr=False)
    project_id: UUID

    def close(self) -> None:
        self.owner.close()
        self.s3.close()

    def upload(
        self, file: Path | bytes, name: str = "clip.mp4", *, project_id: UUID | None = None, **columns: Any
    ) -> UUID:
        """A video whose bytes are in S3, and its queued job."""
        data = file if isinstance(file, bytes) else file.read_bytes()
        video_id, project = uuid4(), project_id or self.project_id
        self.s3.put_object(Bucket=self.settings.bucket, Key=original_key(project, video_id), Body=data)
        return add_video(self.owner, project, video_id=video_id, name=name, size_bytes=len(data) or None, **columns)

    def all(self, query: str, *values: Any) -> list[dict[str, Any]]:
        return self.owner.execute(query.encode(), values).fetchall()

    def one(self, query: str, *values: Any) -> dict[str, Any]:
        (row,) = self.all(query, *values)
        return row

    def video(self, video_id: UUID) -> dict[str, Any]:
        return self.one("select * from videos where id = %s", video_id)

    def states(self) -> list[str]:
        return [row["state"] for row in self.all("select state from videos order by id")]

    def content(self, videos: Sequence[UUID] | None = None) -> str:
        """A digest over frames and vectors, row for row, with everything but ids, times and fences."""
        digest = hashlib.sha256()
        for row in self.all(
            """
            select v.name, f.pts_us, f.width, f.height, f.size_bytes, f.why, f.segment_number, e.embedding::text, e.model_number
            from frames f join videos v on v.id = f.video_id
            left join embeddings e on e.project_id = f.project_id and e.video_id = f.video_id and e.pts_us = f.pts_us
            where %s::uuid[] is null or f.video_id = any (%s)
            order by v.name, f.pts_us, e.model_number
            """,
            *[list(videos) if videos is not None else None] * 2,
        ):
            digest.update(repr(sorted(row.items())).encode())
        return digest.hexdigest()


def add_project(owner: psycopg.Connection[dict[str, Any]], name: str = "a project") -> UUID:
    row = owner.execute("insert into projects (name) values (%s) returning id", (name,)).fetchone()
    assert row is not None
    return UUID(str(row["id"]))


def add_video(
    owner: psycopg.Connection[dict[str, Any]],
    project_id: UUID,
    *,
    video_id: UUID | None = None,
    priority: int = 0,
    **columns: Any,
) -> UUID:
    """An uploaded video and its queued job."""
    values = {"id": video_id or uuid4(), "project_id": project_id, "name": "clip.mp4", "state": "uploaded", **columns}
    names, marks = ", ".join(values), ", ".join(f"%({name})s" for name in values)
    owner.execute(f"insert into videos ({names}, uploaded_at) values ({marks}, now())".encode(), values)
    owner.execute(
        "insert into jobs (project_id, kind, video_id, priority) values (%s, 'ingest', %s, %s)",
        (project_id, values["id"], priority),
    )
    return UUID(str(values["id"]))


def catalogue(postgres: Postgres, name: str) -> tuple[Settings, psycopg.Connection[dict[str, Any]]]:
    """A new database with the catalogue in it, and the owner's connection to it."""
    owner_url = postgres.create_database(name)
    migrate(owner_url)
    set_login(owner_url, "argus_worker", "worker")
    worker_url = url(postgres.port, "worker", user="argus_worker", database=name)
    settings = Settings(database_url=SecretStr(owner_url), worker_database_url=SecretStr(worker_url))
    owner = psycopg.connect(owner_url, autocommit=True, row_factory=dict_row)
    owner.execute("set search_path = argus, extensions")
    return settings, owner


def place(postgres: Postgres, seaweedfs: SeaweedFS, folder: Path, **changes: Any) -> Place:
    """Everything that a run needs, new and empty. `changes` are settings."""
    settings, owner = catalogue(postgres, f"ingest_{uuid4().hex[:12]}")
    settings = settings.model_copy(
        update={
            "s3_endpoint": seaweedfs.endpoint,
            "s3_access_key": SecretStr(seaweedfs.access_key),
            "s3_secret_key": SecretStr(seaweedfs.secret_key),
            "bucket": seaweedfs.bucket,
            "siglip2_model": str(tiny_model(folder / "model")),
            "device": "cpu",
            "linger_s": 0.5,
            "lease_s": 10,
            "scratch": folder,
            **changes,
        }
    )
    weights.register(settings, settings.siglip2_model)
    return Place(settings, owner, seaweedfs.client(), add_project(owner))


def environment(settings: Settings) -> dict[str, str]:
    """These settings as a process reads them."""
    values = {name: getattr(settings, name) for name in settings.model_fields_set}
    plain = {name: v.get_secret_value() if isinstance(v, SecretStr) else v for name, v in values.items()}
    return {f"ARGUS_{name.upper()}": str(value) for name, value in plain.items() if value is not None}


@contextmanager
def running(here: Place, **changes: Any) -> Iterator[str]:
    """A run in the background, which is told to end at the end."""
    from argus_ray.pipelines import ingest

    settings = here.settings.model_copy(update={"linger_s": 120, **changes})
    pool = f"test-{uuid4().hex[:8]}"
    thread = threading.Thread(target=ingest.run, args=(settings,), kwargs={"pool": pool})
    thread.start()
    try:
        yield pool
    finally:
        here.owner.execute("update runs set accepts_until = now() where pool = %s", (pool,))
        thread.join(180)
        assert not thread.is_alive(), "the run does not end"
