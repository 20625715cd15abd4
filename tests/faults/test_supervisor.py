"""kill -9 of what holds the stack together, on a stack without applications."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import psycopg
import pytest

from argus_ray.local import keys, postgres, process, supervisor
from argus_ray.local.home import read_json
from argus_ray.local.stack import STACK_ID

pytestmark = pytest.mark.faults

UP = """
from argus_ray.local import supervisor
from argus_ray.settings import Settings
supervisor.run(Settings(), lambda part, what: print(part, what, flush=True), lambda state: print("READY", flush=True), ())
"""


class Running:
    """A stack in a process of its own."""

    def __init__(self, home: Path) -> None:
        self.home, self.log = home, home / "up.log"
        self.log.write_text("")
        with self.log.open("a") as log:
            env = os.environ | {"ARGUS_HOME": str(home)}
            self.supervisor = subprocess.Popen([sys.executable, "-c", UP], env=env, stdout=log, stderr=log)
        self.until(lambda: "READY" in self.log.read_text(), 120)

    def until(self, condition, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert self.supervisor.poll() is None or timeout_s < 60, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)  # between two looks

    def pid(self, name: str) -> int | None:
        found = read_json(self.home / "run" / "state.json").get("processes", [])
        return next((one["pid"] for one in found if one["name"] == name), None)

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.supervisor.pid).children(recursive=True)

    def owner_url(self) -> str:
        port = read_json(self.home / "run" / "ports.json")["postgres"]
        return postgres.url(port, keys.load(self.home).postgres_password)


@pytest.fixture(scope="module")
def home():
    folder = Path(tempfile.mkdtemp(prefix="argus-"))
    yield folder
    supervisor.stop(folder, lambda *_: None)
    shutil.rmtree(folder)


def test_killed_parts_come_back_a_killed_supervisor_leaves_nothing_and_the_next_start_has_the_data(home):
    running = Running(home)
    with psycopg.connect(running.owner_url()) as connection:
        connection.execute("create table kept as select 42 as answer")

    for name in ("postgres", "seaweedfs", "supabase"):
        killed = running.pid(name)
        os.kill(killed, signal.SIGKILL)
        running.until(lambda name=name, killed=killed: running.pid(name) not in (None, killed), 30)
    running.until(lambda: running.log.read_text().count("postgres ready in") == 2, 30)

    family = running.family()
    assert len(family) > 10
    running.supervisor.kill()
    running.supervisor.wait()
    _, left = psutil.wait_procs(family, timeout=20)
    assert left == []
    assert process.marked(STACK_ID, keys.load(home).stack_id) == []

    again = Running(home)
    with psycopg.connect(again.owner_url()) as connection:
        assert connection.execute("select answer from kept").fetchone() == (42,)

    # now together with the warden, which else would have cleaned up
    family = again.family()
    for pid in (again.pid("ray"), again.supervisor.pid):
        os.kill(pid, signal.SIGKILL)
    again.supervisor.wait()
    _, left = psutil.wait_procs(family, timeout=30)
    assert left == []
