"""People over HTTP: projects, members, keys, audit, settings, and requests that must not happen twice."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx
import pytest

from tests.library import library
from tests.people import person_id, serving

UNKNOWN = "01890000-0000-7000-8000-000000000000"
ANY = {"If-Match": "*"}


@pytest.fixture(scope="module")
def place(postgres, s3):
    with library(postgres, s3) as place:
        yield place


@pytest.fixture
def person(place):
    """Signs people in, each new: `person("ada")`."""
    clients = []

    def sign_in(name: str) -> httpx.Client:
        clients.append(place.person(f"{name}-{uuid4().hex[:8]}@example.org"))
        return clients[-1]

    yield sign_in
    for client in clients:
        client.close()


@pytest.fixture
def ada(person):
    return person("ada")


@pytest.fixture
def team(place, person, ada):
    """A project with one person of each role, and one of another project."""
    roles = {"editor": person("ed"), "annotator": person("ann"), "viewer": person("vic")}
    project_id = place.project(ada, **roles)
    eve = person("eve")
    place.project(eve)
    return {"id": project_id, "path": f"/v1/projects/{project_id}", "owner": ada, "stranger": eve, **roles}


def email_of(client: httpx.Client) -> str:
    return client.get("/v1/me").json()["email"]


def member(team: dict, role: str) -> dict:
    """The member who has, or had at first, this role."""
    email = email_of(team[role])
    return next(m for m in team["owner"].get(f"{team['path']}/members").json()["items"] if m["email"] == email)


def problem(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()["type"].removeprefix("/problems/")


# -- projects --------------------------------------------------------------------------------------


def test_whoever_makes_a_project_owns_it(ada):
    made = ada.post("/v1/projects", json={"name": "Zoo ☃"})

    assert made.status_code == 201
    project = made.json()
    assert (project["name"], project["role"], project["sampling"]["policy"]) == ("Zoo ☃", "owner", "fps")
    assert made.headers["location"] == f"/v1/projects/{project['id']}"
    again = ada.get(made.headers["location"])
    assert again.json() == project
    assert again.headers["etag"] == made.headers["etag"] == '"1"'


def test_a_list_goes_on_behind_its_cursor_and_ends(ada):
    made = [ada.post("/v1/projects", json={"name": str(n)}).json()["id"] for n in range(5)]

    seen, cursor = [], None
    while True:
        page = ada.get("/v1/projects", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        seen += [project["id"] for project in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == made[::-1]


def test_a_project_is_changed_by_whoever_has_read_it(ada):
    project = ada.post("/v1/projects", json={"name": "before"}).json()
    path = f"/v1/projects/{project['id']}"

    changed = ada.patch(
        path,
        json={"name": "after", "sampling": {"policy": "uniform", "count": 7}, "settings": {"colour": "☃", "deep": [1]}},
        headers={"If-Match": '"1"'},
    )
    assert changed.status_code == 200
    assert changed.headers["etag"] == '"2"'
    assert changed.json()["sampling"] == {**changed.json()["sampling"], "policy": "uniform", "count": 7}
    assert changed.json()["settings"] == {"colour": "☃", "deep": [1]}

    late = ada.patch(path, json={"name": "late"}, headers={"If-Match": '"1"'})
    assert problem(late) == (412, "precondition-failed")
    assert late.json()["current_version"] == 2
    assert problem(ada.patch(path, json={"name": "blind"})) == (428, "precondition-required")
    for never in ('W/"2"', "2", '"x"', '"99999999999999999999"', "", '"1", "3"'):
        assert problem(ada.patch(path, json={"name": "no"}, headers={"If-Match": never})) == (
            412,
            "precondition-failed",
        )
    assert ada.patch(path, json={"name": "either"}, headers={"If-Match": '"1", "2"'}).status_code == 200
    assert ada.patch(path, json={"name": "any"}, headers=ANY).json()["name"] == "any"


def test_of_two_changes_to_one_version_one_is_made(ada):
    path = f"/v1/projects/{ada.post('/v1/projects', json={'name': 'x'}).json()['id']}"

    with ThreadPoolExecutor(6) as threads:
        answers = list(
            threads.map(lambda n: ada.patch(path, json={"name": str(n)}, headers={"If-Match": '"1"'}), range(6))
        )

    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 5


def test_settings_larger_than_are_kept_are_refused(ada):
    path = f"/v1/projects/{ada.post('/v1/projects', json={'name': 'x'}).json()['id']}"

    large = {"settings": {"x": list(range(20_000))}}
    assert problem(ada.patch(path, json=large, headers=ANY)) == (422, "invalid-request")


def test_a_deleted_project_is_gone_for_everybody_and_every_key(team):
    key = team["owner"].post(f"{team['path']}/api-keys", json={"name": "ci"}).json()["key"]
    assert problem(team["editor"].delete(team["path"], headers=ANY)) == (403, "forbidden")
    assert problem(team["owner"].delete(team["path"], headers={"If-Match": '"9"'})) == (412, "precondition-failed")

    assert team["owner"].delete(team["path"], headers=ANY).status_code == 204

    for role in ("owner", "editor", "viewer"):
        assert problem(team[role].get(team["path"])) == (404, "not-found")
        assert str(team["id"]) not in team[role].get("/v1/projects").text
    assert problem(httpx.get(f"{team['owner'].base_url}/v1/me", headers={"X-Api-Key": key})) == (401, "unauthenticated")
    assert problem(team["owner"].delete(team["path"], headers=ANY)) == (404, "not-found")


# -- who may do what -------------------------------------------------------------------------------

REQUESTS = {
    "read the project": ("GET", "", None),
    "rename the project": ("PATCH", "", {"name": "x"}),
    "delete the project": ("DELETE", "", None),
    "list the members": ("GET", "/members", None),
    "read a member": ("GET", "/members/{viewer}", None),
    "invite": ("POST", "/members", {"email": "new@example.org"}),
    "change a role": ("PATCH", "/members/{owner}", {"role": "viewer"}),
    "remove a member": ("DELETE", "/members/{owner}", None),
    "make a key": ("POST", "/api-keys", {"name": "x"}),
    "list the keys": ("GET", "/api-keys", None),
    "read the audit": ("GET", "/audit", None),
}
MAY = {
    "editor": {"read the project", "list the members", "read a member", "rename the project"},
    "annotator": {"read the project", "list the members", "read a member"},
    "viewer": {"read the project", "list the members", "read a member"},
}


@pytest.fixture(scope="module")
def standing(place):
    """A project whose members these tests may not harm: every request is one that must be refused, or reads."""
    people = {name: place.person(f"standing-{name}@example.org") for name in ("owner", "editor", "annotator", "viewer")}
    stranger = place.person("standing-stranger@example.org")
    project_id = place.project(people["owner"], **{name: people[name] for name in ("editor", "annotator", "viewer")})
    place.project(stranger)
    path = f"/v1/projects/{project_id}"
    ids = {m["role"]: m["id"] for m in people["owner"].get(f"{path}/members").json()["items"]}
    yield {**people, "stranger": stranger, "path": path, "ids": ids}
    for client in (*people.values(), stranger):
        client.close()


def ask(client: httpx.Client, standing: dict, what: str, path: str | None = None) -> httpx.Response:
    method, rest, body = REQUESTS[what]
    return client.request(method, (path or standing["path"]) + rest.format(**standing["ids"]), json=body, headers=ANY)


@pytest.mark.parametrize("what", REQUESTS)
@pytest.mark.parametrize("role", MAY)
def test_a_role_may_do_what_it_may_and_is_told_so_else(standing, role, what):
    answer = ask(standing[role], standing, what)

    if what in MAY[role]:
        assert answer.is_success, answer.text
    else:
        assert problem(answer) == (403, "forbidden")


@pytest.mark.parametrize("what", REQUESTS)
def test_another_projects_id_and_an_unknown_one_are_the_same_404(standing, what):
    theirs = ask(standing["stranger"], standing, what)
    unknown = ask(standing["stranger"], standing, what, path=f"/v1/projects/{UNKNOWN}")

    assert problem(theirs) == problem(unknown) == (404, "not-found")
    said = [
        {k: v for k, v in answer.json().items() if k not in {"instance", "request_id"}} for answer in (theirs, unknown)
    ]
    assert said[0] == said[1]


# -- members ---------------------------------------------------------------------------------------


def test_an_invitation_waits_until_its_person_comes(ada, person):
    bob = person("Bob")
    path = f"/v1/projects/{ada.post('/v1/projects', json={'name': 'x'}).json()['id']}"
    email = email_of(bob)

    invited = ada.post(f"{path}/members", json={"email": email.upper(), "role": "annotator"})
    assert invited.status_code == 201
    assert (invited.json()["email"], invited.json()["user_id"]) == (email.lower(), None)
    assert problem(ada.post(f"{path}/members", json={"email": email})) == (409, "conflict")
    assert problem(bob.get(path)) == (404, "not-found")

    bob.get("/v1/me")

    assert bob.get(path).json()["role"] == "annotator"
    joined = ada.get(f"{path}/members/{invited.json()['id']}").json()
    assert joined["user_id"] == str(person_id(email))
    assert joined["joined_at"]


def test_a_token_without_an_e_mail_or_of_an_anonymous_person_takes_no_place(place, ada):
    path = f"/v1/projects/{ada.post('/v1/projects', json={'name': 'x'}).json()['id']}"
    ada.post(f"{path}/members", json={"email": "carol@example.org"})

    claims = place.issuer.claims("carol@example.org")
    for told in ({**claims, "is_anonymous": True}, {k: v for k, v in claims.items() if k != "email"}):
        headers = {"Authorization": f"Bearer {place.issuer.signed(told)}"}
        assert httpx.get(f"{place.url}/v1/projects", headers=headers).json()["items"] == []


def test_a_member_is_promoted_and_demoted(team):
    annotator = member(team, "annotator")
    path = f"{team['path']}/members/{annotator['id']}"

    promoted = team["owner"].patch(path, json={"role": "editor"}, headers={"If-Match": f'"{annotator["version"]}"'})

    assert promoted.json()["role"] == "editor"
    assert team["annotator"].patch(team["path"], json={"name": "mine now"}, headers=ANY).status_code == 200
    stale = team["owner"].patch(path, json={"role": "viewer"}, headers={"If-Match": f'"{annotator["version"]}"'})
    assert problem(stale) == (412, "precondition-failed")


def test_the_last_owner_stays(team):
    path = f"{team['path']}/members/{member(team, 'owner')['id']}"

    assert problem(team["owner"].delete(path)) == (409, "conflict")
    assert problem(team["owner"].patch(path, json={"role": "viewer"}, headers=ANY)) == (409, "conflict")
    assert team["owner"].get(team["path"]).json()["role"] == "owner"


def test_an_invited_owner_does_not_count_until_they_have_come(team):
    team["owner"].post(f"{team['path']}/members", json={"email": "later@example.org", "role": "owner"})

    left = team["owner"].delete(f"{team['path']}/members/{member(team, 'owner')['id']}")
    assert problem(left) == (409, "conflict")


def test_of_two_owners_who_leave_at_once_one_stays(team):
    second = member(team, "editor")
    team["owner"].patch(f"{team['path']}/members/{second['id']}", json={"role": "owner"}, headers=ANY)
    first = member(team, "owner")
    start = threading.Barrier(2)

    def leave(client: httpx.Client, member_id: str) -> int:
        start.wait()
        return client.delete(f"{team['path']}/members/{member_id}").status_code

    with ThreadPoolExecutor(2) as threads:
        answers = threads.map(leave, (team["owner"], team["editor"]), (first["id"], second["id"]))

    assert sorted(answers) == [204, 409]


def test_everybody_may_leave_and_nobody_may_throw_out_others(team):
    viewer, annotator = member(team, "viewer"), member(team, "annotator")

    assert problem(team["viewer"].delete(f"{team['path']}/members/{annotator['id']}")) == (403, "forbidden")
    assert team["viewer"].delete(f"{team['path']}/members/{viewer['id']}").status_code == 204
    assert problem(team["viewer"].get(team["path"])) == (404, "not-found")
    assert team["owner"].delete(f"{team['path']}/members/{annotator['id']}").status_code == 204
    assert problem(team["owner"].delete(f"{team['path']}/members/{annotator['id']}")) == (404, "not-found")


# -- keys ------------------------------------------------------------------------------------------


def machine(place, key: str) -> httpx.Client:
    return httpx.Client(base_url=place.url, headers={"Authorization": f"Bearer {key}"})


def test_a_key_is_shown_once_and_acts_in_its_project_alone(place, team):
    made = team["owner"].post(f"{team['path']}/api-keys", json={"name": "ci", "role": "editor"})
    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    key = made.json()["key"]

    listed = team["owner"].get(f"{team['path']}/api-keys").json()["items"]
    assert [(k["id"], k["prefix"], "key" in k) for k in listed] == [(made.json()["id"], key[:12], False)]
    assert place.sql("select count(*) as n from api_keys where key_hash = %s", key.encode()[:32]) == [{"n": 0}]

    with machine(place, key) as bot:
        assert bot.get("/v1/me").json()["api_key_id"] == made.json()["id"]
        assert [p["id"] for p in bot.get("/v1/projects").json()["items"]] == [str(team["id"])]
        assert bot.get("/v1/projects").json()["items"][0]["role"] == "editor"
        assert bot.patch(team["path"], json={"name": "by a machine"}, headers=ANY).status_code == 200
        assert problem(bot.post("/v1/projects", json={"name": "no"})) == (403, "forbidden")
        assert problem(bot.patch("/v1/me", json={"settings": {}}, headers=ANY)) == (403, "forbidden")
        assert problem(bot.get(f"{team['path']}/audit")) == (403, "forbidden")
        assert problem(bot.post(f"{team['path']}/api-keys", json={"name": "a child"})) == (403, "forbidden")
        assert problem(bot.post(f"{team['path']}/members", json={"email": "x@y", "role": "owner"})) == (
            403,
            "forbidden",
        )
    assert team["owner"].get(f"{team['path']}/api-keys").json()["items"][0]["last_used_at"]


def test_a_key_that_may_only_read_changes_nothing(place, team):
    key = team["owner"].post(f"{team['path']}/api-keys", json={"name": "r", "scopes": ["read"]}).json()["key"]

    with machine(place, key) as bot:
        assert bot.get(team["path"]).json()["role"] == "viewer"
        assert problem(bot.patch(team["path"], json={"name": "no"}, headers=ANY)) == (403, "forbidden")


def test_a_revoked_key_and_an_expired_one_are_nobody(place, team):
    made = team["owner"].post(f"{team['path']}/api-keys", json={"name": "a"}).json()
    past = {"name": "b", "expires_at": "2020-01-01T00:00:00Z"}
    expired = team["owner"].post(f"{team['path']}/api-keys", json=past).json()

    with machine(place, made["key"]) as bot, machine(place, expired["key"]) as late:
        assert bot.get("/v1/me").status_code == 200
        for _ in range(2):
            assert team["owner"].delete(f"{team['path']}/api-keys/{made['id']}").status_code == 204
        assert problem(bot.get("/v1/me")) == (401, "unauthenticated")
        assert problem(late.get("/v1/me")) == (401, "unauthenticated")
    assert problem(team["owner"].delete(f"{team['path']}/api-keys/{UNKNOWN}")) == (404, "not-found")


def test_a_key_cannot_be_an_owner(team):
    answer = team["owner"].post(f"{team['path']}/api-keys", json={"name": "x", "role": "owner"})

    assert problem(answer) == (422, "invalid-request")


# -- audit -----------------------------------------------------------------------------------------


def test_every_change_says_who_what_when_and_from_where(place, team):
    made = (
        team["owner"]
        .post(f"{team['path']}/api-keys", json={"name": "bot"}, headers={"X-Request-Id": "req.audit"})
        .json()
    )
    with machine(place, made["key"]) as bot:
        bot.patch(team["path"], json={"name": "renamed"}, headers=ANY)

    newest, before, *_ = team["owner"].get(f"{team['path']}/audit").json()["items"]

    assert (newest["actor"], newest["action"], newest["subject"]) == (f"key:{made['id']}", "update", "projects")
    assert newest["changes"] == {"name": ["a project", "renamed"]}
    assert before["actor"] == f"user:{person_id(email_of(team['owner']))}"
    assert (before["action"], before["subject"], before["subject_id"]) == ("insert", "api_keys", made["id"])
    assert (before["ip"], before["request_id"]) == ("127.0.0.1", "req.audit")
    assert made["key"] not in str(before)


def test_a_refused_change_leaves_no_trace(team):
    before = team["owner"].get(f"{team['path']}/audit").json()

    team["viewer"].patch(team["path"], json={"name": "no"}, headers=ANY)
    team["owner"].patch(team["path"], json={"name": ""}, headers=ANY)

    assert team["owner"].get(f"{team['path']}/audit").json() == before


# -- me --------------------------------------------------------------------------------------------


def test_everybody_has_settings_of_their_own(ada, person):
    assert ada.get("/v1/me").headers["etag"] == '"0"'

    first = ada.patch("/v1/me", json={"settings": {"theme": "dark"}}, headers={"If-Match": '"0"'})
    assert (first.status_code, first.headers["etag"]) == (200, '"1"')
    assert problem(ada.patch("/v1/me", json={"settings": {}}, headers={"If-Match": '"0"'})) == (
        412,
        "precondition-failed",
    )
    assert ada.patch("/v1/me", json={"settings": {"theme": "light"}}, headers={"If-Match": '"1"'}).status_code == 200
    assert ada.get("/v1/me").json()["settings"] == {"theme": "light"}
    other = person("other")
    assert other.get("/v1/me").json()["settings"] == {}
    assert problem(other.patch("/v1/me", json={"settings": {}}, headers={"If-Match": '"7"'})) == (
        412,
        "precondition-failed",
    )


# -- once only -------------------------------------------------------------------------------------


def test_a_request_that_is_sent_again_happens_once_and_answers_the_same(ada):
    headers = {"Idempotency-Key": uuid4().hex}

    first = ada.post("/v1/projects", json={"name": "once"}, headers=headers)
    again = ada.post("/v1/projects", json={"name": "once"}, headers=headers)

    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert (again.headers["location"], again.headers["etag"]) == (first.headers["location"], first.headers["etag"])
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert len(ada.get("/v1/projects").json()["items"]) == 1


def test_a_key_belongs_to_one_request_of_one_caller(ada, person):
    headers = {"Idempotency-Key": uuid4().hex}
    ada.post("/v1/projects", json={"name": "a"}, headers=headers)

    assert problem(ada.post("/v1/projects", json={"name": "b"}, headers=headers)) == (422, "invalid-request")
    assert person("bob").post("/v1/projects", json={"name": "b"}, headers=headers).json()["name"] == "b"


def test_a_request_that_failed_may_be_tried_again_under_its_key(team):
    headers = {"Idempotency-Key": uuid4().hex}
    invitation = {"email": "dora@example.org"}
    assert problem(team["viewer"].post(f"{team['path']}/members", json=invitation, headers=headers)) == (
        403,
        "forbidden",
    )
    viewer = member(team, "viewer")
    team["owner"].patch(f"{team['path']}/members/{viewer['id']}", json={"role": "owner"}, headers=ANY)

    assert team["viewer"].post(f"{team['path']}/members", json=invitation, headers=headers).status_code == 201


def test_of_many_at_once_one_works_and_the_others_wait_or_repeat(ada):
    headers = {"Idempotency-Key": uuid4().hex}

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: ada.post("/v1/projects", json={"name": "x"}, headers=headers), range(8)))

    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 201}) == 1
    assert len(ada.get("/v1/projects").json()["items"]) == 1


def test_a_secret_is_not_kept_for_a_second_answer(place, team):
    headers = {"Idempotency-Key": uuid4().hex}
    made = team["owner"].post(f"{team['path']}/api-keys", json={"name": "x"}, headers=headers).json()

    assert problem(team["owner"].post(f"{team['path']}/api-keys", json={"name": "x"}, headers=headers)) == (
        409,
        "conflict",
    )
    assert len(team["owner"].get(f"{team['path']}/api-keys").json()["items"]) == 1
    assert place.sql("select count(*) as n from idempotency_keys where response::text like %s", f"%{made['key']}%") == [
        {"n": 0}
    ]


# -- the process -----------------------------------------------------------------------------------


def test_it_is_ready_when_database_store_and_model_answer(place):
    class Model:
        async def info(self):
            return {"model_id": "drawn"}

    from serve_apps.api.app import create_app

    with serving(create_app(place.settings, siglip2=Model())) as url:  # type: ignore[arg-type]
        ready = httpx.get(f"{url}/readyz")

    assert ready.status_code == 200
    assert ready.json() == {"ready": True, "missing": [], "model": {"model_id": "drawn"}}


def test_connections_that_are_cut_are_503_at_worst_and_come_back(place, ada):
    def cut() -> None:
        place.sql(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where usename = 'argus_api' and datname = current_database()"
        )

    statuses: set[int] = set()
    with ThreadPoolExecutor(4) as threads:
        for _ in range(10):
            asked = [threads.submit(ada.get, "/v1/me") for _ in range(8)]
            cut()
            statuses |= {answer.result().status_code for answer in asked}

    assert statuses <= {200, 503}
    assert ada.get("/v1/me").status_code == 200


def test_a_database_that_was_away_is_found_again_at_once(place, ada):
    login = "alter role argus_api {}"
    place.sql(login.format("nologin"))
    place.sql("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'argus_api'")
    assert ada.get("/v1/me").status_code == 503
    assert ada.get("/v1/me").status_code == 503

    place.sql(login.format("login"))

    assert ada.get("/v1/me").status_code == 200
