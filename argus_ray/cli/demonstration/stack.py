"""The demo's Argus: the embedded stack in a folder of its own, started as a person would start it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from argus_ray.cli.demonstration.steps import DemoFailed, Steps


@contextlib.contextmanager
def running(home: Path, steps: Steps) -> Iterator[dict[str, Any]]:
    """What `argus status` says of the stack, which is stopped whatever happens."""
    environment = {**os.environ, "ARGUS_HOME": str(home)}

    def argus(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "argus_ray.cli", *words], env=environment, text=True, check=False, **options
        )

    if home.exists():
        argus("down", capture_output=True)
        shutil.rmtree(home)
    try:
        with steps.step("start PostgreSQL, S3, Supabase's part, Ray, Serve with the API, SigLIP 2 and SAM 3"):
            if argus("up", "--detach", "--demo-models", stdout=subprocess.DEVNULL).returncode != 0:
                raise DemoFailed(f"the stack did not start: see {home / 'log'}")
            status: dict[str, Any] = json.loads(argus("status", "--json", stdout=subprocess.PIPE).stdout)
        yield status
    finally:
        with steps.step("stop everything"):
            stopped = argus("down", capture_output=True)
        if stopped.returncode != 0:
            raise DemoFailed(f"the stack did not stop: {stopped.stderr}")
