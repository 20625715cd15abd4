"""Whoever comes to the demo: signs up, listens, uploads, and waits for the ingest."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from argus_ray.cli.demonstration.steps import DemoFailed, Steps, tell
from argus_ray.client import Client, SessionAuth, sign_up
from argus_ray.client.events import Event, events
from argus_ray.errors import InvalidRequest
from argus_ray.schemas.job import ENDED
from argus_ray.schemas.project import Project
from argus_ray.schemas.video import Video, VideoState


@dataclass
class Listener:
    """Collects a project's events in a thread of its own."""

    session: SessionAuth
    project: Project
    received: list[Event] = field(default_factory=list)
    _ready: threading.Event = field(default_factory=threading.Event)
    _failure: list[BaseException] = field(default_factory=list)

    def start(self) -> None:
        """Returns once Realtime has let the listener in."""
        threading.Thread(target=self._run, daemon=True, name="listener").start()
        if not self._ready.wait(30) or self._failure:
            raise DemoFailed(f"Realtime did not let the demo in: {self._failure or 'no answer in 30 s'}")

    def _run(self) -> None:
        try:
            asyncio.run(self._listen())
        except Exception as error:  # noqa: BLE001  # handed to the thread that waits
            self._failure.append(error)
            self._ready.set()

    async def _listen(self) -> None:
        async with events(self.session, self.project.id) as queue:
            self._ready.set()
            while True:
                self.received.append(await queue.get())

    def heard(self, video: Video) -> set[str]:
        """The states of a video that were told."""
        return {
            event.payload["state"]
            for event in list(self.received)
            if event.kind == "video" and event.payload["id"] == str(video.id)
        }


@contextlib.contextmanager
def signed_up(status: dict[str, Any], steps: Steps) -> Iterator[tuple[Client, Project, Listener]]:
    with steps.step("sign up, make a project, listen to it with Supabase's client"):
        credentials = sign_up(
            status["supabase_url"],
            status["publishable_key"],
            f"demo-{secrets.token_hex(4)}@example.com",
            secrets.token_urlsafe(16),
        )
        session = SessionAuth(credentials)
        argus = Client(status["api_url"], session)
        project = argus.projects.create("Demo")
        listener = Listener(session, project)
        listener.start()
    with argus:
        yield argus, project, listener


def upload(argus: Client, project: Project, files: Sequence[Path], steps: Steps) -> tuple[list[Video], dict[Path, str]]:
    videos, refused = [], {}
    with steps.step(f"upload {len(files)} videos through presigned URLs"):
        for file in files:
            try:
                videos.append(argus.videos.upload(project.id, file))
            except InvalidRequest as error:
                refused[file] = error.detail
    return videos, refused


def ingest(argus: Client, project: Project, videos: Sequence[Video], listener: Listener, steps: Steps) -> list[Video]:
    with steps.step("ingest: keep frames, embed them with SigLIP 2"):
        for job in list(argus.jobs.list(project.id)):
            if job.state not in ENDED:
                argus.jobs.wait(job.id, timeout_s=1800)
        ended = [argus.videos.get(video.id) for video in videos]
        unended = [video.name for video in ended if video.state not in {VideoState.READY, VideoState.FAILED}]
        if unended:
            raise DemoFailed(f"not ended: {', '.join(unended)}")
    with steps.step("hear of it over Realtime"):
        end = time.monotonic() + 15
        while not all(video.state in listener.heard(video) for video in ended):
            if time.monotonic() > end:
                raise DemoFailed(f"Realtime told {len(listener.received)} events, and not the end of every video")
            time.sleep(0.1)
    tell(f"{len(listener.received)} events received")
    return ended
