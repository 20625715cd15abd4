from __future__ import annotations

import subprocess
import time

import psutil

from argus_ray.local.state import RunningProcess, _with_descendants


def test_a_process_that_has_just_ended_hides_none_of_its_siblings():
    # a shell that becomes `sleep` waits for none of its children: the first stays as a zombie
    parent = subprocess.Popen(["sh", "-c", "true & sleep 60 & exec sleep 60"])
    try:
        until, seen = time.monotonic() + 60, set()
        while not {psutil.STATUS_ZOMBIE, "sleep"} <= seen:  # one has ended, and the other is what it was to become
            assert time.monotonic() < until
            children = psutil.Process(parent.pid).children()
            seen = {c.status() for c in children} | {c.name() for c in children}
        found = _with_descendants([RunningProcess(name="ray", pid=parent.pid)])
    finally:
        for child in psutil.Process(parent.pid).children():
            child.kill()
        parent.kill()
        parent.wait()

    assert "ray/sleep" in {one.name for one in found}
