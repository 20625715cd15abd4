"""Whatever dies in the middle of autolabel, what is proposed and answered is the undisturbed result, row for row."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from uuid import uuid4

import psycopg
import pytest
import ray

from argus_ray.catalog import segments
from argus_ray.catalog.connect import Database, worker_url
from argus_ray.pipelines import autolabel
from argus_ray.pipelines.stages.concept_finder import ConceptFinder
from argus_ray.pipelines.stages.proposal_writer import ProposalWriter
from tests.faults.test_ingest_faults import hurried, workers
from tests.ingesting import environment
from tests.labelling import add_drawn, add_label, ask, drain, job, labelling_place
from tests.waiting import wait_until

pytestmark = pytest.mark.faults

FRAMES, LABELS = 192, ("car", "boat", "tree", "red thing")


@pytest.fixture(scope="module")
def here(postgres, s3, tmp_path_factory):
    here = labelling_place(postgres, s3, tmp_path_factory.mktemp("label-faults"), lease_s=3)
    add_drawn(here, frames=FRAMES)
    for name in LABELS:
        add_label(here, name)
    yield here
    here.close()


def asked(here):
    return ask(here, "autolabel", [row["id"] for row in here.all("select id from labels order by number")])


def content(here) -> list:
    return [
        here.all("select pts_us, label_id, found, presence from answers order by 1, 2"),
        here.all("select pts_us, label_id, id, counts, score, presence from annotations order by 1, 2, 3"),
        here.all("select frames from gpu_usage"),
    ]


def forget(here) -> None:
    for table in ("answers", "annotations", "gpu_usage"):
        here.owner.execute(f"delete from {table}".encode())


@pytest.fixture(scope="module")
def undisturbed(here):
    database = Database(worker_url(here.settings))
    model = autolabel.registered(here.settings, database)
    database.close()
    finder, writer = ConceptFinder(here.settings), ProposalWriter(worker_url(here.settings), model.id, "cpu", 3)
    asked(here)
    drain(here, finder, writer)
    finder.database.close(), writer.database.close(), finder.pictures.s3.close()
    result = content(here)
    assert len(result[0]) == FRAMES * len(LABELS)
    return result


def midway(here) -> bool:
    return bool(here.all("select from answers limit 1"))


@contextmanager
def halfway(here, job_id):
    """Something is written and not everything, and nothing more is until the block ends: the job's row is held."""
    wait_until(lambda: midway(here))
    with psycopg.connect(here.settings.secret("database_url")) as holding:
        holding.execute("select from argus.jobs where id = %s for update", (job_id,))
        assert not ended(here, job_id)
        yield


def ended(here, job_id) -> bool:
    return job(here, job_id)["state"] not in {"queued", "running"}


@contextmanager
def running(here):
    """A run in a thread, which is told to end at the end."""
    pool = f"test-{uuid4().hex[:8]}"
    settings = here.settings.model_copy(update={"linger_s": 120})
    thread = threading.Thread(target=autolabel.run, args=(settings,), kwargs={"pool": pool})
    thread.start()
    try:
        yield
    finally:
        here.owner.execute("update runs set accepts_until = now() where pool = %s", (pool,))
        thread.join(180)
        assert not thread.is_alive(), "the run does not end"


@pytest.mark.parametrize("stage", ["ConceptFinder", "ProposalWriter"])
def test_a_killed_actor_loses_and_doubles_nothing(here, undisturbed, ray_cluster, stage):
    forget(here)
    job_id = asked(here)
    with running(here):
        with halfway(here, job_id):
            (victim,) = wait_until(lambda: workers(stage))
            victim.kill()
        wait_until(lambda: hurried(here) and ended(here, job_id))
    assert job(here, job_id)["state"] == "succeeded"
    assert content(here) == undisturbed


def test_a_killed_driver_loses_and_doubles_nothing(here, undisturbed, ray_cluster):
    forget(here)
    job_id = asked(here)
    address = ray.get_runtime_context().gcs_address
    driver = subprocess.Popen(
        [sys.executable, "-m", "jobs.autolabel"],
        env={**os.environ, **environment(here.settings), "ARGUS_RAY_ADDRESS": address},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with halfway(here, job_id):
            driver.kill()
            driver.wait()
    finally:
        driver.kill()
    worker = Database(worker_url(here.settings))

    def given_back():  # as the dispatcher does
        with worker.transaction() as tx:
            return tx.all(segments.reclaim(stale_s=600))

    wait_until(given_back)
    worker.close()
    assert autolabel.run(here.settings)
    assert job(here, job_id)["state"] == "succeeded"
    found = content(here)
    assert found[:2] == undisturbed[:2]
    assert here.one("select max(attempts) from segments where job_id = %s", job_id)["max"] == 1
