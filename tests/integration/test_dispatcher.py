"""The dispatcher on a Ray with a dashboard, where its runs are seen."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from pydantic import SecretStr
from ray.job_submission import JobStatus, JobSubmissionClient

from argus_ray.catalog import runs, segments
from argus_ray.local import cluster, ports, process
from argus_ray.thumbnails import BUCKET, thumbnail_key
from serve_apps.dispatcher import Watch
from tests import clips
from tests.ingesting import environment, place
from tests.waiting import wait_until

TOKEN = uuid4().hex * 2
LET_IN = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def here(postgres, s3, supabase, tmp_path_factory):
    storage = supabase.server().storage
    if not any(bucket.id == BUCKET for bucket in storage.list_buckets()):  # made by the migrations, where these meet
        storage.create_bucket(BUCKET)
    here = place(
        postgres,
        s3,
        tmp_path_factory.mktemp("dispatcher"),
        extractors=1,
        linger_s=15,
        supabase_url=supabase.url,
        secret_key=SecretStr(supabase.secret_key),
    )
    yield here
    here.close()


@contextmanager
def ray_head(env):
    """A head of its own: the dashboard's address and the metrics'."""
    chosen = ports.choose(cluster.PORTS, {})
    with tempfile.TemporaryDirectory(prefix="h", ignore_cleanup_errors=True) as home:
        program = cluster.head(Path(home), chosen, {**os.environ, **env}, token=TOKEN, num_cpus=4)
        started = process.spawn(program)
        try:
            process.wait_ready(program, started)
            yield f"http://127.0.0.1:{chosen['ray_dashboard']}", f"http://127.0.0.1:{chosen['ray_metrics']}/metrics"
        finally:
            process.stop(program, started)


def test_queued_work_gets_one_run_that_the_dashboard_and_the_metrics_show(here, tmp_path):
    env = environment(here.settings)
    video = here.upload(clips.make(tmp_path / "a.mp4", seconds=3).path)
    with ray_head(env) as (dashboard_url, metrics_url):
        client = JobSubmissionClient(dashboard_url, headers=LET_IN)
        watch = Watch(here.settings, client, {})
        watch.turn()
        watch.turn()  # one is on its way already
        submitted = watch.starters["ingest"].submitted
        assert len(client.list_jobs()) == 1

        wait_until(lambda: here.video(video)["state"] == "ready", 120)
        assert here.one("select count(*) from runs")["count"] == 1
        watch.turn()
        assert watch.starters["ingest"].submitted == submitted

        names = ("ray_argus_frames_kept", "ray_argus_videos_ready", "ray_argus_segments_queued")
        wait_until(lambda: all(name in httpx.get(metrics_url).text for name in names))
        job = client.get_job_info(submitted)
        with httpx.Client(base_url=dashboard_url, headers=LET_IN, timeout=30) as dashboard:
            found = dashboard.get(f"/api/data/datasets/{job.job_id}").json()["datasets"]
        (dataset,) = found
        assert dataset["dataset"].startswith("argus_ingest")
        stages = " ".join(operator["name"] for operator in dataset["operators"])
        assert all(stage in stages for stage in ("VideoQueue", "FrameExtractor", "FrameEmbedder", "CatalogWriter"))

        here.owner.execute("update runs set accepts_until = now()")
        wait_until(lambda: client.get_job_status(submitted) is JobStatus.SUCCEEDED)
        log = client.get_job_logs(submitted)
        assert "has ended" in log
        assert here.settings.secret("secret_key") not in log
        watch.database.close()

    row = here.video(video)
    assert row["poster"]
    assert row["warnings"] == []


@pytest.fixture
def watch(here):
    """A watch that is asked for no run: nothing listens at that address."""
    watch = Watch(here.settings, JobSubmissionClient.__new__(JobSubmissionClient), {})
    yield watch
    watch.database.close()


def test_what_a_lapsed_run_held_is_queued_again(here, watch):
    video = here.upload(b"bytes")
    run_id, past = uuid4(), datetime.now(UTC) - timedelta(minutes=1)
    with watch.database.transaction() as tx:
        tx.one(runs.place(run_id, pool="lapsed", kind="ingest", lease_s=90, max_life_s=600, now=past))
        tx.one(segments.claim(run_id, ahead=1, no=0))
    watch.reclaim()
    assert here.one("select state from segments where video_id = %s", video)["state"] == "running"
    here.owner.execute("update runs set lease_until = now() - interval '1 second'")
    watch.reclaim()
    assert here.one("select state from segments where video_id = %s", video)["state"] == "queued"
    assert not here.all("select from runs where id = %s", run_id)


def test_messages_that_the_database_cannot_send_go_out_by_http(here, watch):
    assert here.all("select from broadcasts")
    away = Watch(
        here.settings.model_copy(update={"supabase_url": "http://127.0.0.1:9"}), watch.starters["ingest"].client, {}
    )
    with pytest.raises(httpx.ConnectError):
        away.post()
    away.database.close()
    assert here.all("select from broadcasts"), "what was not posted stays"
    watch.post()
    assert not here.all("select from broadcasts")


def test_a_poster_that_could_not_be_stored_is_stored_later(here, watch, supabase):
    (video,) = here.all("select id, project_id from videos where state = 'ready'")
    here.owner.execute(
        """update videos set poster = false, warnings = '[{"type": "no-poster"}, {"type": "other"}]' where id = %s""",
        (video["id"],),
    )
    watch.store_posters()
    row = here.video(video["id"])
    assert row["poster"]
    assert row["warnings"] == [{"type": "other"}]
    jpeg = supabase.server().storage.from_(BUCKET).download(thumbnail_key(video["project_id"], video["id"]))
    assert jpeg[:3] == b"\xff\xd8\xff"
