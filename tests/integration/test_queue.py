"""The queue, on a real Postgres, as the role that pipelines have."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from uuid import uuid4

import numpy as np
import psycopg
import pytest
from psycopg.rows import dict_row

from argus_ray.catalog import ingest, runs, segments, work
from argus_ray.catalog.connect import Database
from argus_ray.catalog.frames import Arriving
from argus_ray.catalog.segments import Claim
from argus_ray.errors import Conflict, FenceLost
from argus_ray.pipelines import settling
from tests.ingesting import add_project, add_video, catalogue

DIM = 8
FACTS = {
    "container": "mp4",
    "codec": "h264",
    "width": 64,
    "height": 48,
    "duration_us": 60_000_000,
    "start_us": 0,
    "probe": {},
}


@pytest.fixture(scope="module")
def template(postgres):
    """The catalogue with one model, as a template: a copy of it is a tenth of a second."""
    _, owner = catalogue(postgres, "queue_template")
    owner.execute("select register_model('siglip2', 'x', 'w', %s, 32, 1, 0)", (DIM,))
    owner.close()
    return "queue_template"


class PooledDatabase(Database):
    """As through a transaction pooler that forgets everything of a session between two transactions."""

    @contextmanager
    def transaction(self):
        with super().transaction() as tx:
            yield tx
        self._connection.execute("discard all")


@pytest.fixture(params=["session", "pooler"])
def queue(request, postgres, template):
    name = f"queue_{uuid4().hex[:12]}"
    owner_url = postgres.create_database(name, template)
    owner = psycopg.connect(owner_url, autocommit=True, row_factory=dict_row)
    owner.execute("set search_path = argus, extensions")
    kind = Database if request.param == "session" else PooledDatabase
    database = kind(postgres.url(name, "argus_worker", "worker"))
    yield Queue(owner, database)
    database.close()
    owner.close()
    postgres.drop_database(name)


class Queue:
    """A queue and a hand for it."""

    def __init__(self, owner, database: Database) -> None:
        self.owner, self.database = owner, database
        self.project = add_project(owner)

    def video(self, project=None, **columns):
        return add_video(self.owner, project or self.project, **columns)

    def run(self, pool: str | None = None, **timing):
        run_id = uuid4()
        timing = {"lease_s": 30, "max_life_s": 600, **timing}
        placed = self.maybe(runs.place(run_id, pool=pool or str(run_id), kind="ingest", **timing))
        return placed and SimpleNamespace(id=placed.id, said=0, queue=self)

    def maybe(self, statement):
        with self.database.transaction() as tx:
            return tx.maybe(statement)

    def must(self, statement):
        with self.database.transaction() as tx:
            return tx.one(statement)

    def claim(self, run, ahead: int = 1000, now=None) -> Claim | None:
        claim = self.maybe(segments.claim(run.id, ahead=ahead, no=run.said, now=now))
        run.said += claim is not None
        return claim

    def start(self, claim: Claim, **said):
        return self.maybe(ingest.start(claim, node="a", **said))

    def started(self, run):
        return self.start(self.claim(run))

    def plan(self, segment, count: int = 1) -> None:
        plans = [{"start_us": n * 30_000_000, "end_us": (n + 1) * 30_000_000} for n in range(count)]
        self.must(ingest.plan(segment.claim, facts=FACTS, plans=plans))

    def keep(self, segment, chunk: int = 0, *, last: bool = True, frames: int = 3, pts_us: list[int] | None = None):
        pts = np.array(
            pts_us if pts_us is not None else [segment.number * 30_000_000 + chunk * 1000 + n for n in range(frames)]
        )
        ones = np.ones(len(pts), np.int32)
        with self.database.transaction() as tx:
            return settling.keep(
                tx,
                segment.claim,
                Arriving(pts.astype(np.int64), ones, ones, ones, np.ones((len(pts), DIM)) / DIM**0.5),
                job_id=segment.job_id,
                project_id=segment.project_id,
                video_id=segment.video_id,
                segment=segment.number,
                chunk=chunk,
                last=last,
                progress=0.5,
                dropped=1,
                warnings=[{"type": "w", "detail": str(chunk)}],
                has_poster=False,
                why="fps",
                model_number=1,
            )

    def fail(self, segment, reason="decoder-crashed"):
        with self.database.transaction() as tx:
            return settling.fail(tx, segment.claim, segment.job_id, {"type": reason, "detail": "it broke"})

    def one(self, sql: str, *values):
        (row,) = self.owner.execute(sql, values).fetchall()
        return row

    def count(self, table: str) -> int:
        return self.one(f"select count(*) from {table}")["count"]


# -- places and leases ---------------------------------------------------------------------------


def test_of_two_runs_of_a_pool_one_gets_the_place(queue):
    first = queue.run("ingest")
    assert first
    assert queue.run("ingest") is None
    assert queue.run("another pool")


def test_a_place_whose_lease_ran_out_is_taken_and_the_old_run_learns_it(queue):
    old = queue.run("ingest", lease_s=30, now=datetime.now(UTC) - timedelta(seconds=31))
    assert queue.run("ingest")
    with pytest.raises(FenceLost, match="lost its place"), queue.database.transaction() as tx:
        tx.one(runs.renew(old.id, lease_s=30))


def test_a_run_that_is_too_old_leaves_its_name_to_the_next_and_keeps_what_it_holds(queue):
    queue.video(), queue.video()
    old = queue.run("ingest")
    segment = queue.started(old)
    queue.maybe(runs.retire(old.id))
    new = queue.run("ingest")

    assert queue.claim(old) is None
    assert queue.claim(new) is not None
    queue.plan(segment)
    assert queue.keep(segment) == "ready"
    assert queue.maybe(segments.reclaim(stale_s=600)) is None


def test_a_lapsed_lease_claims_nothing(queue):
    queue.video()
    run = queue.run(lease_s=30)
    assert queue.claim(run, now=datetime.now(UTC) + timedelta(seconds=31)) is None


# -- claims --------------------------------------------------------------------------------------


def test_a_run_holds_no_more_unstarted_than_ahead(queue):
    for _ in range(4):
        queue.video()
    run = queue.run()
    first = queue.claim(run, ahead=2)
    assert queue.claim(run, ahead=2)
    assert queue.claim(run, ahead=2) is None
    queue.start(first)
    assert queue.claim(run, ahead=2)


def test_the_log_says_again_what_the_reader_said_in_order(queue):
    for _ in range(3):
        queue.video()
    run = queue.run()
    claims = [queue.claim(run) for _ in range(3)]
    with queue.database.transaction() as tx:
        assert tx.all(segments.said(run.id)) == claims
        assert tx.all(segments.said(run.id, since=2)) == claims[2:]


def test_two_readers_of_a_run_cannot_both_claim_at_one_place(queue):
    queue.video(), queue.video()
    run = queue.run()
    first = queue.claim(run)
    with pytest.raises(Conflict):
        queue.maybe(segments.claim(run.id, ahead=1000, no=0))
    assert queue.maybe(segments.said(run.id, since=0)) == first
    assert queue.one("select count(*) from segments where state = 'running'")["count"] == 1


def test_runs_that_race_claim_every_segment_once(queue):
    for _ in range(40):
        queue.video()
    claimed: list[Claim] = []

    def drain(run) -> None:
        database = Database(queue.database.url)
        for no in range(1000):
            with database.transaction() as tx:
                claim = tx.maybe(segments.claim(run.id, ahead=1000, no=no))
            if claim is None:
                break
            claimed.append(claim)
        database.close()

    threads = [threading.Thread(target=drain, args=(queue.run(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == 40 == len({claim.segment_id for claim in claimed})


def test_priority_goes_first_and_not_before_waits(queue):
    ordinary, urgent, later = queue.video(), queue.video(priority=5), queue.video(priority=9)
    queue.owner.execute("update segments set not_before = now() + interval '1 hour' where video_id = %s", (later,))
    run = queue.run()
    assert [queue.started(run).video_id for _ in range(2)] == [urgent, ordinary]
    assert queue.claim(run) is None
    assert queue.claim(run, now=datetime.now(UTC) + timedelta(minutes=1)) is None


# -- fairness ------------------------------------------------------------------------------------


def test_a_backlog_of_ten_thousand_does_not_keep_another_projects_upload_waiting(queue):
    queue.owner.execute(
        "insert into videos (project_id, name, state) select %s, 'v', 'uploaded' from generate_series(1, 10000)",
        (queue.project,),
    )
    queue.owner.execute("insert into jobs (project_id, kind, video_id) select project_id, 'ingest', id from videos")
    run = queue.run()
    for _ in range(5):
        queue.started(run)
    other = add_project(queue.owner, "another")
    single = queue.video(other)
    assert single in [queue.started(run).video_id for _ in range(2)]


def test_having_had_much_does_not_cost_a_turn(queue):
    busy, patient = queue.project, add_project(queue.owner, "patient")
    run = queue.run()
    for _ in range(30):
        queue.video(busy)
        segment = queue.started(run)
        queue.plan(segment)
        queue.keep(segment)
    for _ in range(20):
        queue.video(patient)
    single = queue.video(busy)
    assert single in [queue.started(run).video_id for _ in range(2)]


def test_a_long_videos_segments_take_turns_with_other_projects(queue):
    long = queue.video()
    run = queue.run()
    queue.plan(queue.started(run), count=50)
    for _ in range(10):
        queue.started(run)
    single = queue.video(add_project(queue.owner, "another"))
    assert single in [queue.started(run).video_id for _ in range(2)]
    assert queue.started(run).video_id == long


# -- chunks and ends -----------------------------------------------------------------------------


def test_a_video_is_ready_when_its_last_segment_is(queue):
    video, run = queue.video(), queue.run()
    first = queue.started(run)
    queue.plan(first, count=2)
    second = queue.started(run)

    assert queue.keep(second) == "done"
    assert queue.keep(first, 0, last=False) == "kept"
    assert queue.one("select state from videos")["state"] == "processing"
    assert queue.keep(first, 1) == "ready"

    row = queue.one("select * from videos where id = %s", video)
    assert (row["state"], row["frames_kept"], row["frames_dropped"], row["progress"]) == ("ready", 9, 3, 1)
    assert [w["detail"] for w in row["warnings"]] == ["0", "1", "0"]
    assert queue.one("select state, result from jobs") == {
        "state": "succeeded",
        "result": {"frames_kept": 9, "frames_dropped": 3},
    }
    assert queue.count("frames") == queue.count("embeddings") == 9


def test_a_chunk_written_twice_is_there_once(queue):
    queue.video()
    segment = queue.started(queue.run())
    queue.plan(segment)
    for _ in range(2):
        assert queue.keep(segment, 0, last=False) == "kept"
    assert queue.keep(segment, 1, frames=0) == "ready"
    assert queue.one("select frames_kept, frames_dropped from videos") == {"frames_kept": 3, "frames_dropped": 2}
    assert queue.count("frames") == 3


def test_chunks_may_arrive_in_any_order(queue):
    queue.video()
    segment = queue.started(queue.run())
    queue.plan(segment)
    assert queue.keep(segment, 2) == "kept"
    assert queue.keep(segment, 0, last=False) == "kept"
    assert queue.keep(segment, 1, last=False) == "ready"


def test_of_pictures_with_the_same_time_the_first_is_kept(queue):
    queue.video()
    segment = queue.started(queue.run())
    queue.plan(segment)
    queue.keep(segment, pts_us=[5, 5, 7])
    assert [row["pts_us"] for row in queue.owner.execute("select pts_us from frames order by 1")] == [5, 7]


def test_a_segment_of_no_frames_ends_its_video(queue):
    queue.video()
    segment = queue.started(queue.run())
    queue.plan(segment)
    assert queue.keep(segment, frames=0) == "ready"


def test_two_last_segments_at_once_end_the_video_once(queue):
    queue.video()
    run = queue.run()
    first = queue.started(run)
    queue.plan(first, count=2)
    second = queue.started(run)
    outcomes: list[str] = []
    halves = [Queue.__new__(Queue), Queue.__new__(Queue)]
    for half in halves:
        half.owner, half.database = queue.owner, Database(queue.database.url)
    threads = [
        threading.Thread(target=lambda h=half, s=segment: outcomes.append(h.keep(s)))
        for half, segment in zip(halves, (first, second), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for half in halves:
        half.database.close()
    assert sorted(outcomes) == ["done", "ready"]


def test_a_zombies_commit_fails_and_writes_nothing(queue):
    queue.video()
    slow = queue.run(lease_s=30, now=datetime.now(UTC) - timedelta(seconds=60))
    queue.owner.execute("update runs set lease_until = now() + interval '1 minute'")
    zombie = queue.started(slow)
    queue.plan(zombie)
    queue.owner.execute("update runs set lease_until = now() - interval '1 second'")
    assert queue.maybe(segments.reclaim(stale_s=600)) == zombie.segment_id
    fast = queue.started(queue.run())

    for commit in (
        lambda: queue.keep(zombie),
        lambda: queue.fail(zombie),
        lambda: queue.plan(zombie, count=3),
        lambda: queue.must(segments.touch(zombie.claim)),
    ):
        with pytest.raises(FenceLost, match="taken over"):
            commit()
    assert queue.maybe(ingest.start(zombie.claim, node="a")) is None
    assert queue.maybe(segments.retry(zombie.claim, max_attempts=3)) is None
    assert queue.maybe(segments.give_back(zombie.claim)) is None
    assert queue.count("frames") == 0
    assert queue.keep(fast) == "ready"


# -- failures ------------------------------------------------------------------------------------


def test_a_video_of_one_segment_fails_with_it_and_keeps_no_frames(queue):
    video = queue.video()
    segment = queue.started(queue.run())
    queue.plan(segment)
    queue.keep(segment, 0, last=False)
    assert queue.fail(segment) == "failed"

    row = queue.one("select * from videos where id = %s", video)
    assert (row["state"], row["reason"]["type"], row["frames_kept"]) == ("failed", "decoder-crashed", 0)
    assert queue.count("frames") == queue.count("embeddings") == 0
    assert queue.count("doomed_objects") == 3
    assert queue.one("select state, reason from jobs")["reason"]["detail"] == "it broke"


def test_what_the_other_segments_kept_is_salvaged_with_a_warning_that_names_the_range(queue):
    queue.video()
    run = queue.run()
    first = queue.started(run)
    queue.plan(first, count=2)
    second = queue.started(run)
    queue.keep(second, 0, last=False)
    assert queue.fail(second) == "failed"
    assert queue.keep(first) == "ready"

    row = queue.one("select * from videos")
    lost = row["warnings"][-1]
    assert (row["state"], row["frames_kept"], lost["type"]) == ("ready", 3, "segment-failed")
    assert lost["ranges_us"] == [[30_000_000, 60_000_000]]
    assert queue.count("frames") == queue.count("embeddings") == 3


def test_an_attempt_that_failed_comes_again_later_until_they_are_used_up(queue):
    queue.video()
    run = queue.run()
    waits = []
    for attempt in (1, 2, 3):
        segment = queue.started(run)
        assert segment.attempts == attempt
        with queue.database.transaction() as tx:
            outcome = settling.retry_or_fail(
                tx, segment.claim, segment.job_id, {"type": "decoder-crashed", "detail": "again"}, max_attempts=3
            )
        if outcome == "again":
            waits.append(
                queue.one("select extract(epoch from not_before - now())::float as wait from segments")["wait"]
            )
            assert queue.claim(run) is None
            queue.owner.execute("update segments set not_before = now()")
    assert outcome == "failed"
    assert 0.9 < waits[0] <= 2 < waits[1] * 1.01 <= 4.1


def test_a_lost_run_gives_its_attempts_back_and_a_standstill_does_not(queue):
    queue.video()
    run = queue.run()
    queue.started(run)
    queue.maybe(runs.release(run.id))
    queue.maybe(segments.reclaim(stale_s=600))
    assert queue.one("select attempts, preemptions, state from segments") == {
        "attempts": 0,
        "preemptions": 1,
        "state": "queued",
    }

    queue.started(queue.run(lease_s=3600))
    still = datetime.now(UTC) + timedelta(seconds=601)
    assert queue.maybe(segments.reclaim(stale_s=1000, now=still)) is None
    assert queue.maybe(segments.reclaim(stale_s=600, now=still)) is not None
    assert queue.one("select attempts, preemptions from segments") == {"attempts": 1, "preemptions": 2}


def test_what_was_started_on_a_lost_node_is_given_back_without_its_attempt(queue):
    queue.video()
    queue.started(queue.run(lease_s=3600))
    later = datetime.now(UTC) + timedelta(seconds=61)
    assert queue.maybe(segments.reclaim(stale_s=600, nodes=["a", "b"], now=later)) is None
    assert queue.maybe(segments.reclaim(stale_s=600, nodes=["b"])) is None
    assert queue.maybe(segments.reclaim(stale_s=600, nodes=["b"], now=later)) is not None
    assert queue.one("select attempts, preemptions from segments") == {"attempts": 0, "preemptions": 1}


def test_a_start_after_a_lost_node_does_not_count_as_an_attempt(queue):
    queue.video()
    claim = queue.claim(queue.run())
    assert queue.start(claim).attempts == 1
    assert queue.maybe(segments.started_before(claim)) == "a"
    assert queue.start(claim, preempted=True).attempts == 1
    assert queue.start(claim).attempts == 2


def test_runs_that_died_without_a_word_are_forgotten_with_what_they_said(queue):
    queue.video()
    run = queue.run(lease_s=30, now=datetime.now(UTC) - timedelta(seconds=29))
    queue.claim(run)
    later = datetime.now(UTC) + timedelta(seconds=60)
    assert queue.maybe(runs.bury(now=later)) is None
    queue.maybe(segments.reclaim(stale_s=600, now=later))
    assert queue.maybe(runs.bury(now=later)) == run.id
    queue.maybe(runs.bury(now=later))
    assert queue.count("claims") == 0


# -- ingest again, cancel, delete ----------------------------------------------------------------


def test_ingest_again_removes_the_frames_that_the_new_policy_does_not_name(queue):
    video, run = queue.video(), queue.run()
    segment = queue.started(run)
    queue.plan(segment)
    queue.keep(segment, pts_us=[1, 2, 3])
    queue.owner.execute("update embeddings set indexed = true")
    queue.owner.execute("update videos set state = 'uploaded'")
    queue.owner.execute(
        "insert into jobs (project_id, kind, video_id) values (%s, 'ingest', %s)", (queue.project, video)
    )
    segment = queue.started(run)
    queue.plan(segment)
    assert queue.keep(segment, pts_us=[-2, 2]) == "ready"

    assert [row["pts_us"] for row in queue.owner.execute("select pts_us from frames order by 1")] == [-2, 2]
    assert [row["pts_us"] for row in queue.owner.execute("select pts_us from embeddings order by 1")] == [-2, 2]
    keys = {row["key"].rpartition("/")[2] for row in queue.owner.execute("select key from doomed_objects")}
    assert keys == {f"{1:020d}.jpg", f"{3:020d}.jpg"}


def test_a_cancelled_job_loses_its_fence_its_frames_and_its_video_says_so(queue):
    queue.video()
    segment = queue.started(queue.run())
    queue.plan(segment, count=3)
    queue.keep(segment, 0, last=False)
    queue.owner.execute("update jobs set state = 'cancelled', finished_at = now()")

    assert queue.maybe(segments.held(segment.claim)) is None
    with pytest.raises(FenceLost):
        queue.keep(segment, 1)
    assert queue.count("frames") == 0
    assert queue.one("select reason from videos")["reason"]["type"] == "job-cancelled"
    assert queue.one("select array_agg(distinct state) as states from segments")["states"] == ["cancelled"]


def test_a_deleted_video_takes_its_running_work_along(queue):
    queue.video()
    segment = queue.started(queue.run())
    queue.plan(segment)
    queue.keep(segment, 0, last=False)
    queue.owner.execute("update videos set state = 'deleted', deleted_at = now()")
    with pytest.raises(FenceLost):
        queue.keep(segment, 1)
    assert queue.count("frames") == queue.count("segments") == 0


# -- upkeep --------------------------------------------------------------------------------------


def test_progress_is_told_to_videos_and_jobs(queue):
    queue.video()
    segment = queue.started(queue.run())
    queue.plan(segment, count=2)
    queue.keep(segment, 0, last=False)
    for _ in range(2):
        queue.maybe(ingest.progress([segment.job_id]))
    assert queue.one("select progress, frames_kept from videos") == {"progress": 0.25, "frames_kept": 3}
    assert queue.one("select progress from jobs") == {"progress": 0.25}


def test_chunks_do_not_bloat_the_queue(queue):
    """Commits of chunks touch no index: the row stays in its page."""
    queue.video()
    segment = queue.started(queue.run())
    queue.plan(segment)
    queue.owner.execute("select pg_stat_force_next_flush()")
    for chunk in range(30):
        queue.keep(segment, chunk, last=False, frames=0)
    queue.database._connection.execute("select pg_stat_force_next_flush()")
    row = queue.one("select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables where relname = 'segments'")
    assert row["n_tup_hot_upd"] >= 25


def test_the_claim_reads_the_queue_in_order_from_an_index(queue):
    queue.owner.execute(
        "insert into videos (project_id, name, state) select %s, 'v', 'uploaded' from generate_series(1, 2000)",
        (queue.project,),
    )
    queue.owner.execute("insert into jobs (project_id, kind, video_id) select project_id, 'ingest', id from videos")
    queue.owner.execute("analyze segments")
    statement = segments.claim(queue.run().id, ahead=10, no=0)
    with queue.database.transaction() as tx:
        plan = tx.connection.execute(b"explain " + statement.sql.encode(), statement.params).fetchall()
    text = "\n".join(row[0] for row in plan)
    assert "Index Scan using segments_queued on segments" in text
    assert "Seq Scan on segments" not in text


def test_the_pulse_knows_work_for_later_and_work_in_hand(queue):
    run = queue.run()
    assert not queue.maybe(segments.pulse(run.id)).busy
    queue.video()
    queue.owner.execute("update segments set not_before = now() + interval '1 minute'")
    assert queue.maybe(segments.pulse(run.id)).busy
    queue.owner.execute("update segments set not_before = now()")
    queue.claim(run)
    assert queue.maybe(segments.pulse(run.id)).busy
    queue.maybe(runs.retire(run.id))
    assert not queue.maybe(segments.pulse(run.id)).accepting


# -- other kinds of work -------------------------------------------------------------------------


def an_export(queue, project=None):
    return queue.one(
        "insert into jobs (project_id, kind) values (%s, 'export') returning id", project or queue.project
    )["id"]


def test_kinds_wait_in_lines_of_their_own(queue):
    queue.video()
    an_export(queue)
    run = queue.run()
    assert queue.maybe(segments.claim(run.id, ahead=9, no=0, kind="track")) is None
    export = queue.maybe(segments.claim(run.id, ahead=9, no=0, kind="export"))
    assert queue.one("select kind from segments where id = %s", export.segment_id)["kind"] == "export"
    assert queue.maybe(segments.claim(run.id, ahead=9, no=1, kind="export")) is None
    assert queue.maybe(segments.claim(run.id, ahead=9, no=1)) is not None


def test_a_backlog_of_one_kind_costs_no_turn_of_another(queue):
    for _ in range(5):
        queue.video()
    an_export(queue)
    an_export(queue)
    turns = queue.owner.execute("select turn from segments where kind = 'export' order by turn").fetchall()
    assert [row["turn"] for row in turns] == [0, 1]


def test_an_idle_run_learns_that_work_of_another_kind_waits_for_a_place(queue):
    run, other = queue.run(), queue.run()
    assert not queue.maybe(segments.pulse(run.id)).others_wait
    an_export(queue)
    assert queue.maybe(segments.pulse(run.id)).others_wait
    assert not queue.maybe(segments.pulse(run.id, kinds=["freeze", "export", "import"])).others_wait
    claim = queue.maybe(segments.claim(other.id, ahead=9, no=0, kind="export"))
    assert queue.maybe(segments.pulse(run.id)).others_wait, "claimed, and its actors may want for CPUs"
    queue.maybe(work.start(claim))
    assert not queue.maybe(segments.pulse(run.id)).others_wait


def test_the_claim_of_a_kind_reads_its_own_line_from_the_index(queue):
    queue.owner.execute(
        "insert into jobs (project_id, kind) select %s, 'freeze' from generate_series(1, 2000)", (queue.project,)
    )
    an_export(queue)
    queue.owner.execute("analyze segments")
    for statement in (
        segments.claim(queue.run().id, ahead=10, no=0, kind="export"),
        segments.pulse(queue.run().id, kinds=["export"]),
        segments.wanted("export"),
    ):
        with queue.database.transaction() as tx:
            plan = tx.connection.execute(b"explain " + statement.sql.encode(), statement.params).fetchall()
        text = "\n".join(row[0] for row in plan)
        assert "using segments_queued" in text
        assert "Seq Scan on segments" not in text
