"""`argus demo`: the whole of Argus in a few minutes, on drawn videos or on one's own.

Starts the embedded stack in a folder of its own, signs up, uploads through presigned URLs, ingests, listens with
Supabase's client, searches, draws what it found, and stops everything. It succeeds only when every video ended, the
first hit of every query is right by what was drawn, and progress arrived over Realtime.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import httpx
import numpy as np

from argus_ray.annotations.contact_sheet import Cell, Row, lines, sheet
from argus_ray.annotations.overlay import png
from argus_ray.client import Client, SessionAuth, sign_up
from argus_ray.client.events import Event, events
from argus_ray.errors import ArgusError, InvalidRequest
from argus_ray.schemas.frame import Hit
from argus_ray.schemas.job import ENDED
from argus_ray.schemas.project import Project
from argus_ray.schemas.video import Video, VideoState
from argus_ray.synthetic.language import Query, bare
from argus_ray.synthetic.scene import HELD_OUT
from argus_ray.synthetic.video import VideoTruth, encode_video, plan_video

FOLDER = Path("demo")
SEED = 24
VIDEOS, SECONDS, SIZE = 6, 6.0, (640, 360)
QUERIES = 6
SHEET_COLUMNS = 6


class DemoFailed(ArgusError):
    type, title = "demo-failed", "The demo did not end as it must"


class Steps:
    """Prints each step with its time, and remembers the first that failed."""

    def __init__(self) -> None:
        self.failed: str | None = None

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        click.echo(f"   … {name}", err=True)
        try:
            yield
        except BaseException:
            self.failed = self.failed or name
            raise
        click.echo(f"{time.monotonic() - began:6.1f} s  {name}")


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


def run(files: Sequence[Path]) -> None:
    """The demo, on these files or on drawn videos. Raises DemoFailed, naming the step."""
    steps = Steps()
    began = time.monotonic()
    click.echo("The demo uses the small weights that ship with Argus: they know drawn shapes only.", err=True)
    home = FOLDER.resolve() / "home"
    try:
        with _stack(home, steps) as status:
            if files:
                _own(files, status, steps)
            else:
                _drawn(status, steps)
            click.echo(f"        API docs: {status['api_url']}/docs (while it ran; `argus up` keeps it running)")
            click.echo(f"        Ray dashboard: {status['dashboard_url']}")
            click.echo(f"        files: {FOLDER.resolve()}  (data and logs in {home})")
    except ArgusError as error:
        raise DemoFailed(f"step «{steps.failed or 'begin'}»: {error.detail}") from error
    click.echo(f"{time.monotonic() - began:6.1f} s  in all")


@contextlib.contextmanager
def _stack(home: Path, steps: Steps) -> Iterator[dict[str, Any]]:
    """The stack, started as a person would start it; stopped whatever happens."""
    environment = {**os.environ, "ARGUS_HOME": str(home)}

    def argus(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "argus_ray.cli", *words], env=environment, text=True, check=False, **options
        )

    if home.exists():
        argus("down", capture_output=True)
        shutil.rmtree(home)
    try:
        with steps.step("start PostgreSQL, S3, Supabase's part, Ray, Serve with the API and SigLIP 2"):
            if argus("up", "--detach", "--demo-models", stdout=subprocess.DEVNULL).returncode != 0:
                raise DemoFailed(f"the stack did not start: see {home / 'log'}")
            status: dict[str, Any] = json.loads(argus("status", "--json", stdout=subprocess.PIPE).stdout)
        yield status
    finally:
        with steps.step("stop everything"):
            stopped = argus("down", capture_output=True)
        if stopped.returncode != 0:
            raise DemoFailed(f"the stack did not stop: {stopped.stderr}")


@contextlib.contextmanager
def _signed_up(status: dict[str, Any], steps: Steps) -> Iterator[tuple[Client, Project, Listener]]:
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


def _upload(
    argus: Client, project: Project, files: Sequence[Path], steps: Steps
) -> tuple[list[Video], dict[Path, str]]:
    videos, refused = [], {}
    with steps.step(f"upload {len(files)} videos through presigned URLs"):
        for file in files:
            try:
                videos.append(argus.videos.upload(project.id, file))
            except InvalidRequest as error:
                refused[file] = error.detail
    return videos, refused


def _ingest(argus: Client, project: Project, videos: Sequence[Video], listener: Listener, steps: Steps) -> list[Video]:
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
    click.echo(f"          {len(listener.received)} events received")
    return ended


def _drawn(status: dict[str, Any], steps: Steps) -> None:
    rng = np.random.default_rng(SEED)
    with steps.step(f"draw {VIDEOS} videos of {SECONDS:.0f} s"):
        (FOLDER / "videos").mkdir(parents=True, exist_ok=True)
        truths = {}
        for number in range(1, VIDEOS + 1):
            file = FOLDER / "videos" / f"drawn-{number}.mp4"
            truths[file.name] = plan_video(rng, SECONDS, scenes=2, size=SIZE)
            encode_video(file, truths[file.name])
    with _signed_up(status, steps) as (argus, project, listener):
        videos, refused = _upload(argus, project, [FOLDER / "videos" / name for name in truths], steps)
        ended = _ingest(argus, project, videos, listener, steps)
        with steps.step("see that every video is ready"):
            failed = [f"{video.name}: {video.reason.detail}" for video in ended if video.reason] + [*refused.values()]
            if failed:
                raise DemoFailed("; ".join(failed))
        queries = _queries(truths)
        with steps.step(f"search for {len(queries)} things and draw what was found"):
            found = [(query, argus.search(project.id, query.text).items[:SHEET_COLUMNS]) for query in queries]
            _draw_found(found, truths)
            wrong = [query.text for query, hits in found if not hits or not _right(query, hits[0], truths)]
            if wrong:
                raise DemoFailed(f"the first hit is wrong for: {', '.join(wrong)}")
    click.echo(f"          all {len(queries)} first hits are right; see {FOLDER / 'found.png'}")


def _queries(truths: dict[str, VideoTruth]) -> list[Query]:
    """Bare queries ("red car") for the largest thing of some shots, of the pairs that the weights were taught."""
    largest = [
        max(shot.scene.things, key=lambda thing: thing.size)
        for truth in truths.values()
        for shot in truth.shots
        if shot.scene.things
    ]
    taught = [thing for thing in largest if (thing.colour, thing.shape) not in HELD_OUT]
    chosen: dict[str, Query] = {}
    for thing in sorted(taught, key=lambda thing: -thing.size):
        query = bare(thing.colour, thing.shape)
        chosen.setdefault(query.text, query)
    return list(chosen.values())[:QUERIES]


def _right(query: Query, hit: Hit, truths: dict[str, VideoTruth]) -> bool:
    return any(start <= hit.pts_us < end for start, end in truths[hit.video_name].moments(query))


def _draw_found(found: Sequence[tuple[Query, Sequence[Hit]]], truths: dict[str, VideoTruth]) -> None:
    with httpx.Client(timeout=30) as http:
        rows = [
            Row(
                f"“{query.text}”",
                [
                    Cell(
                        http.get(hit.url).raise_for_status().content,
                        f"{hit.video_name} {hit.pts_us / 1e6:.1f} s  cosine {hit.score:.2f}",
                        marked=_right(query, hit, truths),
                    )
                    for hit in hits
                ],
            )
            for query, hits in found
        ]
    (FOLDER / "found.png").write_bytes(png(sheet(rows)))


def _own(files: Sequence[Path], status: dict[str, Any], steps: Steps) -> None:
    with _signed_up(status, steps) as (argus, project, listener):
        videos, refused = _upload(argus, project, files, steps)
        ended = _ingest(argus, project, videos, listener, steps)
        with steps.step("draw the frames that were kept"), httpx.Client(timeout=30) as http:
            for video in ended:
                if video.state == VideoState.READY:
                    frames = list(argus.videos.frames(video.id))
                    shown = frames[:: max(1, -(-len(frames) // (4 * SHEET_COLUMNS)))]
                    cells = [
                        Cell(http.get(str(frame.url)).raise_for_status().content, f"{frame.pts_us / 1e6:.3f} s")
                        for frame in shown
                    ]
                    picture = sheet(lines(cells, SHEET_COLUMNS, video.name))
                    (FOLDER / f"{Path(video.name).name}.png").write_bytes(png(picture))
    click.echo(f"\n{'video':40} {'state':8} {'frames':>6}  what was found")
    for video in ended:
        said = video.reason.detail if video.reason else "; ".join(warning.detail for warning in video.warnings)
        facts = (
            f"{video.width}x{video.height} {video.codec} {(video.duration_us or 0) / 1e6:.1f} s" if video.codec else ""
        )
        click.echo(
            f"{video.name[:40]:40} {video.state:8} {video.frames_kept:6}  {' · '.join(x for x in (facts, said) if x)}"
        )
    for file, reason in refused.items():
        click.echo(f"{file.name[:40]:40} {'refused':8} {0:6}  {reason}")
    click.echo(
        "\nThe demo weights know drawn shapes only: searching real pictures with them means nothing. "
        "Real weights: ARGUS_SIGLIP2_MODEL=google/siglip2-base-patch16-224 argus up"
    )
