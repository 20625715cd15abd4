from __future__ import annotations

import asyncio
import threading
import time
from functools import partial
from uuid import uuid4

import httpx
import pytest

from argus_ray.catalog import frames, ingest, jobs, segments, videos
from argus_ray.errors import ArgusError
from argus_ray.s3 import frame_key
from serve_apps.api.routes import jobs as job_routes
from tests.library import Library, announce, at_once, library, send


@pytest.fixture(scope="module")
def place(postgres, s3):
    with library(postgres, s3) as place:
        yield place


@pytest.fixture(scope="module")
def ana(place):
    with place.person("ana@example.org") as client:
        yield client


@pytest.fixture(scope="module")
def eve(place):
    with place.person("eve@example.org") as client:
        yield client


@pytest.fixture(scope="module")
def vic(place):
    with place.person("vic@example.org") as client:
        yield client


@pytest.fixture
def project(place, ana, vic):
    return place.project(ana, viewer=vic)


@pytest.fixture
def ready(place, ana, project) -> dict:
    """A ready video with three frames, as its GET shows it."""
    job = place.bring(ana, project, content_type="video/mp4", filename="Yard.mp4", metadata={"camera": 3})
    place.make_ready(job, -40_000, 0, 1_000_000)
    return ana.get(f"/v1/videos/{job['video_id']}").json() | {"job": job}


def type_of(answer: httpx.Response) -> str:
    return answer.json()["type"].rpartition("/")[2]


def walk(client: httpx.Client, path: str, **params) -> list[dict]:
    items, cursor = [], None
    while True:
        page = client.get(path, params={**params, **({"cursor": cursor} if cursor else {})}).raise_for_status().json()
        items += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return items


# -- videos --------------------------------------------------------------------------------------


def test_a_video_shows_what_is_known_of_it_and_no_inner_field(ready, ana):
    assert ready["state"] == "ready"
    assert {"reason", "warnings", "width", "height", "duration_us", "start_us", "codec", "container", "frame_rate",
            "variable_frame_rate", "frames_kept", "frames_dropped", "poster_url", "progress"} <= ready.keys()  # fmt: skip
    assert "poster" not in ready
    assert ready["poster_url"] is None
    assert ana.get(f"/v1/videos/{ready['id']}").headers["etag"] == f'"{ready["version"]}"'


def test_videos_are_listed_newest_first_page_by_page(ana, project):
    made = [announce(ana, project, b"x", filename=f"{n}.mp4").json()["video"]["id"] for n in range(5)]

    assert [video["id"] for video in walk(ana, f"/v1/projects/{project}/videos", limit=2)] == made[::-1]


def test_videos_are_found_by_state_name_metadata_and_time(place, ana, project, ready):
    other = announce(ana, project, b"x", filename="100% 'Quote'_.mp4", metadata={"camera": 4, "tags": ["a"]}).json()[
        "video"
    ]

    def found(**params) -> list[str]:
        return [video["id"] for video in walk(ana, f"/v1/projects/{project}/videos", **params)]

    assert found(state="ready") == [ready["id"]]
    assert found(state=["ready", "awaiting_upload"]) == [other["id"], ready["id"]]
    assert found(name="yard") == [ready["id"]]
    assert found(name="100% 'q") == [other["id"]]
    assert found(name="%") == [other["id"]]
    assert found(name="1__") == []
    assert found(metadata='{"camera": 3}') == [ready["id"]]
    assert found(metadata='{"tags": ["a"]}') == [other["id"]]
    assert found(created_after=other["created_at"]) == [other["id"]]
    assert found(created_before=other["created_at"]) == [ready["id"]]


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"state": "gone"}, "state"),
        ({"metadata": "[1]"}, "metadata"),
        ({"metadata": '{"a": NaN}'}, "metadata"),
        ({"metadata": '{"a": "\\u0000"}'}, "metadata"),
        ({"metadata": "{'a': 1}"}, "metadata"),
        ({"created_after": "2026-01-01"}, "created_after"),
        ({"created_after": "2026-01-01T00:00:00"}, "created_after"),
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"cursor": "bm90IG91cnM"}, "cursor"),
        ({"cursor": "W10"}, "cursor"),
        ({"offset": "1"}, "offset"),
    ],
)
def test_a_filter_that_cannot_be_is_refused_by_its_name(ana, project, params, field):
    refused = ana.get(f"/v1/projects/{project}/videos", params=params)

    assert (refused.status_code, type_of(refused)) == (422, "invalid-request")
    assert field in refused.json()["detail"]


def test_sql_in_strings_is_only_text(ana, project, ready):
    nasty = "'; delete from videos; -- \" \\ %s %(x)s {}"
    listed = ana.get(f"/v1/projects/{project}/videos", params={"name": nasty})
    renamed = ana.patch(f"/v1/videos/{ready['id']}", json={"name": nasty}, headers={"If-Match": "*"})

    assert listed.json()["items"] == []
    assert renamed.json()["name"] == nasty
    assert walk(ana, f"/v1/projects/{project}/videos", name=nasty)[0]["id"] == ready["id"]


def test_an_edit_needs_the_version_that_was_read(ana, ready):
    path, seen = f"/v1/videos/{ready['id']}", {"If-Match": f'"{ready["version"]}"'}

    assert ana.patch(path, json={"name": "b"}).status_code == 428
    edited = ana.patch(path, json={"name": "Ünï 🎬", "metadata": {"a": [1, None]}}, headers=seen)
    late = ana.patch(path, json={"name": "c"}, headers=seen)

    assert edited.status_code == 200
    assert (edited.json()["name"], edited.json()["metadata"]) == ("Ünï 🎬", {"a": [1, None]})
    assert edited.headers["etag"] == f'"{edited.json()["version"]}"'
    assert (late.status_code, type_of(late)) == (412, "precondition-failed")
    assert ana.get(path).json()["name"] == "Ünï 🎬"


def test_a_pipelines_progress_does_not_change_the_etag(place, ana, ready):
    with place.worker.transaction() as tx:
        tx.connection.execute("update videos set progress = 0.5, frames_kept = 7 where id = %s", (ready["id"],))

    assert ana.get(f"/v1/videos/{ready['id']}").json()["version"] == ready["version"]


@pytest.mark.parametrize(
    "change", [{"state": "ready"}, {"name": ""}, {"name": "a\x00"}, {"metadata": [1]}, {"id": "x"}]
)
def test_an_edit_that_cannot_be_changes_nothing(ana, ready, change):
    refused = ana.patch(f"/v1/videos/{ready['id']}", json=change, headers={"If-Match": "*"})

    assert refused.status_code == 422
    assert ana.get(f"/v1/videos/{ready['id']}").json()["version"] == ready["version"]


def test_deleting_removes_all_that_is_seen_of_a_video_and_again_is_a_no_op(place, ana, project, ready):
    frames = walk(ana, f"/v1/videos/{ready['id']}/frames")
    path = f"/v1/videos/{ready['id']}"

    assert [ana.delete(path).status_code for _ in range(2)] == [204, 204]

    for gone in (path, f"{path}/frames", f"{path}/media", f"/v1/frames/{frames[0]['id']}"):
        assert ana.get(gone).status_code == 404
    assert walk(ana, f"/v1/projects/{project}/videos") == []
    assert place.sql("select from frames where video_id = %s", ready["id"]) == []
    assert place.sql("select from segments where video_id = %s", ready["id"]) == []
    assert ana.post(f"{path}:reingest").status_code == 404
    assert ana.patch(path, json={"name": "b"}, headers={"If-Match": "*"}).status_code == 404
    assert ana.post(f"/v1/jobs/{ready['job']['id']}:retry").status_code == 409


def test_deleting_a_video_ends_its_work(place, ana, project):
    job = place.bring(ana, project)

    ana.delete(f"/v1/videos/{job['video_id']}").raise_for_status()

    assert ana.get(f"/v1/jobs/{job['id']}").json()["state"] == "cancelled"
    assert place.sql("select from segments where job_id = %s", job["id"]) == []


def test_the_original_can_be_watched_by_ranges_for_a_while(place, ana, ready):
    media = ana.get(f"/v1/videos/{ready['id']}/media").json()
    sent = ana.get(f"/v1/videos/{ready['id']}/media?redirect=1")

    assert media["expires_at"] > ready["created_at"]
    part = httpx.get(media["url"], headers={"Range": "bytes=0-3"}, trust_env=False)
    assert (part.status_code, len(part.content), part.headers["content-type"]) == (206, 4, "video/mp4")
    assert part.headers["content-disposition"] == "inline; filename*=UTF-8''Yard.mp4"
    assert sent.status_code == 307
    assert sent.headers["location"].partition("?")[0] == media["url"].partition("?")[0]


def test_a_video_that_calls_itself_a_page_is_not_shown_as_one(place, ana, project):
    job = place.bring(ana, project, b"<script>alert(1)</script>", content_type="text/html", filename="a.html")

    url = ana.get(f"/v1/videos/{job['video_id']}/media").json()["url"]

    assert httpx.get(url, trust_env=False).headers["content-type"] == "application/octet-stream"


def test_a_video_of_no_announced_type_is_played_by_its_name(place, ana, project):
    job = place.bring(ana, project, filename="a.webm")

    url = ana.get(f"/v1/videos/{job['video_id']}/media").json()["url"]

    assert httpx.get(url, trust_env=False).headers["content-type"] == "video/webm"


def test_a_video_without_bytes_has_no_media(ana, project):
    video = announce(ana, project, b"x").json()["video"]

    early = ana.get(f"/v1/videos/{video['id']}/media")

    assert (early.status_code, type_of(early)) == (409, "conflict")


def test_a_page_is_read_by_its_index_however_many_rows_there_are(place, ana, project):
    place.sql("set session_replication_role = replica")  # so many that triggers would take their time
    place.sql(
        "insert into videos (project_id, name, state, created_at) select %s, 'v' || n, 'ready', now() - n * interval '1 s'"
        " from generate_series(1, 5000) n",
        project,
    )
    place.sql(
        "insert into jobs (project_id, kind, state, video_id, created_at, finished_at)"
        " select project_id, 'ingest', 'succeeded', id, created_at, now() from videos where project_id = %s",
        project,
    )
    place.sql("set session_replication_role = origin")
    (middle,) = place.sql("select id, created_at from videos where project_id = %s and name = 'v2500'", project)
    place.sql(
        "insert into frames (project_id, video_id, pts_us, id, job_id, segment_number, width, height, size_bytes, why)"
        " select %s, %s, n, gen_random_uuid(), gen_random_uuid(), 0, 1, 1, 1, 'fps' from generate_series(1, 5000) n",
        project, middle["id"],
    )  # fmt: skip
    place.sql("analyze")
    place_of = (middle["created_at"], middle["id"])

    for statement in (
        videos.page(project, after=place_of, rows=101),
        jobs.page(project, after=place_of, rows=101),
        jobs.page(project, video_id=middle["id"], after=None, rows=101),
        jobs.first_of_video(project, middle["id"]),
        frames.page(project, middle["id"], after=2500, rows=101),
    ):
        nodes = place.explain(ana.get("/v1/me").json()["user_id"], statement)
        assert "Seq Scan" not in {node["Node Type"] for node in nodes}
        read = max(node["Actual Rows"] for node in nodes if "Index" in node["Node Type"])
        assert read <= 101, nodes


# -- frames --------------------------------------------------------------------------------------


def test_frames_come_by_time_with_urls_that_work(place, ana, project, ready):
    place.s3.put_frames([(frame_key(project, ready["id"], pts), b"%d" % pts) for pts in (-40_000, 0, 1_000_000)])

    frames = walk(ana, f"/v1/videos/{ready['id']}/frames", limit=1)

    assert [frame["pts_us"] for frame in frames] == [-40_000, 0, 1_000_000]
    assert [httpx.get(frame["url"], trust_env=False).content for frame in frames] == [b"-40000", b"0", b"1000000"]
    assert {(frame["width"], frame["height"], frame["why"]) for frame in frames} == {(640, 360, "fps")}
    one = ana.get(f"/v1/frames/{frames[1]['id']}").json()
    assert one | {"url": ""} == frames[1] | {"url": ""}
    between = walk(ana, f"/v1/videos/{ready['id']}/frames", from_us=0, to_us=1_000_000)
    assert [frame["pts_us"] for frame in between] == [0]


@pytest.mark.parametrize(
    "params", [{"from_us": 2**63}, {"to_us": "x"}, {"cursor": "IngNCg"}, {"cursor": "OTk5OTk5OTk5OTk5OTk5OTk5OTk5"}]
)
def test_times_that_cannot_be_are_refused(ana, ready, params):
    assert ana.get(f"/v1/videos/{ready['id']}/frames", params=params).status_code == 422


def test_frames_of_a_video_that_is_not_ready_are_not_shown(place, ana, ready):
    (frame, *_) = walk(ana, f"/v1/videos/{ready['id']}/frames")
    ana.post(f"/v1/videos/{ready['id']}:reingest").raise_for_status()

    assert walk(ana, f"/v1/videos/{ready['id']}/frames") == []
    assert ana.get(f"/v1/frames/{frame['id']}").status_code == 404


# -- work ----------------------------------------------------------------------------------------


def test_a_ready_video_is_ingested_again_under_another_policy(ana, ready):
    asked = ana.post(f"/v1/videos/{ready['id']}:reingest", json={"sampling": {"policy": "keyframes"}})

    assert asked.status_code == 202
    assert asked.headers["location"] == f"/v1/jobs/{asked.json()['id']}"
    video = ana.get(f"/v1/videos/{ready['id']}").json()
    assert (video["state"], video["sampling"]["policy"]) == ("uploaded", "keyframes")
    again = ana.post(f"/v1/videos/{ready['id']}:reingest")
    assert (again.status_code, again.json()["job_id"]) == (409, asked.json()["id"])


def test_a_video_without_bytes_is_not_ingested_again(ana, project):
    video = announce(ana, project, b"x").json()["video"]

    assert ana.post(f"/v1/videos/{video['id']}:reingest").status_code == 409


def test_a_queued_job_is_cancelled_at_once_and_can_be_retried(place, ana, project):
    job = place.bring(ana, project)

    cancelled = ana.post(f"/v1/jobs/{job['id']}:cancel")
    video = ana.get(f"/v1/videos/{job['video_id']}").json()
    again = ana.post(f"/v1/jobs/{job['id']}:cancel")
    retried = ana.post(f"/v1/jobs/{job['id']}:retry")

    assert cancelled.status_code == 200
    assert cancelled.json()["state"] == "cancelled"
    assert cancelled.json()["reason"]["type"] == "job-cancelled"
    assert (video["state"], video["reason"]["type"]) == ("failed", "job-cancelled")
    assert again.json() == cancelled.json()
    assert (retried.json()["state"], retried.json()["reason"], retried.json()["finished_at"]) == ("queued", None, None)
    assert ana.get(f"/v1/videos/{job['video_id']}").json()["state"] == "uploaded"
    assert place.sql("select state from segments where job_id = %s", job["id"]) == [{"state": "queued"}]
    assert ana.post(f"/v1/jobs/{job['id']}:retry").status_code == 409


def test_cancelling_a_running_job_takes_its_fence(place, ana, project):
    job = place.bring(ana, project)
    place.sql("update jobs set state = 'running', started_at = now() where id = %s", job["id"])
    place.sql("update videos set state = 'processing' where id = %s", job["video_id"])
    place.sql("update segments set state = 'running', run_id = %s, fence = 4 where job_id = %s", uuid4(), job["id"])

    assert ana.post(f"/v1/jobs/{job['id']}:cancel").json()["state"] == "cancelled"

    assert place.sql("select state, fence from segments where job_id = %s", job["id"]) == [
        {"state": "cancelled", "fence": 5}
    ]
    assert ana.get(f"/v1/videos/{job['video_id']}").json()["state"] == "failed"


def end_as_a_pipeline(place: Library, job: dict, claim: segments.Claim) -> str:
    """Fail the job's only segment; or the type of what was in the way."""
    try:
        with place.worker.transaction() as tx:
            tx.one(segments.lock_job(job["id"]))
            tx.one(segments.fail(claim, {"type": "not-a-video", "detail": "it is none"}))
            tx.maybe(ingest.settle(job["id"]))
    except ArgusError as error:
        return error.type
    return "settled"


def test_cancelling_deleting_and_ending_at_once_wait_for_each_other_in_one_order(place, ana, project):
    run = uuid4()
    place.sql(
        "insert into runs (pool, id, kind, lease_until, accepts_until)"
        " values ('test', %s, 'ingest', now() + interval '1 h', now() + interval '1 h')",
        run,
    )
    for _ in range(8):
        job = place.bring(ana, project)
        (segment,) = place.sql("select id from segments where job_id = %s", job["id"])
        place.sql("update jobs set state = 'running', started_at = now() where id = %s", job["id"])
        place.sql("update videos set state = 'processing' where id = %s", job["video_id"])
        place.sql(
            "update segments set state = 'running', run_id = %s, fence = 1, started_at = now() where id = %s",
            run, segment["id"],
        )  # fmt: skip

        *answers, ended = at_once(
            partial(ana.post, f"/v1/jobs/{job['id']}:cancel"),
            partial(ana.delete, f"/v1/videos/{job['video_id']}"),
            partial(end_as_a_pipeline, place, job, segments.Claim(segment["id"], run, 1)),
        )

        assert {answer.status_code for answer in answers} <= {200, 204, 404, 409}
        assert ended in {"settled", "fence-lost"}
        assert ana.get(f"/v1/jobs/{job['id']}").json()["state"] in {"cancelled", "failed"}
        assert ana.get(f"/v1/videos/{job['video_id']}").status_code == 404


def test_a_job_that_succeeded_is_neither_cancelled_nor_retried(ana, ready):
    for verb in ("cancel", "retry"):
        refused = ana.post(f"/v1/jobs/{ready['job']['id']}:{verb}")
        assert (refused.status_code, type_of(refused)) == (409, "conflict")


def test_jobs_are_listed_by_kind_state_and_video(place, ana, project, ready):
    other = place.bring(ana, project)
    path = f"/v1/projects/{project}/jobs"

    assert [job["id"] for job in walk(ana, path, limit=1)] == [other["id"], ready["job"]["id"]]
    assert [job["id"] for job in walk(ana, path, state="queued")] == [other["id"]]
    assert [job["id"] for job in walk(ana, path, video_id=ready["id"])] == [ready["job"]["id"]]
    assert len(walk(ana, path, kind="ingest")) == 2


def test_waiting_for_a_job_answers_when_it_has_ended(place, ana, project):
    job = place.bring(ana, project)
    now = ana.get(f"/v1/jobs/{job['id']}")
    assert (now.json()["state"], now.headers["retry-after"]) == ("queued", "2")
    answers: list[httpx.Response] = []
    waiting = threading.Thread(target=lambda: answers.append(ana.get(f"/v1/jobs/{job['id']}?wait=30")))
    waiting.start()

    place.make_ready(job)
    ended = time.monotonic()
    waiting.join()

    assert answers[0].json()["state"] == "succeeded"
    assert "retry-after" not in answers[0].headers
    assert time.monotonic() - ended < 5


def test_more_who_wait_than_there_are_connections_keep_nobody_else_waiting(place, ana, project):
    job = place.bring(ana, project)
    waiting = [threading.Thread(target=ana.get, args=(f"/v1/jobs/{job['id']}?wait=20",)) for _ in range(20)]
    for thread in waiting:
        thread.start()

    assert ana.get(f"/v1/videos/{job['video_id']}").status_code == 200

    place.make_ready(job)
    for thread in waiting:
        thread.join()


def test_where_too_many_wait_the_next_is_answered_at_once(place, ana, project, monkeypatch):
    job = place.bring(ana, project)
    monkeypatch.setattr(job_routes, "_places_to_wait", asyncio.Semaphore(0))
    began = time.monotonic()

    answer = ana.get(f"/v1/jobs/{job['id']}?wait=30")

    assert (answer.json()["state"], answer.headers["retry-after"]) == ("queued", "2")
    assert time.monotonic() - began < 15


@pytest.mark.parametrize("wait", ["-1", "61", "x", "1e9"])
def test_nobody_waits_for_ever(ana, ready, wait):
    assert ana.get(f"/v1/jobs/{ready['job']['id']}", params={"wait": wait}).status_code == 422


# -- who may -------------------------------------------------------------------------------------


def test_what_is_anothers_is_as_if_it_were_not_there(ana, eve, project, ready):
    frame = walk(ana, f"/v1/videos/{ready['id']}/frames")[0]["id"]

    def answers(project_id, video_id, frame_id, job_id) -> list[tuple[int, str]]:
        asked = [
            eve.get(f"/v1/projects/{project_id}/videos"),
            eve.get(f"/v1/projects/{project_id}/jobs"),
            eve.get(f"/v1/videos/{video_id}"),
            eve.patch(f"/v1/videos/{video_id}", json={"name": "mine"}, headers={"If-Match": "*"}),
            eve.delete(f"/v1/videos/{video_id}"),
            eve.get(f"/v1/videos/{video_id}/media"),
            eve.get(f"/v1/videos/{video_id}/frames"),
            eve.post(f"/v1/videos/{video_id}:reingest"),
            eve.get(f"/v1/frames/{frame_id}"),
            eve.get(f"/v1/jobs/{job_id}"),
            eve.get(f"/v1/jobs/{job_id}?wait=5"),
            eve.post(f"/v1/jobs/{job_id}:cancel"),
            eve.post(f"/v1/jobs/{job_id}:retry"),
        ]
        return [(answer.status_code, answer.json()["detail"]) for answer in asked]

    theirs = answers(project, ready["id"], frame, ready["job"]["id"])
    assert {status for status, _ in theirs} == {404}
    assert theirs == answers(*[uuid4()] * 4)
    assert ana.get(f"/v1/videos/{ready['id']}").json()["version"] == ready["version"]


def test_a_viewer_looks_and_does_not_touch(place, ana, vic, project, ready):
    queued = place.bring(ana, project)
    for path in (f"/v1/videos/{ready['id']}", f"/v1/videos/{ready['id']}/frames", f"/v1/videos/{ready['id']}/media"):
        assert vic.get(path).status_code == 200

    for refused in (
        vic.patch(f"/v1/videos/{ready['id']}", json={"name": "mine"}, headers={"If-Match": "*"}),
        vic.delete(f"/v1/videos/{ready['id']}"),
        vic.post(f"/v1/videos/{ready['id']}:reingest"),
        vic.post(f"/v1/jobs/{queued['id']}:cancel"),
        vic.post(f"/v1/jobs/{queued['id']}:retry"),
    ):
        assert (refused.status_code, type_of(refused)) == (403, "forbidden")
    assert ana.get(f"/v1/jobs/{queued['id']}").json()["state"] == "queued"


@pytest.mark.parametrize(
    "path", ["videos/x", "videos/x/frames", "frames/x", "jobs/x", "uploads/x", "videos/%00", "jobs/1:pause"]
)
def test_an_id_that_is_none_is_refused(ana, path):
    refused = ana.get(f"/v1/{path}")

    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"


def test_verbs_after_a_colon_are_not_mistaken_for_ids(ana, ready):
    assert ana.post(f"/v1/videos/{ready['id']}:explode").status_code == 405
    assert ana.get(f"/v1/videos/{ready['id']}:reingest").status_code == 422
    assert ana.post(f"/v1/videos/{ready['id']}%3Areingest").status_code == 202


def test_every_change_leaves_an_audit_row_with_its_caller(place, ana, project, ready):
    ana.patch(f"/v1/videos/{ready['id']}", json={"name": "b"}, headers={"If-Match": "*"}).raise_for_status()
    ana.delete(f"/v1/videos/{ready['id']}").raise_for_status()

    rows = place.sql(
        "select action, actor, changes from audit where subject = 'videos' and subject_id = %s order by id", ready["id"]
    )
    by_ana = [row for row in rows if row["actor"]]
    assert {row["actor"] for row in by_ana} == {f"user:{ana.get('/v1/me').json()['user_id']}"}
    assert by_ana[0]["action"] == "insert"
    assert any("name" in (row["changes"] or {}) for row in by_ana)
    assert by_ana[-1]["changes"]["state"][1] == "deleted"


def test_a_key_brings_videos_as_a_person_does_and_is_named_in_the_audit(place, ana, project):
    made = ana.post(f"/v1/projects/{project}/api-keys", json={"name": "camera", "role": "editor"}).json()
    with httpx.Client(base_url=place.url, headers={"X-Api-Key": made["key"]}, trust_env=False) as camera:
        job = place.bring(camera, project)
        assert camera.get(f"/v1/videos/{job['video_id']}").json()["state"] == "uploaded"
        assert camera.get(f"/v1/projects/{place.project(ana)}/videos").status_code == 404
        assert camera.post(f"/v1/jobs/{job['id']}:cancel").status_code == 200

    rows = place.sql("select distinct actor from audit where subject_id in (%s, %s)", job["id"], job["video_id"])
    assert {row["actor"] for row in rows} == {f"key:{made['id']}"}


def test_a_key_that_may_only_read_brings_nothing(place, ana, project):
    made = ana.post(
        f"/v1/projects/{project}/api-keys", json={"name": "wall", "role": "editor", "scopes": ["read"]}
    ).json()
    with httpx.Client(base_url=place.url, headers={"X-Api-Key": made["key"]}, trust_env=False) as wall:
        assert announce(wall, project, b"x").status_code == 403
        assert wall.get(f"/v1/projects/{project}/videos").status_code == 200


def test_while_s3_is_down_what_needs_it_is_503_and_changes_nothing(postgres, s3):
    away = {"s3_endpoint": "http://127.0.0.1:9", "multipart_threshold_bytes": 10, "import_prefixes": ["s3://argus/in"]}
    with library(postgres, s3, **away) as place, place.person("pia@example.org") as pia:
        project = place.project(pia)
        small = announce(pia, project, b"x").json()  # signing needs nobody

        for refused in (
            announce(pia, project, b"x" * 10),
            pia.post(f"/v1/videos/{small['video']['id']}/complete"),
            pia.delete(f"/v1/uploads/{small['upload']['id']}"),
            pia.post(f"/v1/projects/{project}/videos:import", json={"uri": "s3://argus/in/a.mp4"}),
        ):
            assert (refused.status_code, type_of(refused)) == (503, "unavailable")
            assert int(refused.headers["retry-after"]) > 0
        (video,) = walk(pia, f"/v1/projects/{project}/videos")
        assert (video["id"], video["state"]) == (small["video"]["id"], "awaiting_upload")


# -- posters -------------------------------------------------------------------------------------


def test_while_storage_is_down_a_video_is_shown_without_its_poster(postgres, s3):
    with library(postgres, s3, secret_key="sb_secret_x") as place, place.person("pia@example.org") as pia:
        project = place.project(pia)
        job = place.bring(pia, project)
        place.sql("update videos set poster = true where id = %s", job["video_id"])

        video = pia.get(f"/v1/videos/{job['video_id']}")  # the issuer's server knows no Storage

        assert (video.status_code, video.json()["poster_url"]) == (200, None)
        assert len(walk(pia, f"/v1/projects/{project}/videos")) == 1
        send(announce(pia, project, b"y").json()["upload"], b"y")
