"""The running stack, as a person has it: `argus up --demo-models` on a home of its own, and a client that is signed in."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from argus_ray.client import Client, SessionAuth, sign_up
from argus_ray.schemas.job import ENDED, Job, JobState
from argus_ray.schemas.project import Project

PYTHON = Path(sys.executable)


@dataclass(frozen=True)
class Stack:
    client: Client
    project: Project

    def wait(self, job: Job) -> Job:
        """The job as it ended; it must have succeeded."""
        while job.state not in ENDED:
            job = self.client.jobs.get(job.id, wait_s=30)
        if job.state != JobState.SUCCEEDED:
            raise AssertionError(f"job {job.id} ended as {job.state}: {job.reason}")
        return job


@contextmanager
def running() -> Iterator[Stack]:
    """From nothing to nothing."""
    with tempfile.TemporaryDirectory(prefix="argus-bench-") as home:
        up(Path(home))
        try:
            with signed_up(Path(home)) as stack:
                yield stack
        finally:
            down(Path(home))


def up(home: Path, python: Path = PYTHON) -> float:
    """Start it; seconds until every part has come up. Raises CalledProcessError with what it said."""
    began = time.perf_counter()
    argus(home, "up", "--detach", "--demo-models", python=python)
    return time.perf_counter() - began


def down(home: Path, python: Path = PYTHON) -> None:
    argus(home, "down", python=python)


@contextmanager
def signed_up(home: Path, python: Path = PYTHON) -> Iterator[Stack]:
    """A new person with a project, in a stack that runs."""
    status = _status(home, python)
    email, password = f"bench-{secrets.token_hex(4)}@example.com", secrets.token_urlsafe(16)
    session = SessionAuth(sign_up(status["supabase_url"], status["publishable_key"], email, password))
    with Client(status["api_url"], session) as client:
        yield Stack(client, client.projects.create("Bench"))


def _status(home: Path, python: Path) -> dict[str, Any]:
    status: dict[str, Any] = json.loads(argus(home, "status", "--json", python=python))
    return status


def argus(home: Path, *words: str, python: Path = PYTHON) -> str:
    """What the command printed. Settings of this shell do not reach it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ARGUS_", "RAY_", "LD_"))}
    done = subprocess.run(
        [python, "-m", "argus_ray.cli", *words],
        env={**environment, "ARGUS_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"argus {' '.join(words)} failed ({done.returncode}): {done.stderr[-500:]}")
    return done.stdout
