"""What type checkers see of the client: parameters and answers of each method, though each is written once."""

from __future__ import annotations

from pathlib import Path

from mypy import api

PROGRAM = """
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, assert_type
from uuid import UUID

from argus_ray.client import AsyncClient, Client
from argus_ray.schemas.frame import Frame, Hit, SearchAnswer
from argus_ray.schemas.job import Job
from argus_ray.schemas.project import Project, Role
from argus_ray.schemas.video import Video, VideoState

def sync(argus: Client, it: UUID) -> None:
    assert_type(argus.projects.create("name"), Project)
    assert_type(argus.projects.list(), Iterator[Project])
    assert_type(argus.videos.get(it), Video)
    assert_type(argus.videos.list(it, state=VideoState.READY, name="a"), Iterator[Video])
    assert_type(argus.videos.frames(it, from_us=1), Iterator[Frame])
    assert_type(argus.videos.upload(it, "a.mp4"), Video)
    assert_type(argus.jobs.wait(it), Job)
    assert_type(argus.search(it, "red car"), SearchAnswer)
    assert_type(argus.hits(it, "red car"), Iterator[Hit])
    argus.members.invite(it, "a@example.org", Role.VIEWER)

async def aio(argus: AsyncClient, it: UUID) -> None:
    assert_type(await argus.projects.create("name"), Project)
    assert_type(argus.projects.list(), AsyncIterator[Project])
    assert_type(await argus.videos.upload(it, "a.mp4"), Video)
    assert_type(await argus.jobs.wait(it), Job)
    assert_type(await argus.search(it, "red car"), SearchAnswer)
    async for hit in argus.hits(it, "red car"):
        assert_type(hit, Hit)

def wrong(argus: Client, it: UUID) -> None:
    argus.projects.create(17)
    argus.videos.list(it, colour="red")
    argus.members.invite(it)
"""


def test_methods_keep_the_parameters_and_answers_of_their_calls(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    first = 1 + PROGRAM[: PROGRAM.index("def wrong")].count("\n")

    out, err, _ = api.run(
        ["--strict", "--no-error-summary", "--hide-error-context", "--cache-dir", str(tmp_path), str(program)]
    )

    lines = [int(line.split(":")[1]) for line in out.splitlines() if ": error:" in line]
    assert lines == [first + 1, first + 2, first + 3], out + err
