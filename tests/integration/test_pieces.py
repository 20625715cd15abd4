"""Work that is one piece: jobs that no dataset of Ray is needed for, on a real Postgres."""

from __future__ import annotations

import itertools
import threading

import pytest
from psycopg.types.json import Jsonb

from argus_ray.catalog import segments, work
from argus_ray.catalog.connect import Database, worker_url
from argus_ray.catalog.statement import Statement
from argus_ray.errors import FenceLost, InvalidRequest, Unavailable
from argus_ray.pipelines import pieces
from tests.ingesting import add_project, catalogue


@pytest.fixture(scope="module")
def place(postgres):
    settings, owner = catalogue(postgres, "pieces")
    yield settings.model_copy(update={"linger_s": 0.0, "lease_s": 5}), owner, add_project(owner)
    owner.close()


@pytest.fixture
def ask(place):
    """Asks for a job of a kind, and says afterwards what became of it."""
    settings, owner, project = place

    class Ask:
        def __call__(self, kind: str, **spec):
            row = owner.execute(
                "insert into jobs (project_id, kind, spec) values (%s, %s, %s) returning id",
                (project, kind, Jsonb({"kind": kind, **spec})),
            ).fetchone()
            return row["id"]

        def run(self, **works) -> None:
            assert pieces.run(settings, works, pool="datasets")

        def job(self, job_id):
            return owner.execute("select * from jobs where id = %s", (job_id,)).fetchone()

    return Ask()


def nothing(_settings, _started, _tell):
    return lambda _tx: {}


def test_the_effects_and_the_end_are_one_transaction_and_the_result_is_told(place, ask):
    _, owner, project = place
    rename = Statement(
        type(None), "insert into doomed_objects (project_id, store, key) values (%(p)s, 's3', 'k')", p=project
    )

    def export(_settings, started, tell):
        tell(0.5)
        assert started.spec["format"] == "coco"
        assert started.attempts == 1

        def effects(tx):
            tx.run(rename)
            return {"bytes": 7, "warnings": [{"type": "w"}]}

        return effects

    job = ask("export", format="coco")
    ask.run(export=export)
    row = ask.job(job)
    assert (row["state"], row["progress"], row["attempts"]) == ("succeeded", 1, 1)
    assert row["result"] == {"bytes": 7, "segments_done": 1, "segments_failed": 0, "warnings": [{"type": "w"}]}
    assert owner.execute("select count(*) from doomed_objects").fetchone()["count"] == 1
    assert not owner.execute("select from runs").fetchall()


def test_what_the_asker_can_mend_fails_the_job_at_once_and_what_they_cannot_after_its_attempts(place, ask):
    _, owner, _ = place

    def mend(*_):
        raise InvalidRequest("nothing is accepted yet: accept something")

    def broken(*_):
        owner.execute("update segments set not_before = now() - interval '1 hour' where state = 'queued'")
        raise ZeroDivisionError("a bug")

    freeze, export = ask("freeze"), ask("export")
    ask.run(freeze=mend)
    row = ask.job(freeze)
    assert (row["state"], row["attempts"], row["reason"]["type"]) == ("failed", 1, "invalid-request")

    for _ in range(3):
        owner.execute("update segments set not_before = now() where state = 'queued'")
        ask.run(export=broken)
    row = ask.job(export)
    assert (row["state"], row["attempts"], row["reason"]["type"]) == ("failed", 3, "internal-error")
    assert "ZeroDivisionError" in row["reason"]["detail"]


def test_what_is_down_is_waited_for_and_costs_no_attempt(place, ask):
    _, owner, _ = place

    def away(*_):
        raise Unavailable("S3 does not answer")

    job = ask("import")
    ask.run(**{"import": away})
    assert ask.job(job)["state"] == "running"
    owner.execute("update segments set not_before = now() where state = 'queued'")
    ask.run(**{"import": nothing})
    assert (ask.job(job)["state"], ask.job(job)["attempts"]) == ("succeeded", 1)


def test_cancelled_work_learns_it_and_writes_nothing(place, ask):
    _, owner, _ = place
    job = ask("export")

    def cancelled_meanwhile(_settings, started, _tell):
        owner.execute("update jobs set state = 'cancelled', finished_at = now() where id = %s", (started.job_id,))
        return lambda _tx: pytest.fail("the fence comes first")

    ask.run(export=cancelled_meanwhile)
    assert ask.job(job)["state"] == "cancelled"


def test_a_long_piece_says_that_it_goes_on(place, ask, monkeypatch):
    monkeypatch.setattr(pieces, "BEAT_S", 0.01)
    _, owner, _ = place
    job = ask("export")

    def slow(_settings, started, tell):
        began = owner.execute("select started_at from segments where id = %s", (started.segment_id,)).fetchone()
        moved = threading.Event()
        while not moved.wait(0.01):
            row = owner.execute("select progressed_at from segments where id = %s", (started.segment_id,)).fetchone()
            if row["progressed_at"] > began["started_at"]:
                moved.set()
        owner.execute("update segments set fence = fence + 1 where id = %s", (started.segment_id,))
        with pytest.raises(FenceLost):
            all(tell(0.1) is None for _ in itertools.count())
        owner.execute("update segments set fence = fence - 1 where id = %s", (started.segment_id,))
        return lambda _tx: {}

    ask.run(export=slow)
    assert ask.job(job)["state"] == "succeeded"
    assert owner.execute("select count(*) from segments where state = 'running'").fetchone()["count"] == 0


def test_kinds_have_lines_of_their_own(place, ask):
    settings, _, _ = place
    first, second = ask("export"), ask("freeze")
    database = Database(worker_url(settings))
    with database.transaction() as tx:
        assert tx.one(segments.wanted("freeze"))
        assert not tx.one(segments.wanted("autolabel"))
        assert (tx.one(segments.depth("freeze")).queued, tx.one(segments.depth("ingest")).queued) == (1, 0)
    database.close()
    done = []

    def note(_settings, started, _tell):
        done.append(started.kind)
        return lambda _tx: {}

    ask.run(freeze=note)
    assert done == ["freeze"]
    assert ask.job(first)["state"] == "queued"
    ask.run(freeze=note, export=note)
    assert ask.job(second)["state"] == ask.job(first)["state"] == "succeeded"


def test_a_job_whose_segments_went_with_their_videos_is_settled(place, ask):
    settings, owner, _ = place
    job = ask("export")
    owner.execute("update jobs set state = 'running', started_at = now() where id = %s", (job,))
    owner.execute("delete from segments where job_id = %s", (job,))
    database = Database(worker_url(settings))
    with database.transaction() as tx:
        assert tx.all(work.left_alone()) == [job]
        assert tx.one(work.settle(job)) == "succeeded"
    database.close()
