"""Real parts for every test that wants them: one PostgreSQL, one S3 server, one Ray for a whole run of the tests."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from argus_ray.local import postgres as local_postgres
from argus_ray.local import seaweedfs as local_seaweedfs
from argus_ray.local.postgres import Postgres
from argus_ray.local.seaweedfs import SeaweedFS
from tests import local_supabase

settings.register_profile(
    "argus", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)  # a slow machine is no failure
settings.load_profile("argus")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"] = "serve_apps.api.proxy:middlewares"  # as on every node
os.environ["RAY_AUTH_MODE"] = "disabled"  # a test's Ray listens on loopback; else it would write a token to the home


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A server; each test makes its own database in it. A power cut would lose it, and nothing else does."""
    server = local_postgres.start(tmp_path_factory.mktemp("postgres"), durable=False)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    server = local_seaweedfs.start(tmp_path_factory.mktemp("s3"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def supabase(
    postgres: Postgres, s3: SeaweedFS, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[local_supabase.LocalSupabase]:
    """The local Supabase over a database of its own; tests keep apart by making their own people and buckets."""
    with local_supabase.running(postgres, s3, tmp_path_factory.mktemp("supabase")) as stand_in:
        yield stand_in


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A local Ray of four logical CPUs, on whatever the machine has."""
    import ray

    with tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as folder:  # its sockets need a short path
        ray.init(
            num_cpus=4,
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=200 * 2**20,
            _temp_dir=str(Path(folder)),
        )
        yield
        ray.shutdown()
