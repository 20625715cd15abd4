"""Lines 7 to 9: vectors into Postgres, search in it, and its queue, each against the usual way."""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import procrastinate
import psycopg
from numpy.typing import NDArray

from argus_ray.catalog import embeddings, fold, frames, ingest, models, runs, search, segments
from argus_ray.catalog.bell import Bell
from argus_ray.catalog.connect import Database
from argus_ray.catalog.migrate import migrate
from argus_ray.catalog.search import literal
from argus_ray.catalog.statement import Tx
from argus_ray.local import postgres
from argus_ray.schemas.frame import SearchFilter
from argus_ray.schemas.model import EmbeddingModel
from tests.bench.measure import Line, side_by_side
from tests.bench.sizes import Sizes

DIM = 768
MEMBER = UUID("00000000-0000-4000-8000-000000000001")


@contextmanager
def database() -> Iterator[tuple[str, psycopg.Connection[Any]]]:
    """The owner's URL of a migrated database on a server of its own, durable as in production, and a connection."""
    with tempfile.TemporaryDirectory(prefix="argus-bench-") as home:
        server = postgres.start(Path(home))
        try:
            migrate(server.url_owner)
            with psycopg.connect(server.url_owner, autocommit=True) as connection:
                connection.execute("set search_path = argus, extensions")
                yield server.url_owner, connection
        finally:
            server.stop()


# -- line 7 ----------------------------------------------------------------------------------------


def write_vectors(sizes: Sizes) -> list[Line]:
    """Upserts of new rows, from numpy arrays: text literals by `executemany`, against COPY of their bytes.

    Printing the numbers is part of the usual way, as is naming the frames of ours.
    """
    rows = sizes.written
    vectors = _clustered(rows, sizes.clusters, np.random.default_rng(0))
    ones, pts_us = np.ones(rows, np.int32), np.arange(rows, dtype=np.int64)
    firsts = itertools.count(0, rows)
    with database() as (_, connection):
        tx, model = Tx(connection), _model(connection, "write")
        project = uuid4()
        connection.execute("create table usual (id bigint primary key, embedding halfvec)")

        def usual() -> None:
            first = next(firsts)
            with connection.transaction(), connection.cursor() as cursor:
                cursor.executemany(
                    "insert into usual values (%s, %s) on conflict (id) do update set embedding = excluded.embedding",
                    [(first + place, str(vector.tolist())) for place, vector in enumerate(vectors)],
                )

        def ours() -> None:
            video = uuid4()
            arriving = frames.Arriving(pts_us, ones, ones, ones, vectors.astype(np.float16))
            with connection.transaction():
                frames.copy(tx, video, arriving)
                tx.run(embeddings.upsert(project, video, model_number=model.number))

        peer, argus = side_by_side(usual, ours, rounds=sizes.rounds)
    return [
        Line(
            "7",
            f"write-vectors: {rows:,} of {DIM} numbers",
            f"{rows / argus.wall_s:,.0f} rows/s",
            f"executemany, text literals: {rows / peer.wall_s:,.0f} rows/s",
            peer.wall_s / argus.wall_s,
            30,
        )
    ]


# -- line 8 ----------------------------------------------------------------------------------------


def search_vectors(sizes: Sizes) -> list[Line]:
    """Our index on signs with exact ranking, asked by a member under row-level security, against pgvector's default HNSW
    on `vector` in a plain table, asked by its owner.
    """
    with database() as (_, connection):
        return _search(sizes, connection)


def _search(sizes: Sizes, connection: psycopg.Connection[Any]) -> list[Line]:
    searched = sizes.searched
    rng = np.random.default_rng(1)
    vectors = _clustered(searched, sizes.clusters, rng)
    chosen = vectors[rng.choice(searched, sizes.queries, replace=False)]
    queries = chosen + rng.normal(0, 0.2 / DIM**0.5, chosen.shape)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    truth = [set(np.argpartition(-(vectors @ query), 10)[:10].tolist()) for query in queries]

    big, small = uuid4(), uuid4()
    model = _model(connection, "search")
    _fill(connection, model, big, vectors)
    _fill(connection, model, small, vectors[: sizes.tenant])
    connection.execute(f"create table usual (id bigint primary key, project_id uuid, embedding vector({DIM}))".encode())
    connection.execute(
        "insert into usual select pts_us + case project_id when %s then 0 else %s end, project_id, embedding::vector "
        "from embeddings where model_number = %s order by 1",
        (big, searched, model.number),
    )
    connection.execute("set maintenance_work_mem = '1GB'")

    ours = f"embeddings_{model.number}_indexed"
    connection.execute(f"drop index {ours[:-8]}_hnsw".encode())
    ours_build_s = _timed(
        connection,
        f"create index {ours[:-8]}_hnsw on {ours} using hnsw ((binary_quantize(embedding)::bit({DIM})) bit_hamming_ops)",
    )
    usual_build_s = _timed(connection, "create index usual_hnsw on usual using hnsw (embedding vector_cosine_ops)")
    connection.execute("analyze")
    (ours_bytes,) = connection.execute(f"select pg_relation_size('{ours[:-8]}_hnsw')".encode()).fetchone() or (0,)
    (usual_bytes,) = connection.execute("select pg_relation_size('usual_hnsw')").fetchone() or (0,)

    tx = Tx(connection)
    claims = json.dumps({"role": "authenticated", "sub": str(MEMBER)})

    def argus(project: UUID, query: NDArray[Any], *, exact: bool) -> list[int]:
        with connection.transaction():
            connection.execute("set local role authenticated")
            connection.execute("select set_config('request.jwt.claims', %s, true)", (claims,))
            if exact:
                found = tx.all(search.exact(model, project, SearchFilter(), query.tolist()))
            else:
                tx.one(search.widen_index_scan())
                found = tx.all(search.indexed(model, project, SearchFilter(), query.tolist()))
        return [neighbour.pts_us for neighbour in found[:10]]

    def usual(project: UUID | None, query: NDArray[Any], ef: int) -> list[int]:
        with connection.transaction():
            connection.execute("select set_config('hnsw.ef_search', %s, true)", (str(ef),))
            connection.execute("set local hnsw.iterative_scan = 'relaxed_order'")
            rows = connection.execute(
                "select id from usual where %(project)s::uuid is null or project_id = %(project)s "
                "order by embedding <=> %(query)s::vector limit 10",
                {"project": project, "query": literal(query.tolist())},
            )
            return [row[0] for row in rows]

    def recall(find: Any) -> float:
        return statistics.mean(len(truth[i] & set(find(query))) / 10 for i, query in enumerate(queries))

    ours_recall = recall(lambda query: argus(big, query, exact=False))
    ef, usual_recall = next(
        (ef, reached)
        for ef in (40, 80, 120, 200, 400, 800)
        if (reached := recall(lambda query, ef=ef: usual(big, query, ef))) >= 0.95 or ef == 800
    )
    peer, mine = _p50s(lambda q: usual(big, q, ef), lambda q: argus(big, q, exact=False), queries)
    tenant_peer, tenant_mine = _p50s(lambda q: usual(small, q, ef), lambda q: argus(small, q, exact=True), queries)
    note = f"recall@10 {ours_recall:.3f} against {usual_recall:.3f} at ef_search {ef}"
    return [
        Line(
            "8a",
            "search: bytes of the index",
            f"{ours_bytes / searched:,.0f} B/row",
            f"HNSW on vector: {usual_bytes / searched:,.0f} B/row",
            ours_bytes / usual_bytes,
            0.2,
            note,
            smaller_is_better=True,
        ),
        Line(
            "8b",
            "search: building it",
            f"{ours_build_s:.1f} s",
            f"HNSW on vector: {usual_build_s:.1f} s",
            ours_build_s / usual_build_s,
            0.6,
            smaller_is_better=True,
        ),
        Line("8c", "search: recall@10", f"{ours_recall:.3f}", f"HNSW on vector: {usual_recall:.3f}", ours_recall, 0.95),
        Line(
            "8d",
            "search: p50",
            f"{mine * 1e3:.1f} ms for the best {search.CANDIDATES}",
            f"HNSW on vector, best 10: {peer * 1e3:.1f} ms",
            mine / peer,
            1.0,
            smaller_is_better=True,
        ),
        Line(
            "8e",
            "search: p50 in a small project",
            f"{tenant_mine * 1e3:.2f} ms, exact",
            f"iterative scan: {tenant_peer * 1e3:.2f} ms",
            tenant_mine / tenant_peer,
            0.1,
            smaller_is_better=True,
        ),
    ]


def _p50s(peer: Any, mine: Any, queries: NDArray[Any]) -> tuple[float, float]:
    """Seconds, the two in turn for every query."""
    times: tuple[list[float], list[float]] = ([], [])
    for query in queries:
        for find, taken in ((peer, times[0]), (mine, times[1])):
            began = time.perf_counter()
            find(query)
            taken.append(time.perf_counter() - began)
    return statistics.median(times[0]), statistics.median(times[1])


def _timed(connection: psycopg.Connection[Any], statement: str) -> float:
    began = time.perf_counter()
    connection.execute(statement.encode())
    return time.perf_counter() - began


def _fill(
    connection: psycopg.Connection[Any], model: EmbeddingModel, project: UUID, vectors: NDArray[np.float32]
) -> None:
    """A ready video of these vectors, folded into the indexed part, as fold leaves them."""
    (video,) = connection.execute(
        "with p as (insert into projects (id, name) values (%(project)s, 'bench') returning id), "
        "m as (insert into members (project_id, user_id, email, role, joined_at) "
        "      select id, %(member)s, 'bench@example.com', 'viewer', now() from p) "
        "insert into videos (project_id, name, state, uploaded_at) select id, 'bench', 'ready', now() from p returning id",
        {"project": project, "member": MEMBER},
    ).fetchone() or (uuid4(),)
    tx = Tx(connection)
    for first in range(0, len(vectors), 10_000):
        part = vectors[first : first + 10_000]
        ones = np.ones(len(part), np.int32)
        with connection.transaction():
            pts = np.arange(first, first + len(part), dtype=np.int64)
            frames.copy(tx, video, frames.Arriving(pts, ones, ones, ones, part.astype(np.float16)))
            tx.run(embeddings.upsert(project, video, model_number=model.number))
    connection.execute(f"drop index if exists embeddings_{model.number}_hnsw".encode())  # built anew, and timed
    while tx.one(fold.batch(model.number, 20_000)):
        pass
    connection.execute(
        f"create index if not exists embeddings_{model.number}_hnsw on embeddings_{model.number}_indexed (pts_us)".encode()
    )


def _clustered(count: int, clusters: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Unit vectors in so many clouds, as pictures' vectors lie, float32 [count, DIM]."""
    centres = rng.normal(size=(clusters, DIM))
    vectors = centres[rng.integers(clusters, size=count)] + rng.normal(0, 0.6, (count, DIM))
    unit: NDArray[np.float32] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def _model(connection: psycopg.Connection[Any], name: str) -> EmbeddingModel:
    statement = models.register(
        family="siglip2", uri=name, weights_id=name, dim=DIM, image_size=224, logit_scale=100, logit_bias=-10
    )
    tx = Tx(connection)
    with connection.transaction():
        connection.execute("set local role argus_registrar")
        tx.one(statement)
    return tx.one(models.by_weights("siglip2", name))


# -- line 9 ----------------------------------------------------------------------------------------


def queue(sizes: Sizes) -> list[Line]:
    """Segments that do nothing, claimed, started and finished one by one under lease and fence, against as many jobs of
    procrastinate; and from the insert of a job to its claim elsewhere.
    """
    ours_s, ours_latency_s, theirs_s, theirs_latency_s = [], [], [], []
    with database() as (url, connection):
        postgres.set_login(url, "argus_worker", "bench")
        parts = psycopg.conninfo.conninfo_to_dict(url)
        worker = postgres.url(int(parts["port"] or 0), "bench", user="argus_worker", database=str(parts["dbname"]))
        for round_ in range(sizes.long_rounds):
            ours_s.append(_drain(worker, connection, sizes.queued))
            ours_latency_s.append(_latency(worker, connection, sizes.latencies))
            all_s, latency_s = _procrastinate(postgres.create_database(url, f"procrastinate_{round_}"), sizes)
            theirs_s.append(all_s)
            theirs_latency_s.append(latency_s)
    ours, theirs = statistics.median(ours_s), statistics.median(theirs_s)
    ours_latency, theirs_latency = statistics.median(ours_latency_s), statistics.median(theirs_latency_s)
    return [
        Line(
            "9a",
            "queue: units of no work, one by one",
            f"{sizes.queued / ours:,.0f}/s",
            f"procrastinate: {sizes.queued / theirs:,.0f}/s",
            theirs / ours,
            7,
            "a unit is three durable transactions (claim, start, finish) by 8 connections, against procrastinate's two; "
            "the product claims one at a time, so there is no batched line",
        ),
        Line(
            "9b",
            "queue: insert to claim, p50",
            f"{ours_latency * 1e3:.1f} ms",
            f"procrastinate: {theirs_latency * 1e3:.1f} ms",
            ours_latency / theirs_latency,
            0.3,
            smaller_is_better=True,
        ),
    ]


def _videos(connection: psycopg.Connection[Any], count: int) -> tuple[UUID, list[UUID]]:
    project = uuid4()
    connection.execute("insert into projects (id, name) values (%s, 'queue')", (project,))
    made = connection.execute(
        "insert into videos (project_id, name, state, uploaded_at) select %s, 'n', 'uploaded', now() "
        "from generate_series(1, %s) returning id",
        (project, count),
    )
    return project, [row[0] for row in made]


def _enqueue(connection: psycopg.Connection[Any], project: UUID, video: UUID) -> None:
    connection.execute("insert into jobs (project_id, kind, video_id) values (%s, 'ingest', %s)", (project, video))


def _place(worker: str) -> UUID:
    run_id = uuid4()
    with Database(worker).transaction() as tx:
        tx.one(runs.place(run_id, pool=str(run_id), kind="ingest", lease_s=600, max_life_s=600))
    return run_id


def _drain(worker: str, connection: psycopg.Connection[Any], queued: int) -> float:
    """Seconds for the segments of one long video, from eight connections."""
    project, (video,) = _videos(connection, 1)
    _enqueue(connection, project, video)
    connection.execute(
        "insert into segments (project_id, job_id, video_id, number, turn) "
        "select project_id, id, video_id, number, turn from jobs, generate_series(1, %s) number where video_id = %s",
        (queued - 1, video),
    )
    run_id = _place(worker)
    places = itertools.count()

    def drain() -> None:
        database = Database(worker)
        while True:
            with database.transaction() as tx:
                claimed = tx.maybe(segments.claim(run_id, ahead=1_000_000, no=next(places)))
            if claimed is None:
                database.close()
                return
            with database.transaction() as tx:
                tx.one(ingest.start(claimed, node="here"))
            with database.transaction() as tx:
                tx.one(segments.finish(claimed))

    began = time.perf_counter()
    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(drain) for _ in range(8)]:
            done.result()
    return time.perf_counter() - began


def _procrastinate(url: str, sizes: Sizes) -> tuple[float, float]:
    """Seconds for empty tasks with concurrency 8, and from a task's deferral to its start, p50."""

    async def measure() -> tuple[float, float]:
        app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url))
        begun: asyncio.Queue[float] = asyncio.Queue()

        @app.task(name="nothing")
        async def nothing(number: int) -> None:
            begun.put_nowait(time.perf_counter())

        async with app.open_async():
            await app.schema_manager.apply_schema_async()
            await nothing.batch_defer_async(*[{"number": number} for number in range(sizes.queued)])  # type: ignore[arg-type]  # of the same type, but for invariance
            began = time.perf_counter()
            await app.run_worker_async(concurrency=8, wait=False, install_signal_handlers=False)
            all_s = time.perf_counter() - began
            while not begun.empty():
                begun.get_nowait()
            worker = asyncio.create_task(app.run_worker_async(concurrency=8, install_signal_handlers=False))
            taken = []
            for number in range(sizes.queued, sizes.queued + sizes.latencies):
                await asyncio.sleep(0.02)
                began = time.perf_counter()
                await nothing.defer_async(number=number)
                taken.append(await begun.get() - began)
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)
        return all_s, statistics.median(taken)

    return asyncio.run(measure())


def _latency(worker: str, connection: psycopg.Connection[Any], count: int) -> float:
    """Seconds from the insert of a job to its claim by another connection that listens, p50."""
    run_id = _place(worker)
    project, videos = _videos(connection, count)
    claimed_at: list[float] = []
    claimed, ready, done = threading.Event(), threading.Event(), threading.Event()

    def listen() -> None:
        database = Database(worker)
        with Bell(worker, "argus_jobs") as bell:
            bell.wait(0)  # it listens from here on
            ready.set()
            while not done.is_set():
                bell.wait(0.2)
                with database.transaction() as tx:
                    if tx.maybe(segments.claim(run_id, ahead=1_000_000, no=len(claimed_at))):
                        claimed_at.append(time.perf_counter())
                        claimed.set()
        database.close()

    thread = threading.Thread(target=listen)
    thread.start()
    ready.wait()
    taken = []
    for video in videos:
        claimed.clear()
        began = time.perf_counter()
        _enqueue(connection, project, video)
        claimed.wait(10)
        taken.append(claimed_at[-1] - began)
    done.set()
    thread.join()
    return statistics.median(taken)
