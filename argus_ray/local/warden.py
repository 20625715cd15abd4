"""`python -m argus_ray.local.warden PROGRAM ARG…`: run a program that starts many processes, and let none outlive it.

Ray starts a dozen, which start others in sessions of their own, so neither a process group nor a session holds them.
The warden makes itself the parent of every orphan below it; when the program ends, when it is asked to stop, or when its
own parent dies by whatever means, it ends all that is left.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from argus_ray.local import process

GRACE_S = 8.0
"""Time for the program to end itself, and then for what is left of it."""
LOOK_S = 1.0
"""How often it looks whether its parent lives, where the kernel does not tell."""


def main(command: list[str]) -> int:
    """Run the command to its end; returns its exit code, 128 + n when signal n ended it."""
    parent = os.getppid()
    process.adopt_orphans()
    child = subprocess.Popen(command, preexec_fn=process.die_with_parent(signal.SIGTERM))  # noqa: PLW1509  one thread
    asked: list[float] = []

    def ask(*_: object) -> None:
        if not asked:
            asked.append(time.monotonic())
            child.terminate()

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask)
    while True:
        try:
            code = child.wait(LOOK_S)
            break
        except subprocess.TimeoutExpired:
            if os.getppid() != parent:
                ask()
            if asked and time.monotonic() - asked[0] > GRACE_S:
                child.kill()
    end_descendants()
    return 128 - code if code < 0 else code


def end_descendants(grace_s: float = GRACE_S) -> None:
    """End every process below this one: asked first, killed after the grace."""
    deadline = time.monotonic() + grace_s
    asked: set[int] = set()
    while left := psutil.Process().children(recursive=True):
        late = time.monotonic() > deadline
        for one in left:
            try:
                if late:
                    one.kill()
                elif one.pid not in asked:
                    asked.add(one.pid)
                    one.terminate()
            except psutil.NoSuchProcess:
                continue
        reap()
        time.sleep(0.05)


def reap() -> None:
    """Take note of the dead among our children, adopted ones too."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return


def around(*command: str | Path) -> list[str]:
    """The command line that runs a command under a warden."""
    return [sys.executable, "-m", "argus_ray.local.warden", *map(str, command)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
