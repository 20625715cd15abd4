"""`$ARGUS_HOME`: the one folder of everything that `argus up` keeps, for its owner's eyes only.

    pg/ s3/ ray/      the data of PostgreSQL and SeaweedFS, Ray's session folders
    keys/             passwords and keys, one a file (see keys.py)
    log/              a log a process
    run/lock          held by the supervisor as long as it lives; says who that is
    run/state.json    what runs where, for `argus status`
    run/ports.json    the ports of the last start, so that addresses stay the same

Whether a stack runs is told by the lock alone, which the kernel lets go when its holder dies: a file left behind by a
crash proves nothing, and nothing is ever signalled because a file names its pid.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from argus_ray.errors import ConfigurationError, Conflict
from argus_ray.local.process import Identity


def open_home(home: Path) -> Path:
    """Make the folder, or check that it is ours and close it to others. Returns it without links.

    Raises: ConfigurationError when it belongs to another user, or is no folder.
    """
    home = home.expanduser()
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        home = home.resolve(strict=True)
    except OSError as error:
        raise ConfigurationError(
            f"ARGUS_HOME {home} cannot be used ({error.strerror}): point it at a folder of your own"
        ) from error
    found = home.stat()
    if found.st_uid != os.geteuid():
        raise ConfigurationError(
            f"ARGUS_HOME {home} belongs to uid {found.st_uid} and you are uid {os.geteuid()}: "
            f"its owner could read your keys; point ARGUS_HOME at a folder of your own"
        )
    if found.st_mode & 0o077:
        home.chmod(0o700)
    for part in ("keys", "log", "run"):
        (home / part).mkdir(mode=0o700, exist_ok=True)
    return home


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """Hold the home for this process alone. Raises: Conflict, naming the holder, when another has it."""
    descriptor = os.open(home / "run" / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while not _take(descriptor):
            if running := holder(home):
                since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(running.started))
                raise Conflict(
                    f"Argus already runs on {home}, as process {running.pid} since {since}: "
                    f"`argus status` shows it, `argus down` stops it"
                )
            time.sleep(0.02)  # somebody looked who holds it, or is about to write down that he does
        me = Identity.of(os.getpid())
        assert me is not None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(asdict(me)).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def holder(home: Path) -> Identity | None:
    """Who holds the home; None when nobody does, or for the instant in which one takes it."""
    try:
        descriptor = os.open(home / "run" / "lock", os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            found = Identity(
                **json.loads(os.pread(descriptor, 4096, 0) or b'{"pid": 0, "started": 0, "executable": ""}')
            )
            return found if found.alive() else None
        return None
    finally:
        os.close(descriptor)


def read_json(path: Path) -> dict[str, Any]:
    """What a file of `run/` says; nothing when it is not there or was damaged."""
    try:
        found = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Replace a file whole: a reader sees the old one or the new one."""
    unfinished = path.with_suffix(f".{os.getpid()}")
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(value, file, indent=1)
    unfinished.replace(path)
