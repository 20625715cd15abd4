"""What an API answers before it asks the database: the database of these tests is not there, and nothing is a 500."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID

import httpx
import pytest
from fastapi.requests import Request

from argus_ray.errors import ArgusError, Conflict, kinds
from argus_ray.settings import Settings
from serve_apps.api.app import create_app
from serve_apps.api.problems import problem as as_problem
from tests.people import TestIssuer, serving
from tests.waiting import wait_until

PROJECT = "01890000-0000-7000-8000-000000000000"
LIMIT = 10_000


class NoModel:
    async def info(self):
        raise AssertionError

    embed_texts = embed_images = info


@pytest.fixture(scope="module")
def people() -> Iterator[TestIssuer]:
    issuer = TestIssuer()
    yield issuer
    issuer.close()


@pytest.fixture(scope="module")
def api(people) -> Iterator[httpx.Client]:
    with socket.socket() as nobody:  # bound and never listening: a connection is refused at once
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        settings = Settings(
            supabase_url=people.url,
            api_database_url=f"postgresql://argus_api:x@127.0.0.1:{port}/argus",
            s3_endpoint=f"http://127.0.0.1:{port}",
            s3_access_key="a",
            s3_secret_key="b",
            cors_origins=["https://console.example"],
            max_body_bytes=LIMIT,
        )
        with serving(create_app(settings, siglip2=NoModel())) as url, httpx.Client(base_url=url, timeout=30) as client:
            client.headers["Authorization"] = f"Bearer {people.token('ada@example.com')}"
            yield client


def problem(answer: httpx.Response, status: int, kind: str) -> dict:
    """The answer's problem, whose form is always the same."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    said = answer.json()
    assert said["type"] == f"/problems/{kind}"
    assert said["status"] == status
    assert said["title"]
    assert said["detail"]
    assert said["request_id"] == answer.headers["x-request-id"]
    return said


def test_without_a_credential_nothing_under_v1_is_said(api):
    for path in ("/v1/me", "/v1/projects", f"/v1/projects/{PROJECT}", "/v1/nothing"):
        answer = httpx.get(f"{api.base_url}{path}")
        problem(answer, 401, "unauthenticated")
        assert answer.headers["www-authenticate"] == 'Bearer realm="argus"'


@pytest.mark.parametrize("authorization", ["", "Bearer", "Basic YTpi", "argus_x", "Bearer argus_tooshort"])
def test_what_is_no_credential_is_refused(api, authorization):
    problem(api.get("/v1/me", headers={"Authorization": authorization}), 401, "unauthenticated")


def test_two_credentials_are_none(api):
    problem(api.get("/v1/me", headers={"X-Api-Key": "argus_" + "x" * 43}), 401, "unauthenticated")


def test_the_caller_is_asked_for_before_the_body_is_read(api):
    answer = httpx.post(f"{api.base_url}/v1/projects", content=b"{not json", headers={"Content-Type": "text/plain"})

    problem(answer, 401, "unauthenticated")


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"\xff\xfe\x00",
        b'{"name": "\xff"}',
        b'{"name": "\\ud800"}',
        b'{"name": "a\\u0000b"}',
        b'{"name": ""}',
        b'{"name": 1}',
        b'{"name": null}',
        b'{"name": "x", "\\ud800": 1}',
        b'{"name": "x", "role": "owner"}',
        b"[" * 5000,
        b'{"name": ' + b"[" * 3000 + b"]" * 3000 + b"}",
        b'{"name": ' + b"1" * 5000 + b"}",
        b'{"name": NaN}',
        b'{"name": 1e999}',
    ],
)
def test_a_body_that_cannot_be_read_is_422(api, body):
    problem(
        api.post("/v1/projects", content=body, headers={"Content-Type": "application/json"}), 422, "invalid-request"
    )


def test_a_field_that_is_wrong_is_named_and_not_repeated(api):
    answer = api.post("/v1/projects", json={"name": "secret" * 100, "colour": "blue"})

    said = problem(answer, 422, "invalid-request")
    assert {error["pointer"] for error in said["errors"]} == {"/name", "/colour"}
    assert "secret" not in answer.text
    assert "blue" not in answer.text


def test_a_hundred_wrong_fields_make_a_short_answer(api):
    answer = api.post("/v1/projects", json={f"{'long' * 20}{n}": n for n in range(100)})

    assert len(problem(answer, 422, "invalid-request")["errors"]) == 20


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""])
def test_a_body_that_is_not_json_is_415(api, media_type):
    answer = api.post("/v1/projects", content=b'{"name": "x"}', headers={"Content-Type": media_type})

    problem(answer, 415, "unsupported-media-type")


def test_a_compressed_body_is_415(api):
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}

    problem(api.post("/v1/projects", content=b"\x1f\x8b", headers=headers), 415, "unsupported-media-type")


def test_a_body_beyond_the_limit_is_413_whether_it_says_its_length_or_not(api):
    headers = {"Content-Type": "application/json"}

    problem(api.post("/v1/projects", content=b"x" * (LIMIT + 1), headers=headers), 413, "too-large")
    pieces = (b"x" * 1000 for _ in range(LIMIT // 1000 + 1))
    problem(api.post("/v1/projects", content=pieces, headers=headers), 413, "too-large")


def test_a_query_parameter_that_nobody_declared_is_named(api):
    said = problem(api.get("/v1/projects?limits=5"), 422, "invalid-request")

    assert said["errors"][0]["pointer"] == "query/limits"
    assert "cursor, limit" in said["detail"]


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "limit=1e9", "limit=" + "9" * 5000, "limit=-1"])
def test_an_absurd_limit_is_422(api, query):
    assert problem(api.get(f"/v1/projects?{query}"), 422, "invalid-request")["errors"][0]["pointer"] == "query/limit"


@pytest.mark.parametrize(
    "cursor",
    ["x", "", "!!!!", "AAAA", "bnVsbA", "WzEsMl0", "eyJhIjoxfQ", "W10", "%F0%9F%90%88", "W1tbW1tbW1tbW1s" * 50],
)
def test_a_cursor_that_no_page_gave_is_422(api, cursor):
    problem(api.get(f"/v1/projects?cursor={cursor}"), 422, "invalid-request")


@pytest.mark.parametrize("path", ["/v1/projects/%00", "/v1/projects/a%00b", "/v1/projects/%ED%A0%80", "/v1/%FF"])
def test_an_address_that_is_not_text_is_422(api, path):
    problem(api.get(path), 422, "invalid-request")


@pytest.mark.parametrize("query", ["cursor=%00", "cursor=%ED%A0%80", "%FF=1"])
def test_a_query_that_is_not_text_is_422(api, query):
    problem(api.get(f"/v1/projects?{query}"), 422, "invalid-request")


@pytest.mark.parametrize("project_id", ["1", "x", "'; drop table projects; --", "%F0%9F%90%88", "0" * 5000])
def test_an_id_that_is_no_id_is_422(api, project_id):
    said = problem(api.get(f"/v1/projects/{project_id}"), 422, "invalid-request")

    assert said["errors"][0]["pointer"] == "path/project_id"


def test_an_unknown_address_and_a_wrong_method_are_problems(api):
    problem(api.get("/v1/nothing"), 404, "not-found")
    problem(api.get("/v1/projects/"), 404, "not-found")
    answer = api.put("/v1/projects", json={})
    problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"]


def test_a_change_without_the_version_it_is_of_is_428(api):
    problem(api.patch(f"/v1/projects/{PROJECT}", json={"name": "x"}), 428, "precondition-required")


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "ÿ"])
def test_an_idempotency_key_is_printable_and_short(api, key):
    answer = api.post("/v1/projects", json={"name": "x"}, headers={"Idempotency-Key": key.encode("latin-1")})

    assert problem(answer, 422, "invalid-request")["errors"][0]["pointer"] == "header/idempotency-key"


def test_a_request_keeps_its_sane_id_and_gets_one_else(api):
    assert api.get("/healthz", headers={"X-Request-Id": "from-client.1"}).headers["x-request-id"] == "from-client.1"
    for insane in ("a b", "x" * 101, "<script>", "é"):
        answer = api.get("/healthz", headers={"X-Request-Id": insane.encode("latin-1")})
        assert answer.headers.get_list("x-request-id") != [insane]
        assert len(answer.headers["x-request-id"]) == 36


def test_a_database_that_is_down_is_503_with_a_time_to_come_back(api):
    answer = api.get("/v1/me")

    problem(answer, 503, "unavailable")
    assert int(answer.headers["retry-after"]) > 0


def test_the_process_is_alive_and_not_ready_and_says_what_is_missing(api):
    assert httpx.get(f"{api.base_url}/healthz").json() == {"alive": True}

    answer = httpx.get(f"{api.base_url}/readyz", timeout=30)
    assert answer.status_code == 503
    assert answer.json()["ready"] is False
    assert [missing["part"] for missing in answer.json()["missing"]] == ["database", "s3", "siglip2"]


def test_only_configured_origins_may_call_and_read(api):
    ours = api.options("/v1/projects", headers=preflight("https://console.example"))
    assert ours.status_code == 200
    assert ours.headers["access-control-allow-origin"] == "https://console.example"
    assert api.options("/v1/projects", headers=preflight("https://evil.example")).status_code == 400

    refused = httpx.get(f"{api.base_url}/v1/me", headers={"Origin": "https://console.example"})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://console.example"
    assert {"ETag", "Location", "Retry-After"} <= set(refused.headers["access-control-expose-headers"].split(", "))


def preflight(origin: str) -> dict[str, str]:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": "authorization, if-match",
    }


def test_every_problem_resolves_to_its_explanation(api):
    for kind in kinds():
        page = httpx.get(f"{api.base_url}/problems/{kind.type}")
        assert page.status_code == 200, kind
        assert str(kind.status) in page.text
    assert ArgusError.type in httpx.get(f"{api.base_url}/problems").text
    problem(httpx.get(f"{api.base_url}/problems/none"), 404, "not-found")


def test_a_kind_of_problem_has_one_status_and_one_title():
    by_type: dict[str, set] = {}
    for kind in kinds():
        by_type.setdefault(kind.type, set()).add((kind.status, kind.title))

    assert {kind: meanings for kind, meanings in by_type.items() if len(meanings) > 1} == {}


def test_the_docs_need_nothing_from_elsewhere(api):
    page = httpx.get(f"{api.base_url}/docs")

    assert page.status_code == 200
    assert "POST /v1/projects" in page.text
    assert "http://" not in page.text
    assert "https://" not in page.text


def test_what_is_wrong_with_json_is_said_by_its_place(api):
    answer = api.post("/v1/projects", content=b'{"name": secret}', headers={"Content-Type": "application/json"})

    assert problem(answer, 422, "invalid-request")["errors"] == [
        {"pointer": "", "detail": "not valid JSON, at character 9"}
    ]


def test_a_problem_says_its_facts_whatever_they_are():
    request = Request({"type": "http", "method": "GET", "path": "/x", "query_string": b"", "headers": []})
    facts = {"id": UUID(PROJECT), "at": datetime(2026, 1, 1, tzinfo=UTC), "text": "\ud800", "status": "theirs"}

    said = json.loads(as_problem(Conflict("it is so", **facts), request).body)

    assert (said["id"], said["at"], said["status"]) == (PROJECT, "2026-01-01 00:00:00+00:00", 409)


def test_the_log_has_the_path_and_neither_credential_nor_query(api, people, caplog):
    caplog.set_level(logging.INFO, logger="argus")
    token = people.token("ada@example.com")
    httpx.get(f"{api.base_url}/v1/projects?cursor=what-she-looks-for", headers={"Authorization": f"Bearer {token}"})

    wait_until(lambda: "GET /v1/projects 422" in caplog.text)  # the line comes after the answer
    for secret in (token, token.rsplit(".", 1)[1], "what-she-looks-for"):
        assert secret not in caplog.text


def test_a_mistake_of_ours_is_a_500_that_says_nothing_but_its_id(api, people, caplog):
    settings = Settings(supabase_url=people.url, api_database_url="postgresql://x@127.0.0.1:1/x", s3_endpoint="http://127.0.0.1:1", s3_access_key="a", s3_secret_key="b")  # fmt: skip
    app = create_app(settings, siglip2=NoModel())

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("password=hunter2")

    with serving(app) as url:
        answer = httpx.get(f"{url}/broken")

    said = problem(answer, 500, "internal-error")
    assert "hunter2" not in json.dumps(said)
    assert said["request_id"] in caplog.text
    assert "hunter2" in caplog.text
