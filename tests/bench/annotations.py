"""A million annotations: brought in by COPY, and read by windows of time, each against the usual way."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import psycopg

from argus_ray import rle, windows
from argus_ray.catalog import arriving
from argus_ray.catalog.arriving import Arriving
from argus_ray.catalog.statement import AsyncTx, Statement, Tx
from argus_ray.schemas.annotation import Annotation
from argus_ray.windows import Ask
from tests.bench.database import MEMBER, database
from tests.bench.measure import Line, side_by_side
from tests.bench.sizes import Sizes

HEIGHT, WIDTH = 720, 1280
WINDOW = 10_000
VIDEOS = 10
CHUNK = 10_000
A_SECOND = 10
"""Annotations that one second of video has."""


def lines(sizes: Sizes) -> list[Line]:
    """The table is full before either side of a line is measured."""
    with database() as (url, connection):
        place = _Place(connection)
        of_video = sizes.annotations // VIDEOS
        began = time.perf_counter()
        for video in place.videos:
            for first in range(0, of_video, CHUNK):
                place.bring(video, place.masks(video, first, min(CHUNK, of_video)))
        filled_s = time.perf_counter() - began
        connection.execute("analyze annotations")
        return [_imported(place, sizes, filled_s), *_read(place, url, sizes)]


class _Place:
    """A project with a label, a member and videos, into which masks come."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self.project, self.label = uuid4(), uuid4()
        given = {"p": self.project, "l": self.label, "m": MEMBER}
        for statement in (
            "insert into projects (id, name) values (%(p)s, 'bench')",
            (
                "insert into members (project_id, user_id, email, role, joined_at)"
                " values (%(p)s, %(m)s, 'bench@example.com', 'viewer', now())"
            ),
            "insert into labels (project_id, id, name, colour, prompts) values (%(p)s, %(l)s, 'car', '#000000', '{car}')",
        ):
            connection.execute(statement.encode(), given)
        self.videos = [self.new_video() for _ in range(VIDEOS)]
        rng = np.random.default_rng(0)
        self.counts = [rle.encode(mask).counts for mask in _blobs(32, rng)]

    def new_video(self) -> UUID:
        (video,) = self.connection.execute(
            "insert into videos (project_id, name, state, width, height, duration_us, size_bytes)"
            " values (%s, 'v', 'ready', %s, %s, 1000000000000, 1) returning id",
            (self.project, WIDTH, HEIGHT),
        ).fetchone() or (uuid4(),)
        return video

    def masks(self, video: UUID, first: int, count: int) -> list[Arriving]:
        """One after the other in time, so many a second."""
        return [
            Arriving(
                video, place // A_SECOND * 1_000_000, self.label, 0.25, 0.25, 0.5, 0.5, self.counts[place % 32], 4000,
                score=0.5, id=uuid4(),
            )
            for place in range(first, first + count)
        ]  # fmt: skip

    def bring(self, video: UUID, rows: Sequence[Arriving]) -> None:
        tx = Tx(self.connection)
        with self.connection.transaction():
            arriving.copy(tx, rows)
            tx.run(arriving.insert(self.project, None, None))


def _blobs(count: int, rng: np.random.Generator) -> Any:
    """Ellipses, bool [count, HEIGHT, WIDTH]."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    middle = rng.uniform((200, 300), (500, 900), (count, 2))
    radii = rng.uniform(20, 150, (count, 2))
    return np.stack(
        [((y - my) / ry) ** 2 + ((x - mx) / rx) ** 2 < 1 for (my, mx), (ry, rx) in zip(middle, radii, strict=True)]
    )


def _imported(place: _Place, sizes: Sizes, filled_s: float) -> Line:
    """So many rows into the table that is full: both sides with all its indexes, references, triggers and audit."""
    count = sizes.imported
    columns = "project_id, video_id, pts_us, id, label_id, kind, x, y, w, h, counts, area_px, score, source, state"
    slots = ", ".join(["%s"] * 15)

    def usual() -> None:
        video = place.new_video()
        rows = place.masks(video, 0, count)
        with place.connection.transaction(), place.connection.cursor() as cursor:
            cursor.executemany(
                f"insert into annotations ({columns}) values ({slots})".encode(),
                [
                    (place.project, r.video_id, r.pts_us, r.id, r.label_id, r.kind, r.x, r.y, r.w, r.h, r.counts, r.area_px,
                     r.score, r.source, r.state) for r in rows
                ],
            )  # fmt: skip

    def ours() -> None:
        video = place.new_video()
        place.bring(video, place.masks(video, 0, count))

    peer, argus = side_by_side(usual, ours, rounds=sizes.long_rounds)
    return Line(
        "A1",
        f"annotations: {count:,} masks into a table of {sizes.annotations:,}",
        f"{count / argus.wall_s:,.0f} rows/s",
        f"executemany of inserts: {count / peer.wall_s:,.0f} rows/s",
        peer.wall_s / argus.wall_s,
        2,
        f"the first {sizes.annotations:,} came at {sizes.annotations / filled_s:,.0f} rows/s; both sides keep every index, "
        "reference and trigger",
    )


def _read(place: _Place, url: str, sizes: Sizes) -> list[Line]:
    """A window in the middle of a video, as a member: against reading the video and leaving out, and against rows that go
    through models into JSON.
    """
    of_video = sizes.annotations // VIDEOS
    middle_us = of_video // A_SECOND // 2 * 1_000_000
    window = min(WINDOW, of_video // 4 // A_SECOND * A_SECOND)
    ask = Ask(place.project, place.videos[VIDEOS // 2], middle_us, middle_us + window // A_SECOND * 1_000_000)
    claims = json.dumps({"role": "authenticated", "sub": str(MEMBER)})

    async def as_member(work: Any) -> Any:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection, connection.transaction():
            await connection.execute("set search_path = argus, extensions")
            await connection.execute("set local role authenticated")
            await connection.execute("select set_config('request.jwt.claims', %s, true)", (claims,))

            async def begin() -> Any:
                return connection

            return await work(AsyncTx(begin))

    async def ours(tx: AsyncTx) -> bytes:
        part = await windows.read(tx, ask, None, WINDOW)
        return f'{{"items":[{",".join(part.items)}]}}'.encode()

    async def rows(tx: AsyncTx, where: str = "") -> bytes:
        text = (
            "select a.*, case when a.x is not null then jsonb_build_object('x', a.x, 'y', a.y, 'w', a.w, 'h', a.h) end as box,"
            " jsonb_build_object('size', jsonb_build_array(v.height, v.width), 'counts', a.counts) as mask"
            " from annotations a join videos v on v.project_id = a.project_id and v.id = a.video_id"
            f" where a.project_id = %(p)s and a.video_id = %(v)s and a.deleted_at is null {where} order by a.pts_us, a.id"
        )
        query: Any = Statement(dict, text, p=ask.project_id, v=ask.video_id, a=ask.from_us, b=ask.to_us)  # type: ignore[arg-type]  # no literal
        found = [one for one in await tx.all(query) if ask.from_us <= one["pts_us"] < ask.to_us]  # type: ignore[operator]  # both are given
        return f'{{"items":[{",".join(Annotation.model_validate(one).model_dump_json() for one in found)}]}}'.encode()

    async def modelled(tx: AsyncTx) -> bytes:
        return await rows(tx, "and a.pts_us >= %(a)s and a.pts_us < %(b)s")

    answers = [json.loads(asyncio.run(as_member(way))) for way in (ours, modelled)]
    assert len(answers[0]["items"]) == len(answers[1]["items"]) == window
    ways = (modelled, rows, ours)
    models, whole, mine = side_by_side(*(partial(_run, as_member, way) for way in ways), rounds=sizes.rounds)
    name = f"annotations: {window:,} of {of_video:,} masks of a video read, of {sizes.annotations:,}"
    told = f"{mine.wall_s * 1e3:.0f} ms"
    return [
        Line(
            "A2",
            name,
            told,
            f"rows into models into JSON: {models.wall_s * 1e3:.0f} ms",
            models.wall_s / mine.wall_s,
            2,
        ),
        Line("A3", name, told, f"its video whole, then left out: {whole.wall_s:,.1f} s", whole.wall_s / mine.wall_s, 8),
    ]


def _run(as_member: Any, way: Any) -> None:
    asyncio.run(as_member(way))
