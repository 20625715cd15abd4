"""Whatever dies in the middle of ingest, the result is the undisturbed one, row for row."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager

import psutil
import psycopg
import pytest
import ray
from ray.cluster_utils import Cluster

from argus_ray.catalog import segments
from argus_ray.catalog.connect import Database
from argus_ray.errors import ArgusError
from argus_ray.local import postgres as local_postgres
from argus_ray.local import process, seaweedfs
from argus_ray.pipelines import ingest
from tests.faults.backlog import EVERY_FRAME, NAMES, SETTINGS, ended, upload
from tests.ingesting import environment, place, running
from tests.waiting import wait_until

pytestmark = pytest.mark.faults


@pytest.fixture
def here(postgres, s3, tmp_path):
    here = place(postgres, s3, tmp_path, **SETTINGS)
    yield here
    here.close()


def midway(here) -> bool:
    """Something is written, and not everything."""
    return here.one("select count(*) from frames")["count"] >= 24


def workers(name: str) -> list[psutil.Process]:
    """Processes of this Ray that run such a stage."""
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if child.cmdline()[:1] and child.cmdline()[0].startswith("ray::") and name in child.cmdline()[0]:
                found.append(child)
        except psutil.Error:
            continue
    return found


def readers(here) -> list[psutil.Process]:
    """The process that listens for work, whatever Ray calls it."""
    ports = here.all(
        "select client_port from pg_stat_activity where query like 'listen %%' and datname = current_database()"
    )
    theirs = {row["client_port"] for row in ports}
    return [
        psutil.Process(connection.pid)
        for connection in psutil.net_connections("tcp")
        if connection.pid and connection.laddr and connection.laddr.port in theirs
    ]


def decoders() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if any("argus_ray.video.process" in word for word in child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found


@pytest.mark.parametrize("stage", ["VideoQueue", "FrameExtractor", "FrameEmbedder", "CatalogWriter"])
def test_a_killed_stage_changes_nothing(here, clip, undisturbed, stage):
    upload(here, clip)
    with running(here):
        wait_until(lambda: midway(here))
        (victim,) = wait_until(lambda: readers(here) if stage == "VideoQueue" else workers(stage))
        victim.kill()
        wait_until(lambda: ended(here))
    assert here.states() == ["ready"] * len(NAMES)
    assert here.content() == undisturbed


@contextmanager
def driven(here, address: str):
    """A run in a process of its own."""
    driver = subprocess.Popen(
        [sys.executable, "-m", "jobs.ingest"],
        env={**os.environ, **environment(here.settings), "ARGUS_RAY_ADDRESS": address},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield driver
    finally:
        driver.kill()
        driver.wait()


def test_a_killed_driver_changes_nothing(here, clip, undisturbed):
    upload(here, clip)
    with driven(here, ray.get_runtime_context().gcs_address):
        wait_until(lambda: midway(here))
    assert not ended(here)
    worker = Database(here.settings.secret("worker_database_url"))

    def given_back():  # as the dispatcher does
        with worker.transaction() as tx:
            return tx.all(segments.reclaim(stale_s=600))

    wait_until(given_back)
    worker.close()
    assert ingest.run(here.settings)
    assert here.states() == ["ready"] * len(NAMES)
    assert here.content() == undisturbed
    assert here.one("select max(attempts) from segments")["max"] == 1


def test_a_lost_node_changes_nothing_and_costs_no_attempt(postgres, s3, clip, undisturbed, tmp_path):
    """One extractor fits on the head, the other needs the second node, which goes and is replaced, as spot nodes are."""
    here = place(postgres, s3, tmp_path, **{**SETTINGS, "extractors": 2, "linger_s": 5})
    upload(here, clip)
    two = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100 * 2**20})
    try:
        node = two.add_node(num_cpus=1, object_store_memory=100 * 2**20)
        with driven(here, two.address) as driver:
            on_it = "select from segments where started_on = %s and state = 'running'"
            wait_until(lambda: here.all(on_it, node.node_id))
            two.remove_node(node, allow_graceful=False)
            two.add_node(num_cpus=1, object_store_memory=100 * 2**20)
            wait_until(lambda: ended(here))
            assert driver.wait(180) == 0
        assert here.states() == ["ready"] * len(NAMES)
        assert here.content() == undisturbed
        assert here.one("select max(attempts), sum(preemptions) > 0 as noticed from segments") == {
            "max": 1,
            "noticed": True,
        }
    finally:
        here.close()
        two.shutdown()


def test_a_killed_postgres_changes_nothing(s3, clip, undisturbed, tmp_path):
    server = local_postgres.start(tmp_path / "pg")  # durable: what it has acknowledged must be there again
    here = place(server, s3, tmp_path, **SETTINGS)
    upload(here, clip)
    owner_url = here.settings.secret("database_url")
    try:
        with running(here) as pool:
            wait_until(lambda: midway(here))
            os.kill(server.process.pid, signal.SIGKILL)
            server.process.wait()
            here.owner.close()
            server = restarted(server, tmp_path / "pg")
            here.owner = psycopg.connect(owner_url, autocommit=True, row_factory=psycopg.rows.dict_row)
            here.owner.execute("set search_path = argus, extensions")
            wait_until(lambda: ended(here))
            assert here.one("select count(*) from runs where pool = %s", pool)["count"] == 1
        assert here.states() == ["ready"] * len(NAMES)
        assert here.content() == undisturbed
    finally:
        here.close()
        server.stop()


def restarted(server, home):
    """Postgres refuses to start while a backend of the killed one still lives."""

    def start():
        try:
            return local_postgres.start(home, port=server.port, password=server.password)
        except ArgusError:
            return None

    return wait_until(start)


def test_a_killed_s3_changes_nothing(postgres, clip, undisturbed, tmp_path):
    server = seaweedfs.start(tmp_path / "s3")
    here = place(postgres, server, tmp_path, **SETTINGS)
    upload(here, clip)
    running_server = server.process
    try:
        with running(here):
            wait_until(lambda: midway(here))
            running_server.kill()
            running_server.wait()
            running_server = process.spawn(server.program)
            process.wait_ready(server.program, running_server)
            here.owner.execute("update segments set not_before = now()")
            wait_until(lambda: hurried(here) and ended(here))
        assert here.states() == ["ready"] * len(NAMES)
        assert here.content() == undisturbed
        assert here.one("select max(attempts) from segments")["max"] == 1
    finally:
        here.close()
        process.stop(server.program, running_server)


def hurried(here) -> bool:
    """Back-offs end at once."""
    here.owner.execute("update segments set not_before = now() where state = 'queued' and not_before > now()")
    return True


@contextmanager
def harassed(here, video, sent: signal.Signals):
    """Every decoder of this video is sent a signal while it works."""
    over = threading.Event()

    def harass() -> None:
        with psycopg.connect(here.settings.secret("database_url"), autocommit=True) as owner:
            while not over.wait(0.01):
                at_work = owner.execute(
                    "select from argus.segments where video_id = %s and started_at is not null and state = 'running'",
                    (video,),
                ).fetchone()
                for decoder in decoders() if at_work is not None else []:
                    try:
                        decoder.send_signal(sent)
                    except psutil.Error:
                        continue

    thread = threading.Thread(target=harass)
    thread.start()
    yield
    over.set()
    thread.join()


@pytest.mark.parametrize(
    ("sent", "reason"), [(signal.SIGSEGV, "decoder-crashed"), (signal.SIGSTOP, "decode-timeout")], ids=["crash", "hang"]
)
def test_a_decoder_that_crashes_or_hangs_fails_that_video_alone_after_its_attempts(
    here, clip, ray_cluster, sent, reason
):
    bad = here.upload(clip, "bad.mp4", sampling=EVERY_FRAME)
    with running(here, decode_stall_s=5, max_attempts=2):
        with harassed(here, bad, sent):
            wait_until(lambda: hurried(here) and here.video(bad)["state"] == "failed", 90)
        (extractor,) = workers("FrameExtractor")
        good = here.upload(clip, "good.mp4")
        wait_until(lambda: here.video(good)["state"] == "ready")
        assert workers("FrameExtractor") == [extractor], "the actor lives on"

    assert here.video(bad)["reason"]["type"] == reason
    assert here.one("select attempts from segments where video_id = %s", bad)["attempts"] == 2
    assert not here.all("select from frames where video_id = %s", bad)
