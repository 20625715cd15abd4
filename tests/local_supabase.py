"""The local Supabase for tests: a process of its own, over a database of its own and the shared S3."""

from __future__ import annotations

import functools
import json
import os
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import supabase

from argus_ray.errors import Unavailable
from argus_ray.local import ports, process
from argus_ray.local.postgres import Postgres, prepare
from argus_ray.local.seaweedfs import SeaweedFS
from argus_ray.local.supabase import keys

PASSWORD = "correct horse battery"


@dataclass(frozen=True)
class LocalSupabase:
    url: str
    publishable_key: str
    secret_key: str
    database_url: str
    storage_bucket: str
    signing: keys.Keys
    transport: httpx.Client
    """Shared by all synchronous clients, so that their sockets are closed at the end."""

    def anyone(self) -> supabase.Client:
        return self._client(self.publishable_key)

    def server(self) -> supabase.Client:
        """A client with the secret key."""
        return self._client(self.secret_key)

    def _client(self, key: str) -> supabase.Client:
        options = supabase.ClientOptions(auto_refresh_token=False, httpx_client=self.transport)
        return supabase.create_client(self.url, key, options)

    def person(self, email: str | None = None) -> supabase.Client:
        """A client of somebody who has just signed up."""
        client = self.anyone()
        client.auth.sign_up({"email": email or a_mail(), "password": PASSWORD})
        return client

    @asynccontextmanager
    async def person_async(self) -> AsyncIterator[supabase.AsyncClient]:
        """The same with the asynchronous client, whose sockets are closed at the end."""
        async with httpx.AsyncClient() as transport:
            options = supabase.AsyncClientOptions(auto_refresh_token=False, httpx_client=transport)
            client = await supabase.acreate_client(self.url, self.publishable_key, options)
            await client.auth.sign_up({"email": a_mail(), "password": PASSWORD})
            yield client
            await client.realtime.close()

    def http(self, **headers: str) -> httpx.Client:
        """Plain HTTP, with the publishable key unless told otherwise."""
        named = httpx.Headers({"apikey": self.publishable_key, **headers}, encoding="latin-1")
        return httpx.Client(base_url=self.url, headers=named, trust_env=False, timeout=20)

    def execute(self, statement: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """Run SQL as the database's owner."""
        with psycopg.connect(self.database_url) as connection:
            cursor = connection.execute(statement, arguments)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []


def a_mail() -> str:
    return f"{uuid.uuid4().hex}@example.com"


@contextmanager
def running(server: Postgres, s3: SeaweedFS, home: Path, **settings: str) -> Iterator[LocalSupabase]:
    """Start it, ready to answer, and stop it at the end."""
    database_url = server.create_database(f"supabase_{uuid.uuid4().hex[:12]}")
    prepare(database_url)
    jwk_file = home / f"jwk_set_{uuid.uuid4().hex}.json"
    jwk_file.write_text(json.dumps(keys.generate_jwk_set()))
    url = f"http://127.0.0.1:{ports.choose(['supabase'], {})['supabase']}"
    stand_in = LocalSupabase(
        url=url,
        publishable_key=keys.generate_api_key("publishable"),
        secret_key=keys.generate_api_key("secret"),
        database_url=database_url,
        storage_bucket=f"storage-{uuid.uuid4().hex[:12]}",
        signing=keys.read(jwk_file, f"{url}/auth/v1"),
        transport=httpx.Client(trust_env=False, timeout=20),
    )
    program = process.Program(
        name="supabase",
        command=[sys.executable, "-m", "argus_ray.local.supabase"],
        log=home / "log" / f"{jwk_file.stem}.log",
        env={
            "PATH": os.environ["PATH"],
            "ARGUS_LOCAL_DATABASE_URL": database_url,
            "ARGUS_SUPABASE_URL": url,
            "ARGUS_LOCAL_JWK_FILE": str(jwk_file),
            "ARGUS_PUBLISHABLE_KEY": stand_in.publishable_key,
            "ARGUS_SECRET_KEY": stand_in.secret_key,
            "ARGUS_S3_ENDPOINT": s3.endpoint,
            "ARGUS_S3_ACCESS_KEY": s3.access_key,
            "ARGUS_S3_SECRET_KEY": s3.secret_key,
            "ARGUS_LOCAL_STORAGE_BUCKET": stand_in.storage_bucket,
            **settings,
        },
        check=functools.partial(_check, url),
        cwd=Path(__file__).parent.parent,
    )
    running_process = process.spawn(program)
    try:
        process.wait_ready(program, running_process)
        yield stand_in
    finally:
        stand_in.transport.close()
        process.stop(program, running_process)


def _check(url: str) -> None:
    try:
        httpx.get(f"{url}/auth/v1/health", timeout=5, trust_env=False).raise_for_status()
    except httpx.HTTPError as error:
        raise Unavailable(f"{url} does not answer: {error}") from error
