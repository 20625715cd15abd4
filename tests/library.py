"""A library of videos over HTTP: the API on a real port, with people who sign in, a project, and S3 behind it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
from psycopg.rows import dict_row

from argus_ray.catalog.connect import Database
from argus_ray.catalog.migrate import migrate
from argus_ray.catalog.statement import Statement
from argus_ray.local.postgres import Postgres, set_login, url
from argus_ray.local.seaweedfs import SeaweedFS
from argus_ray.s3 import S3
from argus_ray.settings import Settings
from serve_apps.api.app import create_app
from tests.people import TestIssuer, serving

MEBIBYTE = 2**20


@dataclass
class Library:
    """`owner` is a connection that may see and do everything; `worker` is what pipelines and sweeps use."""

    url: str
    settings: Settings
    issuer: TestIssuer = field(repr=False)
    owner: psycopg.Connection[dict[str, Any]] = field(repr=False)
    worker: Database = field(repr=False)
    s3: S3 = field(repr=False)

    def person(self, email: str) -> httpx.Client:
        """A client that is signed in."""
        headers = {"Authorization": f"Bearer {self.issuer.token(email)}"}
        return httpx.Client(base_url=self.url, headers=headers, trust_env=False, timeout=30)

    def project(self, owner: httpx.Client, **roles: httpx.Client) -> UUID:
        """A new project of `owner`; `viewer=client` and the like give others a place in it."""
        project = owner.post("/v1/projects", json={"name": "a project"}).raise_for_status().json()
        for role, client in roles.items():
            email = client.get("/v1/me").json()["email"]
            owner.post(f"/v1/projects/{project['id']}/members", json={"email": email, "role": role}).raise_for_status()
            client.get("/v1/projects").raise_for_status()  # takes the place
        return UUID(project["id"])

    def sql(self, query: str, *values: Any) -> list[dict[str, Any]]:
        cursor = self.owner.execute(query.encode(), values)
        return cursor.fetchall() if cursor.description else []

    def explain(self, user_id: str, statement: Statement[Any]) -> list[dict[str, Any]]:
        """The nodes of the plan by which a person's statement runs, with what they read."""
        claims = json.dumps({"role": "authenticated", "sub": user_id})
        with self.owner.transaction():
            self.owner.execute("set local role authenticated")
            self.owner.execute("select set_config('request.jwt.claims', %s, true)", (claims,))
            text = f"explain (analyze, format json) {statement.sql}".encode()
            (row,) = self.owner.execute(text, statement.params).fetchall()
        nodes, waiting = [], [row["QUERY PLAN"][0]["Plan"]]
        while waiting:
            nodes.append(waiting.pop())
            waiting += nodes[-1].get("Plans", [])
        return nodes

    def bring(self, client: httpx.Client, project_id: UUID, body: bytes | None = None, **new: Any) -> dict[str, Any]:
        """A video that was announced, sent and completed; its ingest's job."""
        body = body or uuid4().bytes
        created = announce(client, project_id, body, **new).json()
        send(created["upload"], body)
        return client.post(f"/v1/videos/{created['video']['id']}/complete").raise_for_status().json()

    def make_ready(self, job: dict[str, Any], *frames_us: int) -> None:
        """End a job as a pipeline would, with these frames."""
        self.sql("update jobs set state = 'succeeded', finished_at = now(), progress = 1 where id = %s", job["id"])
        self.sql("update segments set state = 'done' where job_id = %s", job["id"])
        self.sql(
            "update videos set state = 'ready', ready_at = now(), width = 640, height = 360, start_us = 0,"
            " duration_us = 10000000 where id = %s", job["video_id"],
        )  # fmt: skip
        for pts_us in frames_us:
            self.sql(
                "insert into frames (project_id, video_id, pts_us, id, job_id, segment_number, width, height, size_bytes, why)"
                " values (%s, %s, %s, %s, %s, 0, 640, 360, 1000, 'fps')",
                job["project_id"], job["video_id"], pts_us, uuid4(), job["id"],
            )  # fmt: skip


def announce(client: httpx.Client, project_id: UUID, body: bytes, **new: Any) -> httpx.Response:
    asked = {"filename": "clip.mp4", "size_bytes": len(body), **new}
    return client.post(f"/v1/projects/{project_id}/videos", json=asked)


def send(upload: dict[str, Any], body: bytes) -> None:
    """Put the bytes where the upload says."""
    if upload["kind"] == "put":
        httpx.put(upload["url"], content=body, headers=upload["headers"], trust_env=False).raise_for_status()
        return
    size = upload["part_size_bytes"]
    for part in upload["parts"]:
        piece = body[(part["number"] - 1) * size : part["number"] * size]
        httpx.put(part["url"], content=piece, trust_env=False).raise_for_status()


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """What they return, each called in a thread of its own."""
    with ThreadPoolExecutor(len(calls)) as threads:
        return [answer.result() for answer in [threads.submit(call) for call in calls]]


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


@contextmanager
def library(
    postgres: Postgres, seaweedfs: SeaweedFS, *, siglip2: Any = None, sam3: Any = None, **changes: Any
) -> Iterator[Library]:
    """A new and empty one, with models if any are given. `changes` are settings."""
    name = f"library_{uuid4().hex[:12]}"
    owner_url = postgres.create_database(name)
    migrate(owner_url)
    for role in ("argus_api", "argus_worker"):
        set_login(owner_url, role, role)
    issuer = TestIssuer()
    settings = Settings(
        **{
            "api_database_url": url(postgres.port, "argus_api", user="argus_api", database=name),
            "worker_database_url": url(postgres.port, "argus_worker", user="argus_worker", database=name),
            "supabase_url": issuer.url,
            "s3_endpoint": seaweedfs.endpoint,
            "s3_access_key": seaweedfs.access_key,
            "s3_secret_key": seaweedfs.secret_key,
            "bucket": seaweedfs.bucket,
            **changes,
        }
    )
    worker = Database(settings.secret("worker_database_url") or "")
    try:
        with (
            psycopg.connect(owner_url, autocommit=True, row_factory=dict_row) as owner,
            serving(create_app(settings, siglip2=siglip2, sam3=sam3)) as address,
        ):
            owner.execute("set search_path = argus, extensions")
            yield Library(address, settings, issuer, owner, worker, S3(settings))
    finally:
        worker.close()
        issuer.close()
        postgres.drop_database(name)
