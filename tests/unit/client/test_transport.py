from __future__ import annotations

import socket
import ssl

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from argus_ray.client import Client
from argus_ray.client.call import Call, problem
from argus_ray.client.transport import Tries, checked_url, no_such_host, pause_s
from argus_ray.errors import (
    ArgusError,
    ConfigurationError,
    Conflict,
    Forbidden,
    InvalidRequest,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
    UploadMismatch,
)

ANY = TypeAdapter(dict)
READ = Call("GET", "/v1/me", ANY)
KEYED = Call("POST", "/v1/projects", ANY, idempotency_key="once")
EDIT = Call("PATCH", "/v1/me", ANY)
REQUEST = httpx.Request("GET", "http://argus.example/v1/me")


def answer(status: int, body: object = None, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    content = {"json": body} if isinstance(body, dict) else {"text": str(body or "")}
    return httpx.Response(status, headers=named, request=REQUEST, **content)


@pytest.mark.parametrize(
    ("call", "status", "again"),
    [
        (READ, 200, False),
        (READ, 404, False),
        (READ, 500, False),
        (READ, 503, True),
        (READ, 502, True),
        (KEYED, 503, True),
        (EDIT, 503, False),
        (EDIT, 429, True),
        (KEYED, 409, False),
    ],
)
def test_only_what_a_second_try_can_do_safely_is_tried_again(call, status, again):
    assert (Tries(call, "http://argus.example").after_answer(answer(status)) is not None) is again


def test_the_server_says_how_long_to_wait_within_reason():
    assert Tries(READ, "u").after_answer(answer(503, retry_after="3")) == 3
    assert Tries(READ, "u").after_answer(answer(503, retry_after="0")) == 0
    assert Tries(READ, "u").after_answer(answer(503, retry_after="86400")) == 60
    assert 0.3 < Tries(READ, "u").after_answer(answer(503, retry_after="Wed, 21 Oct 2026 07:28:00 GMT")) <= 0.5


def test_tries_come_to_an_end():
    tries = Tries(READ, "http://argus.example")
    pauses = [tries.after_answer(answer(503)) for _ in range(5)]

    assert pauses[-1] is None
    assert None not in pauses[:-1]


def test_a_call_that_changes_something_is_not_sent_again_once_it_was_sent():
    with pytest.raises(Unavailable, match="does not answer"):
        Tries(EDIT, "http://argus.example").after_failure(httpx.ReadError("gone", request=REQUEST))
    assert Tries(EDIT, "http://argus.example").after_failure(httpx.ConnectError("refused", request=REQUEST)) > 0
    assert Tries(KEYED, "http://argus.example").after_failure(httpx.ReadError("gone", request=REQUEST)) > 0


def test_the_first_try_of_a_key_may_still_be_at_work_when_the_second_arrives():
    tries = Tries(KEYED, "http://argus.example")
    tries.after_failure(httpx.ReadTimeout("slow", request=REQUEST))

    assert tries.after_answer(answer(409)) is not None


@given(st.integers(1, 60))
def test_pauses_grow_to_eight_seconds_and_are_never_the_same_for_all(failed):
    assert 0.75 * min(8, 0.25 * 2**failed) <= pause_s(failed) <= min(8, 0.25 * 2**failed)


def test_a_name_that_does_not_exist_is_told_from_a_server_that_is_down():
    wrong = httpx.ConnectError("no")
    wrong.__cause__ = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    down = httpx.ConnectError("no")
    down.__cause__ = ssl.SSLError("no")

    assert no_such_host(wrong)
    assert not no_such_host(down)
    with pytest.raises(Unavailable, match="no host of that name"):
        Tries(READ, "http://nowhere.example").after_failure(wrong)


@pytest.mark.parametrize(
    "url", ["", "argus.example", "127.0.0.1:8000", "ftp://argus.example", "http://", "http://a b/"]
)
def test_what_is_no_address_is_refused_before_anything_is_sent(url):
    with pytest.raises(ConfigurationError, match="not the address"):
        checked_url(url)


@pytest.mark.parametrize("key", ["", "argus_a\n", "argus_a b", "argus_é", "argus_\x00"])
def test_what_cannot_be_a_key_is_refused_without_repeating_it(key):
    with pytest.raises(Unauthenticated) as refused:
        Client("http://argus.example", key)
    assert not key.strip() or key not in str(refused.value)


# -- problems ------------------------------------------------------------------------------------


def test_a_problem_becomes_the_error_of_its_type_with_its_facts():
    error = problem(
        answer(422, {"type": "/problems/upload-mismatch", "detail": "part 3 is short", "part": 3, "request_id": "r"})
    )

    assert type(error) is UploadMismatch
    assert error.detail == "part 3 is short"
    assert error.facts == {"status": 422, "part": 3, "request_id": "r"}


@pytest.mark.parametrize(
    ("status", "kind"), [(403, Forbidden), (409, Conflict), (422, InvalidRequest), (418, ArgusError), (500, ArgusError)]
)
def test_a_problem_of_a_newer_server_is_what_its_status_says(status, kind):
    assert type(problem(answer(status, {"type": "/problems/brand-new", "detail": "so"}))) is kind


@pytest.mark.parametrize("body", ["<html>", {"detail": "no type"}, {"type": None}, "[1]", "null"])
def test_an_answer_that_is_no_problem_is_no_argus(body):
    error = problem(answer(502, body))

    assert type(error) is Unavailable
    assert "http://argus.example answered 502" in error.detail


def test_overload_told_in_plain_text_is_overload():
    assert type(problem(answer(429, "Request dropped"))) is TooManyRequests


def test_several_fields_at_fault_are_all_named():
    errors = [{"pointer": "/name", "detail": "too long"}, {"pointer": "/fps", "detail": "negative"}]
    error = problem(
        answer(422, {"type": "x/invalid-request", "detail": "/name: too long (and 1 more)", "errors": errors})
    )

    assert "/fps: negative" in error.detail
    assert error.facts["errors"] == errors


@pytest.mark.parametrize("body", ["<html>", "[]", '{"items": 1}'])
def test_success_from_something_else_is_no_argus(body):
    call = Call("GET", "/", TypeAdapter(dict[str, list[int]]))

    with pytest.raises(Unavailable, match="not as this version of Argus"):
        call.read(answer(200, body))
    with pytest.raises(Unavailable, match="answered 302"):
        call.read(answer(302, ""))
