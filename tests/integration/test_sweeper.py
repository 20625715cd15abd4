from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx
import pytest

from argus_ray.s3 import S3, frame_key, original_key
from argus_ray.sweeper import Swept, sweep
from tests.library import MEBIBYTE, announce, library, send

LATER = timedelta(hours=25)


@pytest.fixture(scope="module")
def place(postgres, s3):
    bucket = f"sweeper-{uuid4().hex[:8]}"  # its own: uploads that it does not know are aborted
    s3.client().create_bucket(Bucket=bucket)
    with library(postgres, s3, multipart_threshold_bytes=MEBIBYTE, bucket=bucket) as place:
        yield place


@pytest.fixture(scope="module")
def ana(place):
    with place.person("ana@example.org") as client:
        yield client


@pytest.fixture
def project(place, ana):
    """One of its own for each test; what other tests have left to sweep is swept first."""
    while sweep(place.worker, place.s3, None, datetime.now(UTC) + 30 * LATER) != Swept():
        pass
    return place.project(ana)


def doomed(place, project) -> int:
    (row,) = place.sql("select count(*) as n from doomed_objects where project_id = %s", project)
    return row["n"]


def test_an_upload_that_nobody_ended_goes_with_its_video_and_its_parts(place, ana, project):
    small = announce(ana, project, b"1234").json()
    send(small["upload"], b"1234")
    big = announce(ana, project, b"a" * 2 * MEBIBYTE).json()
    url = big["upload"]["parts"][0]["url"]

    assert sweep(place.worker, place.s3, None, datetime.now(UTC)).uploads == 0
    swept = sweep(place.worker, place.s3, None, datetime.now(UTC) + LATER)

    assert swept.uploads == 2
    assert httpx.put(url, content=b"late", trust_env=False).status_code == 404
    assert place.s3.head(place.s3.original(project, small["video"]["id"])) is None
    for created in (small, big):
        assert ana.get(f"/v1/videos/{created['video']['id']}").status_code == 404
        assert ana.post(f"/v1/videos/{created['video']['id']}/complete").status_code == 404


def test_a_deleted_video_leaves_nothing_at_s3(place, ana, project):
    job = place.bring(ana, project)
    place.s3.put_frames([(frame_key(project, job["video_id"], pts), b"jpeg") for pts in (0, 40_000)])
    place.make_ready(job, 0, 40_000)

    ana.delete(f"/v1/videos/{job['video_id']}").raise_for_status()
    sweep(place.worker, place.s3, None, datetime.now(UTC))

    assert place.s3.head(place.s3.original(project, job["video_id"])) is None
    assert place.s3.head(place.s3.at(frame_key(project, job["video_id"], 0))) is None
    assert doomed(place, project) == 2  # once more in an hour, in case somebody was still writing
    sweep(place.worker, place.s3, None, datetime.now(UTC) + LATER)
    assert doomed(place, project) == 0


def test_frames_that_a_new_policy_does_not_name_go_and_those_that_it_names_again_stay(place, ana, project):
    job = place.bring(ana, project)
    video = job["video_id"]
    place.s3.put_frames([(frame_key(project, video, pts), b"jpeg") for pts in (-5, 0, 7)])
    place.make_ready(job, 0)
    for pts_us in (-5, 0, 7):
        place.sql(
            "insert into doomed_objects (project_id, store, key) values (%s, 's3', %s)",
            project, frame_key(project, video, pts_us),
        )  # fmt: skip

    swept = sweep(place.worker, place.s3, None, datetime.now(UTC))

    assert (swept.objects, swept.put_off) == (2, 0)
    left = [place.s3.head(place.s3.at(frame_key(project, video, pts))) is not None for pts in (-5, 0, 7)]
    assert left == [False, True, False]
    assert doomed(place, project) == 0


def test_no_frame_is_deleted_while_an_ingest_may_be_writing_it_again(place, ana, project):
    job = place.bring(ana, project)
    key = frame_key(project, job["video_id"], 0)
    place.s3.put_frames([(key, b"jpeg")])
    place.sql("insert into doomed_objects (project_id, store, key) values (%s, 's3', %s)", project, key)
    place.sql("update videos set state = 'processing' where id = %s", job["video_id"])

    assert sweep(place.worker, place.s3, None, datetime.now(UTC)).put_off == 1
    assert place.s3.head(place.s3.at(key)) is not None
    place.make_ready(job)
    assert sweep(place.worker, place.s3, None, datetime.now(UTC) + timedelta(minutes=5)).objects == 1
    assert place.s3.head(place.s3.at(key)) is None


def test_a_run_that_is_out_of_time_leaves_the_rest_to_the_next_at_once(place, ana, project):
    for _ in range(2):
        job = place.bring(ana, project)
        ana.delete(f"/v1/videos/{job['video_id']}").raise_for_status()
    now = datetime.now(UTC)

    assert sweep(place.worker, place.s3, None, now, budget_s=-1) == Swept()
    assert sweep(place.worker, place.s3, None, now).objects == 4  # the objects and the poster of each


def test_while_s3_is_down_objects_wait_for_later_and_later(place, ana, project):
    away = S3(place.settings.model_copy(update={"s3_endpoint": "http://127.0.0.1:9"}))
    job = place.bring(ana, project)
    place.sql(
        "insert into doomed_objects (project_id, store, key) values (%s, 's3', %s)",
        project, frame_key(project, job["video_id"], 0),
    )  # fmt: skip
    other = place.bring(ana, project)
    ana.delete(f"/v1/videos/{other['video_id']}").raise_for_status()
    now = datetime.now(UTC)

    first = sweep(place.worker, away, None, now)
    second = sweep(place.worker, away, None, now)
    third = sweep(place.worker, away, None, now + timedelta(seconds=31))

    assert (first.put_off, second.put_off, third.put_off) == (2, 0, 2)
    waits = place.sql(
        "select attempts, not_before > %s as later from doomed_objects where project_id = %s and attempts > 0",
        now + timedelta(seconds=31 + 29), project,
    )  # fmt: skip
    assert {(row["attempts"], row["later"]) for row in waits} == {(2, True)}
    sweep(place.worker, place.s3, None, now + 2 * LATER)
    assert doomed(place, project) == 0


def test_what_is_old_is_forgotten(place, ana, project):
    job = place.bring(ana, project)
    place.make_ready(job, 0)
    gone = place.bring(ana, project)
    ana.delete(f"/v1/videos/{gone['video_id']}").raise_for_status()
    ana.post(
        f"/v1/projects/{project}/videos",
        json={"filename": "a", "size_bytes": 1},
        headers={"Idempotency-Key": f"key-{uuid4()}"},
    ).raise_for_status()

    swept = sweep(place.worker, place.s3, None, datetime.now(UTC) + timedelta(days=31))

    assert (swept.videos, swept.segments, swept.answers) == (1, 1, 1)
    assert ana.delete(f"/v1/videos/{gone['video_id']}").status_code == 404
    assert ana.get(f"/v1/jobs/{job['id']}").json()["state"] == "succeeded"
    assert ana.get(f"/v1/videos/{job['video_id']}/frames").json()["items"] != []


def test_uploads_at_s3_that_no_row_knows_are_aborted_when_they_are_old(place, ana, project):
    lost = original_key(project, uuid4())
    s3_upload_id = place.s3.create_multipart(lost)
    open_one = announce(ana, project, b"a" * 2 * MEBIBYTE).json()
    place.sql("update uploads set expires_at = now() + interval '9 days' where id = %s", open_one["upload"]["id"])

    sweep(place.worker, place.s3, None, datetime.now(UTC))
    assert place.s3.all_parts(lost, s3_upload_id) == []  # may be of a transaction that is not over
    sweep(place.worker, place.s3, None, datetime.now(UTC) + LATER)

    assert (lost, s3_upload_id) not in place.s3.stale_multiparts("projects/", datetime.now(UTC) + LATER)
    send(open_one["upload"], b"a" * 2 * MEBIBYTE)
    assert ana.post(f"/v1/videos/{open_one['video']['id']}/complete").status_code == 202
