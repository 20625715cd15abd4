from __future__ import annotations

import json
from functools import partial
from uuid import uuid4

import httpx
import pytest

from argus_ray.s3 import original_key
from tests.library import MEBIBYTE, announce, at_once, library, send, sha256

PART = 16 * MEBIBYTE


@pytest.fixture(scope="module")
def place(postgres, s3):
    with library(postgres, s3, import_prefixes=[f"s3://{s3.bucket}/inbox"]) as place:
        yield place


@pytest.fixture(scope="module")
def ana(place):
    with place.person("ana@example.org") as client:
        yield client


@pytest.fixture(scope="module")
def eve(place):
    """Somebody with a project of her own."""
    with place.person("eve@example.org") as client:
        yield client


@pytest.fixture(scope="module")
def vic(place):
    with place.person("vic@example.org") as client:
        yield client


@pytest.fixture(scope="module")
def project(place, ana, vic):
    return place.project(ana, viewer=vic)


@pytest.fixture
def body() -> bytes:
    return uuid4().bytes * 64


def complete(client: httpx.Client, video: dict, **said) -> httpx.Response:
    return client.post(f"/v1/videos/{video['id']}/complete", json=said)


def type_of(answer: httpx.Response) -> str:
    return answer.json()["type"].rpartition("/")[2]


# -- a single PUT --------------------------------------------------------------------------------


def test_a_video_is_announced_sent_and_completed_into_a_queued_job(place, ana, project, body):
    created = announce(ana, project, body, content_type="video/mp4", metadata={"camera": 3})
    assert created.status_code == 201
    video, upload = created.json()["video"], created.json()["upload"]
    assert (video["state"], upload["kind"]) == ("awaiting_upload", "put")
    assert created.headers["location"] == f"/v1/videos/{video['id']}"

    send(upload, body)
    done = complete(ana, video)

    assert done.status_code == 202
    job = done.json()
    assert (job["kind"], job["state"], job["video_id"]) == ("ingest", "queued", video["id"])
    assert done.headers["location"] == f"/v1/jobs/{job['id']}"
    assert ana.get(f"/v1/videos/{video['id']}").json()["state"] == "uploaded"
    assert place.sql("select plan, state from segments where job_id = %s", job["id"]) == [
        {"plan": None, "state": "queued"}
    ]
    assert place.s3.get(place.s3.original(project, video["id"])) == body


def test_a_video_keeps_the_policy_that_was_the_projects_when_it_came(ana, place):
    project = place.project(ana)
    old = announce(ana, project, b"x").json()["video"]
    ana.patch(
        f"/v1/projects/{project}", json={"sampling": {"policy": "keyframes"}}, headers={"If-Match": "*"}
    ).raise_for_status()
    new = announce(ana, project, b"x").json()["video"]
    own = announce(ana, project, b"x", sampling={"policy": "uniform", "count": 5}).json()["video"]

    assert (old["sampling"]["policy"], old["sampling"]["fps"]) == ("fps", 1.0)
    assert new["sampling"]["policy"] == "keyframes"
    assert (own["sampling"]["policy"], own["sampling"]["count"]) == ("uniform", 5)
    assert ana.get(f"/v1/videos/{old['id']}").json()["sampling"] == old["sampling"]


def test_completing_twice_gives_the_same_job(ana, project, body):
    created = announce(ana, project, body).json()
    send(created["upload"], body)

    first, second = complete(ana, created["video"]), complete(ana, created["video"])

    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json() == second.json()
    assert first.headers["location"] == second.headers["location"]


def test_two_completes_at_once_queue_one_job(place, ana, project, body):
    created = announce(ana, project, body).json()
    send(created["upload"], body)

    answers = at_once(*[partial(complete, ana, created["video"])] * 6)

    assert [answer.status_code for answer in answers] == [202] * 6
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert place.sql("select count(*) as n from jobs where video_id = %s", created["video"]["id"]) == [{"n": 1}]


def test_completing_before_anything_arrived_says_so_and_changes_nothing(ana, project, body):
    created = announce(ana, project, body).json()

    early = complete(ana, created["video"])

    assert (early.status_code, type_of(early)) == (409, "upload-incomplete")
    send(created["upload"], body)
    assert complete(ana, created["video"]).status_code == 202


def test_a_size_other_than_announced_is_refused_and_the_upload_stays_usable(place, ana, project, body):
    created = announce(ana, project, body).json()
    place.s3.client.put_object(Bucket=place.s3.bucket, Key=original_key(project, created["video"]["id"]), Body=b"short")

    wrong = complete(ana, created["video"])

    assert (wrong.status_code, type_of(wrong)) == (422, "upload-mismatch")
    assert wrong.json()["arrived_bytes"] == 5
    send(created["upload"], body)
    assert complete(ana, created["video"]).status_code == 202


def test_s3_refuses_other_bytes_than_those_of_the_sha256(ana, project, body):
    created = announce(ana, project, body, sha256=sha256(body)).json()
    with pytest.raises(httpx.HTTPStatusError, match="400"):
        send(created["upload"], body[::-1])
    assert type_of(complete(ana, created["video"])) == "upload-incomplete"

    send(created["upload"], body)
    assert complete(ana, created["video"]).status_code == 202


def test_bytes_that_the_project_has_are_not_sent_again(place, ana, eve, project, body):
    job = place.bring(ana, project, body, sha256=sha256(body))

    again = announce(ana, project, body, sha256=sha256(body), filename="another name.mp4")

    assert again.status_code == 200
    assert again.json()["upload"] is None
    assert again.json()["video"]["id"] == job["video_id"]
    elsewhere = announce(eve, place.project(eve), body, sha256=sha256(body))
    assert elsewhere.status_code == 201


@pytest.mark.parametrize("state", ["failed", "deleted", "awaiting_upload"])
def test_a_video_that_failed_was_deleted_or_never_arrived_does_not_stand_for_its_bytes(
    place, ana, project, body, state
):
    if state == "awaiting_upload":
        announce(ana, project, body, sha256=sha256(body))
    else:
        job = place.bring(ana, project, body, sha256=sha256(body))
        if state == "failed":
            ana.post(f"/v1/jobs/{job['id']}:cancel").raise_for_status()
        else:
            ana.delete(f"/v1/videos/{job['video_id']}").raise_for_status()

    assert announce(ana, project, body, sha256=sha256(body)).status_code == 201


def test_an_idempotency_key_announces_and_completes_once(place, ana, project, body):
    key = {"Idempotency-Key": f"key-{uuid4()}"}
    asked = {"filename": "clip.mp4", "size_bytes": len(body)}
    first = ana.post(f"/v1/projects/{project}/videos", json=asked, headers=key)
    second = ana.post(f"/v1/projects/{project}/videos", json=asked, headers=key)
    assert first.json() == second.json()
    assert second.headers["idempotent-replayed"] == "true"

    send(first.json()["upload"], body)
    path, key = f"/v1/videos/{first.json()['video']['id']}/complete", {"Idempotency-Key": f"key-{uuid4()}"}
    assert ana.post(path, headers=key).json() == ana.post(path, headers=key).json()


# -- parts ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(postgres, s3):
    """A library where everything above one mebibyte goes in parts."""
    with library(postgres, s3, multipart_threshold_bytes=MEBIBYTE) as many:
        yield many


@pytest.fixture(scope="module")
def bea(many):
    with many.person("bea@example.org") as client:
        yield client


@pytest.fixture(scope="module")
def parted(many, bea):
    return many.project(bea)


def test_a_big_video_goes_in_parts_and_goes_on_where_it_stopped(many, bea, parted):
    body = b"a" * PART + b"b" * 1000
    created = announce(bea, parted, body, content_type="video/mp4").json()
    upload = created["upload"]
    assert (upload["kind"], upload["part_size_bytes"], upload["part_count"]) == ("multipart", PART, 2)
    assert [part["number"] for part in upload["parts"]] == [1, 2]
    httpx.put(upload["parts"][0]["url"], content=body[:PART], trust_env=False).raise_for_status()

    early = complete(bea, created["video"])
    arrived = bea.get(f"/v1/uploads/{upload['id']}/parts").json()
    fresh = bea.post(f"/v1/uploads/{upload['id']}/parts", json={"numbers": [2]}).json()["items"]
    answer = httpx.put(fresh[0]["url"], content=body[PART:], trust_env=False).raise_for_status()
    all_parts = bea.get(f"/v1/uploads/{upload['id']}/parts?limit=1").json()
    following = bea.get(f"/v1/uploads/{upload['id']}/parts", params={"cursor": all_parts["next_cursor"]}).json()
    lie = complete(bea, created["video"], parts=[{"number": 2, "etag": '"0123"'}])
    extra = complete(bea, created["video"], parts=[{"number": 3, "etag": '"0123"'}])
    done = complete(bea, created["video"], parts=[{"number": 2, "etag": answer.headers["etag"].strip('"')}])

    assert (early.status_code, type_of(early), early.json()["missing"]) == (409, "upload-incomplete", [2])
    assert [(part["number"], part["size_bytes"]) for part in arrived["items"]] == [(1, PART)]
    assert [part["number"] for part in all_parts["items"]] == [1]
    assert [part["number"] for part in following["items"]] == [2]
    assert (lie.status_code, type_of(lie), lie.json()["part"]) == (422, "upload-mismatch", 2)
    assert (extra.status_code, extra.json()["part"]) == (422, 3)
    assert done.status_code == 202
    at = many.s3.original(parted, created["video"]["id"])
    assert many.s3.head(at).size_bytes == len(body)
    assert many.s3.head(at).content_type == "video/mp4"
    assert bea.get(f"/v1/uploads/{upload['id']}/parts").status_code == 409  # ended


def test_a_part_of_another_size_is_named_and_can_be_sent_again(bea, parted):
    body = b"a" * PART + b"b" * 1000
    created = announce(bea, parted, body).json()
    one, two = created["upload"]["parts"]
    httpx.put(one["url"], content=body[:PART], trust_env=False).raise_for_status()
    httpx.put(two["url"], content=b"short", trust_env=False).raise_for_status()

    wrong = complete(bea, created["video"])

    assert (wrong.status_code, type_of(wrong), wrong.json()["part"]) == (422, "upload-mismatch", 2)
    httpx.put(two["url"], content=body[PART:], trust_env=False).raise_for_status()
    assert complete(bea, created["video"]).status_code == 202


def test_parts_that_s3_has_joined_before_the_answer_was_lost_complete_all_the_same(many, bea, parted):
    body = b"a" * 2 * MEBIBYTE
    created = announce(bea, parted, body).json()
    send(created["upload"], body)
    key = original_key(parted, created["video"]["id"])
    (row,) = many.sql("select s3_upload_id from uploads where id = %s", created["upload"]["id"])
    many.s3.complete_multipart(key, row["s3_upload_id"], many.s3.all_parts(key, row["s3_upload_id"]))

    assert complete(bea, created["video"]).status_code == 202


def test_numbers_that_the_upload_does_not_have_get_no_url(bea, parted):
    upload = announce(bea, parted, b"a" * 2 * MEBIBYTE).json()["upload"]

    for numbers in ([2], [0], [10_001], [-1], [2**70], ["1; drop table videos"], [], [1] * 1001):
        refused = bea.post(f"/v1/uploads/{upload['id']}/parts", json={"numbers": numbers})
        assert (refused.status_code, type_of(refused)) == (422, "invalid-request")
    assert bea.post(f"/v1/uploads/{upload['id']}/parts", json={"numbers": [1]}).status_code == 200


def test_a_giant_upload_gets_its_first_thousand_urls_at_once(bea, parted):
    asked = {"filename": "long.mkv", "size_bytes": 50 * 2**30}

    upload = bea.post(f"/v1/projects/{parted}/videos", json=asked).json()["upload"]

    assert len(upload["parts"]) == 1000
    assert upload["part_count"] == 3200
    assert upload["part_count"] * upload["part_size_bytes"] >= asked["size_bytes"]
    last = bea.post(f"/v1/uploads/{upload['id']}/parts", json={"numbers": [3200]}).json()["items"]
    assert "partNumber=3200" in last[0]["url"]


# -- giving up -----------------------------------------------------------------------------------


def test_an_aborted_upload_ends_at_s3_too_and_takes_its_video_along(many, bea, parted):
    created = announce(bea, parted, b"a" * 2 * MEBIBYTE).json()
    url = created["upload"]["parts"][0]["url"]

    assert bea.delete(f"/v1/uploads/{created['upload']['id']}").status_code == 204
    assert bea.delete(f"/v1/uploads/{created['upload']['id']}").status_code == 204
    assert httpx.put(url, content=b"late", trust_env=False).status_code == 404
    assert bea.get(f"/v1/videos/{created['video']['id']}").status_code == 404
    assert complete(bea, created["video"]).status_code == 404


def test_a_completed_upload_cannot_be_aborted(ana, project, body):
    created = announce(ana, project, body).json()
    send(created["upload"], body)
    complete(ana, created["video"])

    assert ana.delete(f"/v1/uploads/{created['upload']['id']}").status_code == 409


def test_of_completing_aborting_and_deleting_at_once_one_wins(place, ana, project):
    for _ in range(5):
        created = announce(ana, project, b"x").json()
        send(created["upload"], b"x")
        video, upload = f"/v1/videos/{created['video']['id']}", f"/v1/uploads/{created['upload']['id']}"

        answers = at_once(
            *[partial(ana.post, f"{video}/complete"), partial(ana.delete, upload), partial(ana.delete, video)] * 2
        )

        assert {answer.status_code for answer in answers} <= {202, 204, 404, 409}
        assert ana.get(f"/v1/videos/{created['video']['id']}").status_code == 404
        open_ones = place.sql(
            "select from jobs where video_id = %s and state in ('queued', 'running')", created["video"]["id"]
        )
        assert open_ones == []


def test_an_expired_upload_says_what_to_do(place, ana, project, body):
    created = announce(ana, project, body).json()
    send(created["upload"], body)
    place.sql("update uploads set expires_at = now() - interval '1 s' where id = %s", created["upload"]["id"])

    for late in (complete(ana, created["video"]), ana.get(f"/v1/uploads/{created['upload']['id']}")):
        assert (late.status_code, type_of(late)) == (409, "upload-expired")
        assert "announce the video again" in late.json()["detail"]


# -- who may -------------------------------------------------------------------------------------


def test_uploads_of_others_are_as_if_they_were_not_there(ana, eve, project, body):
    created = announce(ana, project, body).json()
    video, upload = created["video"], created["upload"]
    nowhere = uuid4()

    def answers(video_id, upload_id, project_id) -> list[tuple[int, str]]:
        asked = [
            announce(eve, project_id, body),
            eve.post(f"/v1/projects/{project_id}/videos:import", json={"uri": "s3://argus/inbox/a.mp4"}),
            eve.post(f"/v1/videos/{video_id}/complete"),
            eve.get(f"/v1/uploads/{upload_id}"),
            eve.get(f"/v1/uploads/{upload_id}/parts"),
            eve.post(f"/v1/uploads/{upload_id}/parts", json={"numbers": [1]}),
            eve.delete(f"/v1/uploads/{upload_id}"),
        ]
        return [(answer.status_code, answer.json()["detail"]) for answer in asked]

    theirs = answers(video["id"], upload["id"], project)
    assert {status for status, _ in theirs} == {404}
    assert theirs == answers(nowhere, nowhere, nowhere)
    send(upload, body)
    assert complete(ana, video).status_code == 202


def test_a_viewer_sees_and_changes_nothing(ana, vic, project, s3, body):
    created = announce(ana, project, body).json()
    upload = created["upload"]
    send(upload, body)

    for refused in (
        announce(vic, project, body),
        complete(vic, created["video"]),
        vic.get(f"/v1/uploads/{upload['id']}"),
        vic.post(f"/v1/uploads/{upload['id']}/parts", json={"numbers": [1]}),
        vic.delete(f"/v1/uploads/{upload['id']}"),
        # nor finds out what lies in the bucket
        vic.post(f"/v1/projects/{project}/videos:import", json={"uri": f"s3://{s3.bucket}/inbox/not-there.mp4"}),
    ):
        assert refused.status_code == 403
    assert vic.get(f"/v1/videos/{created['video']['id']}").json()["state"] == "awaiting_upload"


@pytest.mark.parametrize(
    "wrong",
    [
        {"size_bytes": 0},
        {"size_bytes": -1},
        {"size_bytes": 2**63},
        {"size_bytes": "many"},
        {"filename": ""},
        {"filename": "a" * 201},
        {"filename": "a\x00b"},
        {"filename": "\ud800"},
        {"sha256": "abc"},
        {"content_type": "video/mp4\r\nx-evil: 1"},
        {"content_type": "video"},
        {"sampling": {"policy": "uniform"}},
        {"sampling": {"policy": "fps", "fps": 1e9}},
        {"metadata": {"a": "\x00"}},
        {"surprise": 1},
    ],
)
def test_what_cannot_be_is_refused_by_its_field(ana, project, wrong):
    asked = json.dumps({"filename": "a.mp4", "size_bytes": 10, **wrong})
    refused = ana.post(f"/v1/projects/{project}/videos", content=asked, headers={"Content-Type": "application/json"})

    assert (refused.status_code, type_of(refused)) == (422, "invalid-request")
    assert next(iter(wrong)) in refused.json()["detail"]


def test_a_video_beyond_the_limit_is_refused_before_it_is_sent(ana, project):
    refused = ana.post(f"/v1/projects/{project}/videos", json={"filename": "a.mp4", "size_bytes": 2**50})

    assert (refused.status_code, type_of(refused)) == (422, "video-too-large")


@pytest.mark.parametrize(
    "name",
    ["../../projects/x/original", "/etc/passwd", "a'; drop table videos; --", "Ünï 🎬 %2e%2e.mp4", "a\\..\\b", "\n"],
)
def test_a_file_name_is_kept_as_it_is_and_never_reaches_a_key(ana, project, body, name):
    created = announce(ana, project, body, filename=name).json()

    assert created["video"]["name"] == name
    assert f"/projects/{project}/videos/{created['video']['id']}/original?" in created["upload"]["url"]
    send(created["upload"], body)
    assert complete(ana, created["video"]).status_code == 202


# -- import --------------------------------------------------------------------------------------


def test_a_file_that_lies_in_a_bucket_is_taken_without_copying(place, ana, project, s3):
    s3.client().put_object(Bucket=s3.bucket, Key="inbox/a/Ü b.mp4", Body=b"video", ContentType="video/mp4")
    uri = f"s3://{s3.bucket}/inbox/a/Ü b.mp4"

    taken = ana.post(f"/v1/projects/{project}/videos:import", json={"uri": uri, "metadata": {"a": 1}})

    assert taken.status_code == 202
    video = ana.get(f"/v1/videos/{taken.json()['video_id']}").json()
    assert (video["state"], video["name"], video["size_bytes"], video["source_uri"]) == ("uploaded", "Ü b.mp4", 5, uri)
    media = ana.get(f"/v1/videos/{video['id']}/media").json()["url"]
    assert httpx.get(media, trust_env=False).content == b"video"
    assert complete(ana, video).json()["id"] == taken.json()["id"]


@pytest.mark.parametrize(
    "path",
    [
        "{bucket}/inbox-secret/a.mp4",
        "{bucket}/inbox/../secret.mp4",
        "{bucket}/inbox/./a.mp4",
        "{bucket}/inbox//a.mp4",
        "{bucket}/inbox/",
        "{bucket}/inbox",
        "{bucket}/inbox/..",
        "{bucket}/projects/x/videos/y/original",
        "{bucket}-other/inbox/a.mp4",
        "other/inbox/a.mp4",
        "{bucket}/Inbox/a.mp4",
        "{bucket}/inbox/a\\..\\b.mp4",
        "{bucket}/inbox/not-there.mp4",
    ],
)
def test_nothing_else_is_imported(ana, project, s3, path):
    uri = "s3://" + path.format(bucket=s3.bucket)

    refused = ana.post(f"/v1/projects/{project}/videos:import", json={"uri": uri})

    assert (refused.status_code, type_of(refused)) == (422, "invalid-request")
