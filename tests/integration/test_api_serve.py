"""The API as a Serve application: the same answers, and 429 beyond its queue."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from argus_ray.local import ports
from tests.library import Library, library


@pytest.fixture(scope="module")
def place(postgres, s3) -> Iterator[Library]:
    with library(postgres, s3) as place:
        yield place


@pytest.fixture(scope="module")
def served(ray_cluster, place) -> Iterator[str]:
    """The application of `build`, which reads its settings from the environment, on a port of its own."""
    from ray import serve

    from serve_apps.api.app import build

    port = ports.choose(["api"], {})["api"]
    with pytest.MonkeyPatch.context() as environment:
        for name in ("api_database_url", "supabase_url", "s3_endpoint", "s3_access_key", "s3_secret_key", "bucket"):
            value = getattr(place.settings, name)
            environment.setenv(f"ARGUS_{name.upper()}", getattr(value, "get_secret_value", lambda v=value: v)())
        application = build({"num_cpus": 0.1, "max_ongoing_requests": 1, "max_queued_requests": 1})
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(application, name="people", route_prefix="/people")
    yield f"http://127.0.0.1:{port}/people"
    serve.delete("people")


def headers(place: Library) -> dict[str, str]:
    return {"Authorization": f"Bearer {place.issuer.token('ada@example.org')}"}


def test_the_same_answers_come_with_one_request_id(place, served):
    made = httpx.post(f"{served}/v1/projects", json={"name": "served"}, headers=headers(place))

    assert made.status_code == 201
    assert len(made.headers.get_list("x-request-id")) == 1
    refused = httpx.get(f"{served}/v1/me")
    assert refused.status_code == 401
    assert refused.json()["request_id"] == refused.headers["x-request-id"]
    assert httpx.get(f"{served}/v1/projects/%00", headers=headers(place)).status_code == 422


def test_a_model_that_is_not_deployed_is_missing_and_no_mistake(served):
    ready = httpx.get(f"{served}/readyz", timeout=30)

    assert ready.status_code == 503
    assert [missing["part"] for missing in ready.json()["missing"]] == ["siglip2"]


def test_beyond_its_queue_requests_are_asked_to_come_back(place, served):
    with httpx.Client(headers=headers(place), timeout=60) as client, ThreadPoolExecutor(24) as threads:
        end = time.monotonic() + 60
        shed: list[httpx.Response] = []
        while not shed and time.monotonic() < end:
            answers = list(threads.map(lambda _: client.get(f"{served}/readyz"), range(24)))
            shed = [answer for answer in answers if answer.status_code == 429]

    assert shed
    assert int(shed[0].headers["retry-after"]) > 0
    assert shed[0].headers["content-type"] == "application/problem+json"
    assert shed[0].json()["type"] == "/problems/too-many-requests"
    assert shed[0].headers.get_list("x-request-id") == [shed[0].json()["request_id"]]


@pytest.mark.parametrize(
    "name", ["X-Request-Id", "X-Session-Id", "serve_multiplexed_model_id", "serve-multiplexed-model-id"]
)
def test_a_header_that_is_no_text_is_no_mistake_of_ours(place, served, name):
    answer = httpx.get(f"{served}/v1/me", headers=[*headers(place).items(), (name, b"\xff\xfe")], timeout=30)

    assert answer.status_code == 200
    assert len(answer.headers.get_list("x-request-id")) == 1
    assert answer.headers["x-request-id"].isascii()


def test_a_replica_that_is_killed_is_503_at_worst_and_another_comes(place, served):
    with httpx.Client(headers=headers(place), timeout=60) as client:
        for process in psutil.Process().children(recursive=True):
            if "ServeReplica:people:Api" in " ".join(process.cmdline()):
                process.kill()
        statuses = {client.get(f"{served}/v1/me").status_code}
        end = time.monotonic() + 60
        while 200 not in statuses and time.monotonic() < end:
            answer = client.get(f"{served}/v1/me")
            statuses.add(answer.status_code)
            if answer.status_code != 200:
                assert answer.json()["type"] == "/problems/unavailable"

    assert 200 in statuses
    assert statuses <= {200, 503}
