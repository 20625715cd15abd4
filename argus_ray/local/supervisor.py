"""Keeps the embedded stack running: one process that owns all the others.

    lock ▶ keys ▶ postgres ▶ migrations ▶ seaweedfs ▶ local Supabase ─┐
                           Ray head (begins at once) ─────────────────┴▶ Serve applications ▶ ready

Each part has a keeper, a task that goes round until it is cancelled:

    wait for what it needs ▶ start ▶ wait until it answers ▶ settle ▶ up ─┐
        ▲                                                                 │ it died, or failed three checks in a row
        └────── stop what is left ◀ wait 1, 2, 4 … 30 s ◀─────────────────┘

`settle` is done again after a restart: migrations, the bucket and the deployment change nothing that is as it should be.

No keeper outlives SIGKILL, and none has to: the kernel tells every child when this process ends (process.py), Ray's
warden ends all that is below it (warden.py), and what is left all the same is known, at the next start, by the stack's
id in its environment.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from argus_ray.errors import ArgusError, ConfigurationError, Unavailable
from argus_ray.local import cluster, keys, process, state
from argus_ray.local.home import holder, locked, open_home
from argus_ray.local.stack import STACK_ID, Part, Stack, describe
from argus_ray.settings import Settings

CHECK_EVERY_S, FAILED_CHECKS = 5.0, 3
LOOK_EVERY_S = 0.2
LONGEST_WAIT_S = 30.0
STEADY_S = 60.0
"""A part that was up this long begins with the shortest wait when it dies."""
FIRST_TRIES = 3
"""Starts of a part that was never up, before the whole gives up."""
READY_WITHIN_S = 120.0

Report = Callable[[str, str], None]
"""Told (part, what happened to it), for people to read."""


def run(
    settings: Settings,
    report: Report,
    on_ready: Callable[[state.State], None],
    applications: Sequence[cluster.Application] = cluster.APPLICATIONS,
) -> None:
    """Run the stack until SIGINT, SIGTERM or SIGHUP, then stop it in order. Call it on the main thread.

    Raises: Conflict when another process runs this home; ConfigurationError when a setting is wrong; Unavailable when a
    part cannot be started. Nothing is left running then either.
    """
    home = open_home(settings.home)
    with locked(home):
        secrets = keys.load(home)
        end_leftovers(secrets.stack_id, report)
        cluster.clear_sessions(home)
        stack = describe(home, settings, secrets, applications)
        try:
            asyncio.run(supervise(stack, report, on_ready))
        finally:
            state.clear(home)


def end_leftovers(stack_id: str, report: Report) -> int:
    """End every process of this stack whose supervisor is gone; returns how many. The caller holds the home's lock."""
    left = process.marked(STACK_ID, stack_id)
    if left:
        report("supervisor", f"ending {len(left)} processes that an earlier start left behind")
        process.end_all(left)
    return len(left)


def stop(home: Path, report: Report, timeout_s: float = 90) -> bool:
    """Have the stack of this home stopped, and wait until nothing of it is left; returns whether there was any.

    Raises: Unavailable when it does not stop in time.
    """
    if not home.exists():
        return False
    home = open_home(home)
    running = holder(home)
    if running is not None:
        os.kill(running.pid, signal.SIGTERM)  # the lock tells that it lives, and which pid it has
        deadline = time.monotonic() + timeout_s
        # the lock goes with its end, an instant before the process does
        while holder(home) == running or running.alive():
            if time.monotonic() > deadline:
                raise Unavailable(f"process {running.pid} has not stopped within {timeout_s:.0f} s: see {home / 'log'}")
            time.sleep(LOOK_EVERY_S)
    with locked(home):
        return end_leftovers(keys.load(home).stack_id, report) > 0 or running is not None


async def supervise(stack: Stack, report: Report, on_ready: Callable[[state.State], None]) -> None:
    """Start a stack, keep it running until this process is asked to stop, and stop it in the reverse order.

    Raises: ConfigurationError, or Unavailable when a part that was never up fails FIRST_TRIES times.
    """
    await _Supervision(stack, report, on_ready).run()


class _Supervision:
    def __init__(self, stack: Stack, report: Report, on_ready: Callable[[state.State], None]) -> None:
        self.stack, self.report, self.on_ready = stack, report, on_ready
        self.up = {part.name: asyncio.Event() for part in stack.parts}
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.asked_to_stop = asyncio.Event()
        self.hurry = self.started = False

    async def run(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self._ask_to_stop)
        keepers = [asyncio.create_task(self._keep(part)) for part in self.stack.parts]
        waiting = {asyncio.create_task(self._become_ready()), asyncio.create_task(self.asked_to_stop.wait()), *keepers}
        try:
            while not self.asked_to_stop.is_set():
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            for task in waiting.difference(keepers):
                task.cancel()
            for keeper in reversed(keepers):
                keeper.cancel()
                await asyncio.wait([keeper])

    def _ask_to_stop(self) -> None:
        self.hurry = self.asked_to_stop.is_set()  # asked twice: no grace
        self.asked_to_stop.set()

    async def _become_ready(self) -> None:
        for up in self.up.values():
            await up.wait()
        await self.stack.finish()
        deadline = time.monotonic() + READY_WITHIN_S
        while reason := await asyncio.to_thread(self.stack.not_ready):
            if time.monotonic() > deadline:
                raise Unavailable(f"everything runs, but a search would not be answered: {reason}")
            await asyncio.sleep(LOOK_EVERY_S)
        self.started = True
        self._publish()
        self.on_ready(self._state())

    async def _keep(self, part: Part) -> None:
        """The circle of one part; see the module."""
        failures, was_up = 0, False
        while True:
            await self._others_up(part.needs)
            started = time.monotonic()
            try:
                await self._live(part)
            except ArgusError as error:
                was_up = was_up or self.up[part.name].is_set()
                failures = 1 if self.up[part.name].is_set() and time.monotonic() - started > STEADY_S else failures + 1
                if not was_up and (failures >= FIRST_TRIES or isinstance(error, ConfigurationError)):
                    raise
                self.report(part.name, f"{error.detail.splitlines()[0]} (next start in {self._wait_s(failures):.0f} s)")
            finally:
                self.up[part.name].clear()
                await self._stop(part)
            await asyncio.sleep(self._wait_s(failures))

    @staticmethod
    def _wait_s(failures: int) -> float:
        return min(2.0 ** (failures - 1), LONGEST_WAIT_S)

    async def _live(self, part: Part) -> None:
        """Start a part and stay with it until it fails, which is raised."""
        self.report(part.name, "starting")
        began = time.monotonic()
        try:
            child = self.children[part.name] = process.spawn(part.program)
        except OSError as error:
            raise ConfigurationError(f"{part.name} cannot be executed ({error}): reinstall argus-ray[local]") from error
        self._publish()
        await self._answer(part, child)

        async def settle() -> None:
            await self._others_up(part.settle_needs)
            await part.settle()

        await _first_of(settle(), self._watch(part, child))
        self.up[part.name].set()
        self.report(part.name, f"ready in {time.monotonic() - began:.1f} s")
        await self._watch(part, child)

    async def _others_up(self, names: Sequence[str]) -> None:
        for name in names:
            await self.up[name].wait()

    async def _answer(self, part: Part, child: subprocess.Popen[bytes]) -> None:
        """Wait until it answers for the first time."""
        deadline = time.monotonic() + part.program.start_timeout_s
        while True:
            self._raise_if_dead(part, child)
            try:
                return await asyncio.to_thread(part.program.check)
            except ArgusError as error:
                if time.monotonic() > deadline:
                    raise Unavailable(process.too_slow(part.program, error)) from error
            await asyncio.sleep(LOOK_EVERY_S)

    async def _watch(self, part: Part, child: subprocess.Popen[bytes]) -> None:
        """Return never: raise when it is dead, or has not answered FAILED_CHECKS times in a row."""
        failed, next_check = 0, time.monotonic() + CHECK_EVERY_S
        while True:
            self._raise_if_dead(part, child)
            if time.monotonic() > next_check:
                try:
                    await asyncio.to_thread(part.program.check)
                    failed = 0
                except ArgusError:
                    failed += 1
                    if failed == FAILED_CHECKS:
                        raise
                next_check = time.monotonic() + CHECK_EVERY_S
            await asyncio.sleep(LOOK_EVERY_S)

    @staticmethod
    def _raise_if_dead(part: Part, child: subprocess.Popen[bytes]) -> None:
        if (code := child.poll()) is not None:
            raise Unavailable(process.died(part.program, code))

    async def _stop(self, part: Part) -> None:
        """Ask a part to stop, and kill it when it does not, or at once when we are asked twice."""
        child = self.children.pop(part.name, None)
        if child is None:
            return
        if child.poll() is None:
            self.report(part.name, "stopping")
            child.send_signal(part.program.stop_signal)
        deadline = time.monotonic() + part.program.stop_timeout_s
        while child.poll() is None:
            if self.hurry or time.monotonic() > deadline:
                child.kill()
            await asyncio.sleep(0.02)
        self._publish()

    def _state(self) -> state.State:
        settings = self.stack.settings
        return state.State(
            started=self.started,
            home=str(self.stack.home),
            api_url=settings.public_url,
            dashboard_url=settings.ray_dashboard_url,
            supabase_url=settings.supabase_url,
            publishable_key=settings.secret("publishable_key"),
            s3_endpoint=settings.s3_endpoint,
            processes=[state.RunningProcess(name=name, pid=child.pid) for name, child in self.children.items()],
        )

    def _publish(self) -> None:
        state.write(self.stack.home, self._state())


async def _first_of(*work: Coroutine[Any, Any, None]) -> None:
    """Run all until the first one ends, and end as it did."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
