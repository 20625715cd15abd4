"""A process as a value, started so that it never outlives Argus.

`Program` says what to run, as whom, and how it is asked to stop; `spawn` runs it. On Linux the kernel sends a child its
stop signal when the parent dies, however it died (PR_SET_PDEATHSIG), so that even SIGKILL of the supervisor leaves
nothing behind. The signal comes when the *thread* that started the child ends: start children from the main thread.

A pid alone names nobody, since pids are used again: `Identity` adds the start time and the executable, and nothing is
ever signalled that does not match all three.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TypedDict

import psutil

from argus_ray.errors import ArgusError, Unavailable

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
MAX_LOG_BYTES = 20 * 2**20


@dataclass(frozen=True)
class Program:
    """What to start and how to stop it. `check` returns when it answers as it should, else raises an ArgusError."""

    name: str
    command: Sequence[str]
    log: Path
    env: Mapping[str, str]
    check: Callable[[], None]
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout_s: float = 15
    start_timeout_s: float = 60
    cwd: Path | None = None
    user: pwd.struct_passwd | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Identity:
    """One process among all that ever had its pid."""

    pid: int
    started: float  # seconds since the epoch
    executable: str

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """None when it is gone, a zombie, or not ours to look at."""
        try:
            process = psutil.Process(pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
            return cls(pid, process.create_time(), process.exe())
        except psutil.Error:
            return None

    def alive(self) -> bool:
        now = Identity.of(self.pid)
        # the clock that start times are told by may be corrected by a second or so
        return now is not None and now.executable == self.executable and abs(now.started - self.started) < 2


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies, so that none escapes to init. Linux only."""
    if sys.platform == "linux":
        _libc().prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent(stop_signal: signal.Signals) -> Callable[[], None]:
    """What a child runs before its program: the kernel sends it this signal when its parent dies. Linux only."""
    parent, on_linux, libc = os.getpid(), sys.platform == "linux", _libc()

    def arrange() -> None:  # nothing but system calls, after a fork
        if on_linux:
            libc.prctl(PR_SET_PDEATHSIG, stop_signal, 0, 0, 0)
            if os.getppid() != parent:  # it died before the line above
                os._exit(1)

    return arrange


def spawn(program: Program, *, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    """Start it in a session of its own, its output appended to its log.

    Raises: OSError when the program cannot be executed.
    """
    with open_log(program.log) as log:
        return subprocess.Popen(
            program.command,
            stdin=stdin,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=dict(program.env),
            cwd=program.cwd,
            start_new_session=True,
            preexec_fn=die_with_parent(program.stop_signal),  # noqa: PLW1509  the only way: a change of user clears the signal, so it is set last
            **as_user(program.user),
        )


class RunAs(TypedDict, total=False):
    """The arguments of subprocess that name who a child runs as."""

    user: int
    group: int
    extra_groups: list[int]


def as_user(user: pwd.struct_passwd | None) -> RunAs:
    """Run a child as this user, without any of our groups; None runs it as ourselves."""
    return {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def open_log(path: Path) -> IO[bytes]:
    """A log opened to append, for its owner's eyes only; a long one becomes `<name>.1` first."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > MAX_LOG_BYTES:
        path.replace(path.with_name(path.name + ".1"))
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def tail(path: Path, lines: int = 15) -> str:
    """The last lines of a log, for an error's text."""
    if not path.exists():
        return "(no log was written)"
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 16_384))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])


def wait_ready(program: Program, process: subprocess.Popen[bytes]) -> None:
    """Block until it answers. Raises Unavailable with the end of its log when it died or took too long."""
    deadline = time.monotonic() + program.start_timeout_s
    while True:
        if (code := process.poll()) is not None:
            raise Unavailable(died(program, code))
        try:
            return program.check()
        except ArgusError as error:
            if time.monotonic() > deadline:
                raise Unavailable(too_slow(program, error)) from error
        time.sleep(0.05)


def too_slow(program: Program, error: ArgusError) -> str:
    return (
        f"{program.name} did not answer within {program.start_timeout_s:.0f} s ({error}): "
        f"see {program.log}\n{tail(program.log)}"
    )


def died(program: Program, code: int) -> str:
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"
    return f"{program.name} {how}: see {program.log}\n{tail(program.log)}"


def stop(program: Program, process: subprocess.Popen[bytes]) -> None:
    """Ask it to stop, wait, and kill it when it does not."""
    if process.poll() is None:
        process.send_signal(program.stop_signal)
        try:
            process.wait(program.stop_timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def marked(variable: str, value: str) -> list[psutil.Process]:
    """Every process that was started with this variable in its environment, and all below them, but for ourselves.

    Below them, since a process that has renamed itself, as Ray's workers do, has lost its environment to the eye.
    """
    found: dict[int, psutil.Process] = {}
    for one in psutil.process_iter():
        try:
            if one.pid != os.getpid() and one.environ().get(variable) == value:
                found |= {each.pid: each for each in (one, *one.children(recursive=True))}
        except psutil.Error:  # it has ended, or is another user's
            continue
    found.pop(os.getpid(), None)
    return list(found.values())


def end_all(processes: Sequence[psutil.Process], grace_s: float = 10) -> None:
    """Ask all to stop, and kill those that have not after the grace. psutil tells a pid that is used again."""
    for act in (psutil.Process.terminate, psutil.Process.kill):
        for one in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                act(one)
        _, processes = psutil.wait_procs(processes, timeout=grace_s)
