"""What runs where: written by the supervisor, read by `argus status` and by every command that needs an address.

The file informs; it never decides. Whether a stack runs is told by the home's lock, and whether it is ready by asking
it (see home.py).
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from argus_ray.errors import Unavailable
from argus_ray.local import http
from argus_ray.local.home import holder, read_json, write_json


class RunningProcess(BaseModel):
    model_config = ConfigDict(frozen=True)

    name: str
    pid: int


class State(BaseModel):
    """The answer of `argus status --json`."""

    model_config = ConfigDict(frozen=True)

    ready: bool = Field(False, description="A search would be answered.")
    reason: str | None = Field(None, description="Why it is not ready.")
    started: bool = Field(False, description="Every part has come up once.")
    home: str | None = None
    api_url: str | None = None
    dashboard_url: str | None = None
    supabase_url: str | None = None
    publishable_key: str | None = None
    s3_endpoint: str | None = None
    processes: list[RunningProcess] = []


def write(home: Path, state: State) -> None:
    write_json(home / "run" / "state.json", state.model_dump(mode="json", exclude={"ready", "reason"}))


def clear(home: Path) -> None:
    (home / "run" / "state.json").unlink(missing_ok=True)


def read(home: Path) -> State:
    """What runs on this home now, and whether it is ready."""
    running = holder(home)
    if running is None:
        return State(reason=f"nothing runs on {home}: start it with `argus up`", home=str(home))
    try:
        state = State.model_validate(read_json(home / "run" / "state.json"))
    except ValidationError:
        state = State(home=str(home))
    supervisor = RunningProcess(name="supervisor", pid=running.pid)
    reason = not_ready(state.api_url)
    return state.model_copy(
        update={
            "ready": reason is None,
            "reason": reason,
            "processes": [supervisor, *_with_descendants(state.processes)],
        }
    )


def not_ready(api_url: str | None) -> str | None:
    """What the API says is missing for a search to be answered; None when nothing is."""
    if api_url is None:
        return "it is still starting"
    try:
        http.get(f"{api_url}/readyz", "the API", timeout_s=20)
    except Unavailable as error:
        return error.detail
    return None


def _with_descendants(direct: list[RunningProcess]) -> list[RunningProcess]:
    """The processes that live, and below Ray's those that it has started, by their own names."""
    found = []
    for one in direct:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(one.pid)
            found.append(one)
            for child in process.children(recursive=True) if one.name == "ray" else []:
                with contextlib.suppress(psutil.Error):  # one that has just ended hides none of the others
                    found.append(RunningProcess(name=f"ray/{_name(child)}", pid=child.pid))
    return found


def _name(process: psutil.Process) -> str:
    """What people know it by: `raylet`, `gcs_server`, `dashboard.py`, `ray::ServeReplica:api`."""
    words = process.cmdline() or [process.name()]
    script = next((word for word in words if word.endswith(".py")), words[0])
    return Path(script.split()[0]).name if script else str(process.name())
