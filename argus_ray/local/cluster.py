"""One local Ray head, and the applications that Serve runs on it.

Every port listens on 127.0.0.1, Ray's API wants a token, nothing is written outside the home, and no usage is reported.
(A Serve replica's inner gRPC port listens on every interface, in Ray's code without a choice; it wants the token too.)

Applications are deployed by the configuration that production uses (`PUT /api/serve/applications/`), so that nothing
here needs a Ray driver: import paths, and settings by environment.
"""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
import stat
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import httpx

import argus_ray
from argus_ray.errors import ConfigurationError, Unavailable
from argus_ray.local import http, process, warden

PORTS = (
    "ray",
    "ray_dashboard",
    "ray_client",
    "ray_node_manager",
    "ray_object_manager",
    "ray_metrics",
    "ray_agent",
    "ray_agent_grpc",
    "ray_runtime_env",
)
OBJECT_STORE_BYTES = 512 * 2**20
LONGEST_SOCKET_PATH = 107  # sockaddr_un
LONGEST_SESSION_SOCKET = len("/session_2026-11-24_10-52-13_264608_1234567/sockets/plasma_store")


@dataclass(frozen=True)
class Application:
    """A Serve application: what to import, and where it answers; `route_prefix` None: to other applications only."""

    name: str
    import_path: str
    route_prefix: str | None = None


APPLICATIONS = (
    Application("siglip2", "serve_apps.siglip2:build"),
    Application("sam3", "serve_apps.sam3:build"),
    Application("api", "serve_apps.api.app:build", "/"),
    Application("dispatcher", "serve_apps.dispatcher:build"),
)


def head(home: Path, port: Mapping[str, int], env: Mapping[str, str], *, token: str, num_cpus: int) -> process.Program:
    """A Ray head with its dashboard; `port` has the names of PORTS. Its workers inherit the environment."""
    sessions = session_folder(home)
    return process.Program(
        name="ray",
        command=warden.around(
            sys.executable,
            "-m",
            "ray.scripts.scripts",  # the command `ray`, of this very interpreter
            "start",
            "--head",
            "--block",
            "--node-ip-address=127.0.0.1",
            "--dashboard-host=127.0.0.1",
            f"--port={port['ray']}",
            f"--dashboard-port={port['ray_dashboard']}",
            f"--ray-client-server-port={port['ray_client']}",
            f"--node-manager-port={port['ray_node_manager']}",
            f"--object-manager-port={port['ray_object_manager']}",
            f"--metrics-export-port={port['ray_metrics']}",
            f"--dashboard-agent-listen-port={port['ray_agent']}",
            f"--dashboard-agent-grpc-port={port['ray_agent_grpc']}",
            f"--runtime-env-agent-port={port['ray_runtime_env']}",
            "--min-worker-port=0",  # any free one
            "--max-worker-port=0",
            f"--num-cpus={num_cpus}",
            f"--object-store-memory={OBJECT_STORE_BYTES}",
            *_plasma(home),
            f"--temp-dir={sessions}",
            "--disable-usage-stats",
            "--log-style=record",
            "--log-color=false",
        ),
        log=home / "log" / "ray.log",
        env={
            **env,
            **client_env(token),
            "PATH": os.pathsep.join(
                (str(Path(sys.executable).parent), env.get("PATH", os.defpath))
            ),  # of jobs: `python`
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # or 127.0.0.1 is replaced by an address that others can reach
            "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve_apps.api.proxy:middlewares",
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",  # there is no other node to move work to
            "RAY_USAGE_STATS_ENABLED": "0",
            "PYTHONUNBUFFERED": "1",
        },
        check=functools.partial(check, f"http://127.0.0.1:{port['ray_dashboard']}", token),
        stop_timeout_s=2 * warden.GRACE_S + 5,
        start_timeout_s=120,
        cwd=Path(argus_ray.__file__).parents[1],  # where a submitted `python jobs/ingest.py` finds its file
    )


def client_env(token: str) -> dict[str, str]:
    """What a program needs in its environment to be let in by the head."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}


def session_folder(home: Path) -> Path:
    """The folder of Ray's sessions: in the home, or for a home with a long path in the temporary folder.

    Ray makes its folders writable for everybody, so the folder around them is closed; and a Unix socket's path is short.
    """
    folder = home / "ray"
    if len(f"{folder}/s") + LONGEST_SESSION_SOCKET > LONGEST_SOCKET_PATH:
        folder = Path(gettempdir()) / f"argus-{sha256(os.fsencode(home)).hexdigest()[:12]}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise ConfigurationError(f"{folder} is not a folder of ours (uid {found.st_uid}): remove it and start again")
    folder.chmod(0o700)
    return folder / "s"


def clear_sessions(home: Path, keep: int = 2) -> None:
    """Remove the sessions of earlier starts, their logs with them, but for the last ones. No Ray of this home may run."""
    sessions = sorted(session_folder(home).glob("session_2*"), key=lambda path: path.name)
    for old in sessions[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    for kept in sessions[-keep:]:
        shutil.rmtree(kept / "sockets", ignore_errors=True)


def _plasma(home: Path) -> list[str]:
    """Where the object store lies: /dev/shm, or a file where a container's is too small for it."""
    if sys.platform == "linux" and shutil.disk_usage("/dev/shm").free < OBJECT_STORE_BYTES * 1.1:  # noqa: S108  not a file of ours
        folder = session_folder(home).with_name("plasma")
        folder.mkdir(mode=0o700, exist_ok=True)
        return [f"--plasma-directory={folder}"]
    return []


def _headers(token: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def check(dashboard_url: str, token: str | None) -> None:
    """Raises Unavailable unless the dashboard answers and finds the head well."""
    http.get(f"{dashboard_url}/api/gcs_healthz", "Ray's head", timeout_s=10)
    http.get(f"{dashboard_url}/api/version", "Ray's dashboard", token=token, timeout_s=10)


async def deploy(
    dashboard_url: str,
    token: str | None,
    applications: Sequence[Application],
    *,
    host: str,
    port: int,
    env_vars: Mapping[str, str] | None = None,
    timeout_s: float = 300,
) -> None:
    """Have Serve run these applications, and wait until all of them do.

    `env_vars` are for a cluster that somebody else started; they can be read in its dashboard.

    Raises: Unavailable with Serve's own words when one of them cannot run, or takes too long.
    """
    if not applications:
        return
    config = {
        "proxy_location": "HeadOnly",
        "http_options": {"host": host, "port": port},
        "applications": [
            {
                "name": application.name,
                "import_path": application.import_path,
                "route_prefix": application.route_prefix,
                **({"runtime_env": {"env_vars": dict(env_vars)}} if env_vars else {}),
            }
            for application in applications
        ],
    }
    path, deadline = "/api/serve/applications/", time.monotonic() + timeout_s
    async with httpx.AsyncClient(
        base_url=dashboard_url, headers=_headers(token), timeout=90, trust_env=False
    ) as dashboard:
        try:
            answer = await dashboard.put(path, json=config)
            if answer.is_error:
                raise Unavailable(
                    f"Ray Serve did not take the applications ({answer.status_code}): {answer.text[:2000]}"
                )
            while True:
                found: dict[str, Any] = (await dashboard.get(path)).raise_for_status().json()["applications"]
                waiting = _not_running(found, [application.name for application in applications])
                if not waiting:
                    return
                if time.monotonic() > deadline:
                    raise Unavailable(f"after {timeout_s:.0f} s these do not run yet on Ray Serve: {waiting}")
                await asyncio.sleep(0.3)
        except httpx.HTTPError as error:
            raise Unavailable(f"Ray's dashboard at {dashboard_url} failed while deploying: {error!r}") from error


def _not_running(found: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Who is still on the way. Raises: Unavailable for one that has failed."""
    for name in names:
        if found.get(name, {}).get("status") in ("DEPLOY_FAILED", "UNHEALTHY"):
            details = [found[name]["message"], *(one["message"] for one in found[name]["deployments"].values())]
            raise Unavailable(
                f"application {name} cannot run:\n" + "\n".join(detail for detail in details if detail)[-3000:]
            )
    return [name for name in names if found.get(name, {}).get("status") != "RUNNING"]
