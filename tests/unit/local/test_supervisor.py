"""The keepers, over small real programs: what starts when, what is started again, what stops everything."""

import asyncio
import functools
import os
import signal
import time
from pathlib import Path

import pytest

from argus_ray.errors import Unavailable
from argus_ray.local import supervisor
from argus_ray.local.home import open_home, read_json
from argus_ray.local.process import Program
from argus_ray.local.stack import Part, Stack
from argus_ray.settings import Settings

WRITES = "echo $$ > {mark}; exec sleep 60"


class Supervised:
    """A stack under supervision in this process, and what was reported of it."""

    def __init__(self, home: Path, *parts: Part) -> None:
        self.home, self.reports = home, []
        self.stack = Stack(home, Settings(), parts, not_ready=lambda: None)
        self.ready = asyncio.Event()

    def pid(self, name: str) -> int | None:
        found = read_json(self.home / "run" / "state.json").get("processes", [])
        return next((one["pid"] for one in found if one["name"] == name), None)

    async def until(self, condition) -> None:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110  what it waits for happens in other processes
                await asyncio.sleep(0.02)

    async def run(self, story=None) -> None:
        """Supervise until the story is told, then ask to stop as Ctrl-C does."""
        task = asyncio.create_task(
            supervisor.supervise(
                self.stack, lambda part, what: self.reports.append((part, what)), lambda _: self.ready.set()
            )
        )
        if story:
            await story(self)
            os.kill(os.getpid(), signal.SIGINT)
        await task


def check_file(path: Path) -> None:
    if not path.exists():
        raise Unavailable(f"there is no {path.name}")


@pytest.fixture
def part(tmp_path):
    home = open_home(tmp_path)

    def build(name: str, script: str = WRITES, **more) -> Part:
        mark = home / name
        program = Program(
            name=name,
            command=["/bin/sh", "-c", script.format(mark=mark)],
            log=home / "log" / name,
            env={},
            check=functools.partial(check_file, mark),
            start_timeout_s=2,
        )
        return Part(program, **more)

    return build


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(supervisor, "CHECK_EVERY_S", 0.05)
    monkeypatch.setattr(supervisor, "LOOK_EVERY_S", 0.02)


def test_a_part_starts_after_what_it_needs_and_stops_before_it(part, tmp_path):
    supervised = Supervised(tmp_path, part("first"), part("second", needs=("first",)))
    asyncio.run(supervised.run(lambda s: s.ready.wait()))
    starts = [name for name, what in supervised.reports if what == "starting"]
    stops = [name for name, what in supervised.reports if what == "stopping"]
    assert starts == ["first", "second"]
    assert stops == ["second", "first"]
    assert supervised.pid("first") is None


def test_a_part_that_is_killed_is_started_again_and_settled_again(part, tmp_path):
    settled = []

    async def settle() -> None:
        settled.append(time.monotonic())

    async def story(s: Supervised) -> None:
        await s.ready.wait()
        killed = s.pid("db")
        os.kill(killed, signal.SIGKILL)
        await s.until(lambda: s.pid("db") not in (None, killed) and len(settled) == 2)

    supervised = Supervised(tmp_path, part("db", settle=settle))
    asyncio.run(supervised.run(story))
    assert any("was killed by SIGKILL" in what for _, what in supervised.reports)


def test_a_part_that_runs_but_does_not_answer_is_replaced(part, tmp_path):
    async def story(s: Supervised) -> None:
        await s.ready.wait()
        hung = s.pid("db")
        (tmp_path / "db").unlink()
        await s.until(lambda: s.pid("db") not in (None, hung) and (tmp_path / "db").exists())

    asyncio.run(Supervised(tmp_path, part("db")).run(story))


def test_a_part_that_never_comes_up_stops_everything_and_shows_its_last_words(part, tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "LONGEST_WAIT_S", 0.01)
    supervised = Supervised(tmp_path, part("good"), part("bad", "echo the disk is full; exit 3"))
    with pytest.raises(Unavailable, match=r"bad exited with code 3(.|\n)*the disk is full"):
        asyncio.run(supervised.run())
    assert supervised.pid("good") is None
    assert (
        len([what for name, what in supervised.reports if (name, what) == ("bad", "starting")])
        == supervisor.FIRST_TRIES
    )


def test_a_part_that_ignores_the_signal_is_killed_when_asked_a_second_time(part, tmp_path):
    async def story(s: Supervised) -> None:
        await s.ready.wait()
        os.kill(os.getpid(), signal.SIGINT)
        await s.until(lambda: ("deaf", "stopping") in s.reports)

    began = time.monotonic()
    stubborn = part("deaf", "trap '' TERM; echo $$ > {mark}; while true; do sleep 1; done")
    asyncio.run(Supervised(tmp_path, stubborn).run(story))
    assert time.monotonic() - began < stubborn.program.stop_timeout_s
