"""Ingest on a local Ray, with Postgres, S3 and a tiny model: what a run makes of what was uploaded."""

from __future__ import annotations

import hashlib
import logging
import time

import pytest

from argus_ray.pipelines import ingest
from argus_ray.s3 import frame_key
from tests import clips, damage
from tests.ingesting import add_project, place, running
from tests.waiting import wait_until

SECOND_US = 1_000_000
log = logging.getLogger(__name__)


@pytest.fixture(scope="module")
def here(postgres, s3, ray_cluster, tmp_path_factory):
    here = place(
        postgres, s3, tmp_path_factory.mktemp("ingest"), extractors=2, segment_decode_frames=100, chunk_frames=8
    )
    yield here
    here.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    short = clips.make(folder / "short.mp4", seconds=4)
    long = clips.make(folder / "long.mp4", seconds=20, gop=25)
    return {"short": short, "long": long, "sound": damage, "folder": folder}


@pytest.fixture(scope="module")
def ingested(here, files):
    """One run over one of each kind."""
    short, long = files["short"].path.read_bytes(), files["long"].path.read_bytes()
    sha256 = hashlib.sha256(short).hexdigest()
    videos = {
        "short": here.upload(short, "short.mp4"),
        "misnamed": here.upload(short, "short.avi"),
        "long": here.upload(long, "long.mp4"),
        "every frame": here.upload(long, "every.mp4", sampling='{"policy": "every_frame", "dedupe": false}'),
        "text": here.upload(b"no video at all " * 100, "text.mp4"),
        "checked": here.upload(short, "checked.mp4", sha256=sha256),
        "wrong bytes": here.upload(short, "wrong.mp4", sha256="0" * 64),
        "lost": here.upload(short, "lost.mp4"),
        "deleted": here.upload(short, "deleted.mp4"),
    }
    for name in ("checked", "wrong bytes"):
        here.owner.execute(
            "insert into uploads (project_id, video_id, kind, state, s3_upload_id, part_size_bytes, part_count, expires_at)"
            " values (%s, %s, 'multipart', 'completed', 'u', 1, 1, now())",
            (here.project_id, videos[name]),
        )
    here.s3.delete_object(
        Bucket=here.settings.bucket, Key=f"projects/{here.project_id}/videos/{videos['lost']}/original"
    )
    here.owner.execute("update videos set state = 'deleted', deleted_at = now() where id = %s", (videos["deleted"],))
    assert ingest.run(here.settings, pool="once")
    return videos


def test_a_video_becomes_ready_with_what_the_probe_learned(here, ingested, files):
    row = here.video(ingested["short"])
    assert (row["state"], row["reason"], row["progress"], row["codec"]) == ("ready", None, 1, "h264")
    assert (row["width"], row["height"]) == files["short"].displayed
    assert row["duration_us"] == 4 * SECOND_US
    assert row["frame_rate"] == 25
    assert "mp4" in row["container"]
    assert row["ready_at"] is not None


def test_frames_are_named_by_their_time_and_lie_encrypted_under_their_keys(here, ingested):
    frames = here.all("select * from frames where video_id = %s order by pts_us", ingested["short"])
    kept = here.video(ingested["short"])["frames_kept"]
    assert frames[0]["pts_us"] == 0
    assert len(frames) == kept
    for frame in frames:
        key = frame_key(here.project_id, ingested["short"], frame["pts_us"])
        head = here.s3.head_object(Bucket=here.settings.bucket, Key=key)
        assert head["ContentType"] == "image/jpeg"
        assert head["ServerSideEncryption"] == "AES256"
        assert head["ContentLength"] == frame["size_bytes"]


def test_every_frame_has_a_vector_of_unit_length(here, ingested):
    row = here.one(
        """
        select count(*) as frames, count(e.embedding) as vectors, min(l2_norm(e.embedding)) as least, max(l2_norm(e.embedding)) as most
        from frames f left join embeddings e using (project_id, video_id, pts_us)
        """
    )
    assert row["frames"] == row["vectors"] > 500
    assert 0.99 < row["least"] <= row["most"] < 1.01


def test_a_long_video_is_cut_and_keeps_every_picture_once(here, ingested, files):
    segments = here.one("select count(*) from segments where video_id = %s", ingested["every frame"])["count"]
    assert segments >= 4
    kept = here.all("select pts_us from frames where video_id = %s order by 1", ingested["every frame"])
    assert [row["pts_us"] for row in kept] == list(files["long"].pts_us)


def test_what_is_kept_does_not_depend_on_the_cuts(here, ingested, files):
    once = here.upload(files["long"].path, "long.mp4")
    assert ingest.run(here.settings.model_copy(update={"segment_decode_frames": 10_000, "extractors": 1}), pool="uncut")
    query = "select f.pts_us, e.embedding::text from frames f join embeddings e using (project_id, video_id, pts_us) where video_id = %s order by 1"
    assert here.all(query, once) == here.all(query, ingested["long"])
    assert here.video(once)["frames_dropped"] == here.video(ingested["long"])["frames_dropped"]


@pytest.mark.parametrize(
    ("name", "reason"), [("text", "not-a-video"), ("wrong bytes", "checksum-mismatch"), ("lost", "source-gone")]
)
def test_a_bad_input_fails_alone_with_a_reason(here, ingested, name, reason):
    row = here.video(ingested[name])
    job = here.one("select state, reason from jobs where video_id = %s", ingested[name])
    assert (row["state"], row["reason"]["type"], job["state"]) == ("failed", reason, "failed")
    assert job["reason"] == row["reason"]
    assert len(row["reason"]["detail"]) > 20


def test_a_sound_video_under_a_wrong_name_is_ready_with_a_warning(here, ingested):
    row = here.video(ingested["misnamed"])
    assert row["state"] == "ready"
    assert "wrong-extension" in [warning["type"] for warning in row["warnings"]]


def test_a_checksum_that_s3_could_not_check_is_checked(here, ingested):
    assert here.video(ingested["checked"])["state"] == "ready"


def test_a_poster_that_cannot_be_stored_is_a_warning(here, ingested):
    row = here.video(ingested["short"])
    assert not row["poster"]
    assert [warning["type"] for warning in row["warnings"]] == ["no-poster"]


def test_a_deleted_video_stays_deleted(here, ingested):
    assert here.video(ingested["deleted"])["state"] == "deleted"
    assert not here.all("select from frames where video_id = %s", ingested["deleted"])


def test_a_run_leaves_nothing_of_itself_behind(here, ingested):
    assert not here.all("select from runs")
    assert not here.all("select from claims")
    assert not here.all("select from segments where state in ('queued', 'running')")


def test_a_live_run_is_fast_fair_and_alone_in_its_pool(here, files, ingested):
    """While a run is alive: a second one ends at once, an upload is ready within five seconds, and under a backlog it is
    among the next."""
    ten_seconds = clips.make(files["folder"] / "ten.mp4", seconds=10, size=(640, 480)).path.read_bytes()
    with running(here) as pool:
        warm = here.upload(files["short"].path)
        wait_until(lambda: here.video(warm)["state"] == "ready", 60)

        assert not ingest.run(here.settings, pool=pool)

        began = time.monotonic()
        live = here.upload(ten_seconds)
        wait_until(lambda: here.video(live)["state"] != "uploaded")
        started_s = time.monotonic() - began
        wait_until(lambda: here.video(live)["state"] == "ready")
        ready_s = time.monotonic() - began

        backlog = [here.upload(files["long"].path, f"{n}.mp4") for n in range(12)]
        single = here.upload(files["short"].path, "single.mp4", project_id=add_project(here.owner, "another"))
        cancelled = backlog[-1]
        here.owner.execute("update jobs set state = 'cancelled', finished_at = now() where video_id = %s", (cancelled,))
        wait_until(lambda: "uploaded" not in here.states() and "processing" not in here.states())
    before = here.all(
        """
        select from segments s, segments one join jobs j on j.id = one.job_id
        where one.video_id = %s and s.video_id = any (%s) and s.claimed_at between j.created_at and one.claimed_at
        """,
        single,
        backlog,
    )

    log.info("started after %.2f s, ready after %.2f s; behind %d of a backlog", started_s, ready_s, len(before))
    assert started_s < 2
    assert ready_s < 5
    assert len(before) <= 8, "those that had its turn already, of some sixty"
    assert here.video(cancelled)["reason"]["type"] == "job-cancelled"
    assert {here.video(video)["state"] for video in backlog if video != cancelled} == {"ready"}
