"""Auth through the official client, and over plain HTTP where the client would not go wrong by itself."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from supabase_auth.errors import AuthApiError, AuthWeakPasswordError

from tests.local_supabase import PASSWORD, LocalSupabase, a_mail


def test_signing_up_answers_with_a_session_whose_token_verifies_against_the_public_keys(supabase):
    email = a_mail()

    answer = supabase.anyone().auth.sign_up(
        {"email": email, "password": PASSWORD, "options": {"data": {"name": "Ann"}}}
    )

    claims = supabase.anyone().auth.get_claims(answer.session.access_token)["claims"]
    assert claims["iss"] == f"{supabase.url}/auth/v1"
    assert claims["sub"] == answer.user.id
    assert (claims["aud"], claims["role"], claims["aal"]) == ("authenticated", "authenticated", "aal1")
    assert claims["exp"] - claims["iat"] == 3600
    assert (claims["email"], claims["phone"], claims["is_anonymous"]) == (email, "", False)
    assert claims["user_metadata"] == {"name": "Ann"}
    assert claims["app_metadata"] == {"provider": "email", "providers": ["email"]}
    assert claims["amr"][0]["method"] == "password"
    assert claims["session_id"]
    assert answer.user.identities[0].provider == "email"


def test_the_published_keys_are_public_ones_and_may_be_cached(supabase):
    with supabase.http(apikey="") as http:
        answer = http.get("/auth/v1/.well-known/jwks.json")

    assert answer.headers["cache-control"] == "public, max-age=600"
    (key,) = answer.json()["keys"]
    assert (key["kty"], key["alg"], key["use"], key["key_ops"]) == ("EC", "ES256", "sig", ["verify"])
    assert "d" not in key


def test_an_address_signs_up_once_in_whatever_case_it_is_written(supabase):
    email = a_mail()
    supabase.person(email.upper())

    with pytest.raises(AuthApiError) as refused:
        supabase.person(email)

    assert (refused.value.status, refused.value.code) == (422, "user_already_exists")
    assert supabase.anyone().auth.sign_in_with_password({"email": email, "password": PASSWORD}).user.email == email


def test_a_short_password_is_refused_with_the_reason(supabase):
    with pytest.raises(AuthWeakPasswordError) as refused:
        supabase.anyone().auth.sign_up({"email": a_mail(), "password": "12345"})

    assert refused.value.status == 422
    assert refused.value.reasons == ["length"]


def test_a_wrong_password_and_an_unknown_address_look_the_same(supabase):
    email = a_mail()
    supabase.person(email)

    answers = []
    for given in ({"email": email, "password": "wrong one"}, {"email": a_mail(), "password": PASSWORD}):
        with pytest.raises(AuthApiError) as refused:
            supabase.anyone().auth.sign_in_with_password(given)
        answers.append((refused.value.status, refused.value.code, refused.value.message))

    assert answers == [(400, "invalid_credentials", "Invalid login credentials")] * 2


def test_guessing_is_bounded_and_the_right_password_does_not_help_then(supabase):
    email = a_mail()
    supabase.person(email)
    with supabase.http() as http:
        for _ in range(10):
            http.post("/auth/v1/token?grant_type=password", json={"email": email, "password": "a guess"})
        answer = http.post(
            "/auth/v1/token?grant_type=password",
            json={"email": email, "password": PASSWORD},
            headers={"X-Supabase-Api-Version": "2024-01-01"},
        )

    assert (answer.status_code, answer.json()["code"]) == (429, "over_request_rate_limit")
    assert 0 < int(answer.headers["retry-after"]) <= 301


# -- refresh tokens ------------------------------------------------------------------------------


def refresh(supabase: LocalSupabase, token: str) -> Any:
    return supabase.anyone().auth.refresh_session(token).session


def test_a_refresh_token_is_replaced_at_every_use(supabase):
    first = supabase.person().auth.get_session()

    second = refresh(supabase, first.refresh_token)
    third = refresh(supabase, second.refresh_token)

    assert len({first.refresh_token, second.refresh_token, third.refresh_token}) == 3
    sessions = {jwt.decode(s.access_token, options={"verify_signature": False})["session_id"] for s in (first, third)}
    assert len(sessions) == 1
    assert supabase.anyone().auth.get_user(third.access_token).user.id == first.user.id


def test_a_refresh_token_that_comes_twice_at_once_is_forgiven(supabase):
    first = supabase.person().auth.get_session()

    two_tabs = [refresh(supabase, first.refresh_token) for _ in range(2)]

    assert [refresh(supabase, session.refresh_token).user.id for session in two_tabs] == [first.user.id] * 2


def test_a_refresh_token_that_comes_again_later_ends_every_token_of_its_session(supabase):
    first = supabase.person().auth.get_session()
    second = refresh(supabase, first.refresh_token)
    supabase.execute(
        "update auth.refresh_tokens set updated_at = now() - interval '1 minute' where user_id = %s", first.user.id
    )

    for token in (first.refresh_token, second.refresh_token):
        with pytest.raises(AuthApiError) as refused:
            refresh(supabase, token)
        assert (refused.value.status, refused.value.code) == (400, "refresh_token_already_used")


def test_an_unknown_refresh_token_is_refused(supabase):
    with pytest.raises(AuthApiError) as refused:
        refresh(supabase, "made-up")

    assert (refused.value.status, refused.value.code) == (400, "refresh_token_not_found")


@pytest.mark.parametrize(("scope", "this_lives", "other_lives"), [
    ("local", False, True), ("others", True, False), ("global", False, False),
])  # fmt: skip
def test_signing_out_ends_the_sessions_of_its_scope(supabase, scope, this_lives, other_lives):
    email = a_mail()
    client = supabase.person(email)
    this = client.auth.get_session()
    other = supabase.anyone().auth.sign_in_with_password({"email": email, "password": PASSWORD}).session

    client.auth.admin.sign_out(this.access_token, scope)

    for session, lives in ((this, this_lives), (other, other_lives)):
        if lives:
            assert supabase.anyone().auth.get_user(session.access_token).user.email == email
            assert refresh(supabase, session.refresh_token).user.email == email
        else:
            with pytest.raises(AuthApiError) as gone:
                supabase.anyone().auth.get_user(session.access_token)
            assert (gone.value.status, gone.value.code) == (403, "session_not_found")
            with pytest.raises(AuthApiError):
                refresh(supabase, session.refresh_token)


# -- the user ------------------------------------------------------------------------------------


def test_user_metadata_is_merged_and_null_removes(supabase):
    client = supabase.person()
    client.auth.update_user({"data": {"name": "Ann", "theme": "dark"}})

    changed = client.auth.update_user({"data": {"theme": None, "lang": "de"}}).user

    assert changed.user_metadata == {"name": "Ann", "lang": "de"}
    assert client.auth.get_user().user.user_metadata == {"name": "Ann", "lang": "de"}


def test_a_new_password_ends_the_other_sessions(supabase):
    email = a_mail()
    client = supabase.person(email)
    other = supabase.anyone().auth.sign_in_with_password({"email": email, "password": PASSWORD}).session

    client.auth.update_user({"password": "another horse"})

    assert client.auth.get_user().user.email == email
    with pytest.raises(AuthApiError):
        supabase.anyone().auth.get_user(other.access_token)
    assert supabase.anyone().auth.sign_in_with_password({"email": email, "password": "another horse"}).session


def test_an_address_that_somebody_has_cannot_be_taken_over(supabase):
    taken = a_mail()
    supabase.person(taken)

    with pytest.raises(AuthApiError) as refused:
        supabase.person().auth.update_user({"email": taken})

    assert (refused.value.status, refused.value.code) == (422, "email_exists")


def test_an_administrator_makes_finds_changes_bans_and_deletes_users(supabase):
    admin, email = supabase.server().auth.admin, a_mail()
    user = admin.create_user(
        {"email": email, "password": PASSWORD, "email_confirm": True, "user_metadata": {"a": 1}}
    ).user
    signs_in = {"email": email, "password": PASSWORD}

    assert admin.get_user_by_id(user.id).user.email == email
    assert user.id in {found.id for found in admin.list_users()}
    assert len(admin.list_users(page=1, per_page=1)) == 1
    assert admin.update_user_by_id(user.id, {"app_metadata": {"plan": "x"}}).user.app_metadata["plan"] == "x"
    assert supabase.anyone().auth.sign_in_with_password(signs_in).user.id == user.id
    admin.update_user_by_id(user.id, {"ban_duration": "24h"})
    with pytest.raises(AuthApiError) as banned:
        supabase.anyone().auth.sign_in_with_password(signs_in)
    assert banned.value.code == "user_banned"
    admin.delete_user(user.id)
    with pytest.raises(AuthApiError) as gone:
        admin.get_user_by_id(user.id)
    assert (gone.value.status, gone.value.code) == (404, "user_not_found")


def test_who_has_no_secret_key_is_no_administrator(supabase):
    for client in (supabase.anyone(), supabase.person()):
        with pytest.raises(AuthApiError) as refused:
            client.auth.admin.list_users()
        assert (refused.value.status, refused.value.code) == (403, "not_admin")


# -- who forges ----------------------------------------------------------------------------------


def claims_of(supabase: LocalSupabase, **changes: Any) -> dict[str, Any]:
    token = supabase.person().auth.get_session().access_token
    return {**jwt.decode(token, options={"verify_signature": False}), **changes}


def forgeries(supabase: LocalSupabase) -> dict[str, str]:
    kid = {"kid": supabase.signing.signing.key_id}
    good, public = claims_of(supabase), supabase.signing.jwks["keys"][0]["x"]
    return {
        "unsigned": jwt.encode(good, None, "none", headers=kid),
        "another key": jwt.encode(good, ec.generate_private_key(ec.SECP256R1()), "ES256", headers=kid),
        "HS256 with the public key": jwt.encode(good, public, "HS256", headers=kid),
        "no key id": jwt.encode(good, ec.generate_private_key(ec.SECP256R1()), "ES256"),
        "expired": supabase.signing.sign({**good, "exp": int(time.time()) - 1}),
        "another issuer": supabase.signing.sign({**good, "iss": "https://elsewhere.example/auth/v1"}),
        "another audience": supabase.signing.sign({**good, "aud": "somebody else"}),
        "a URL's token": supabase.signing.sign_url(good, 60),
        "nonsense": "a.b.c",
    }


def test_forged_tokens_open_nothing(supabase):
    for how, token in forgeries(supabase).items():
        with supabase.http(Authorization=f"Bearer {token}") as http:
            answer = http.get("/auth/v1/user")
            assert (answer.status_code, answer.json()["error_code"]) == (403, "bad_jwt"), how
            assert http.get("/auth/v1/admin/users").status_code == 403, how
            assert http.get("/storage/v1/bucket").json()["statusCode"] == "403", how
            sent = http.post("/realtime/v1/api/broadcast", json={"messages": []})
            assert sent.status_code == 401, how


@pytest.mark.parametrize("key", ["", "sb_publishable_wrong", "sb_secret_wrong", "\xe9"])
def test_without_a_right_api_key_nothing_is_answered(supabase, key):
    with supabase.http(apikey=key, Authorization="Bearer sb_secret_guess") as http:
        assert http.post("/auth/v1/signup", json={"email": a_mail(), "password": PASSWORD}).status_code == 401
        assert http.get("/auth/v1/admin/users").status_code == 401


# -- what is not well formed ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "[]",
        "null",
        '{"email": 7, "password": "long enough"}',
        '{"email": "a\\u0000@example.com", "password": "long enough"}',
        '{"email": "\\ud800@example.com", "password": "long enough"}',
        '{"email": "nobody", "password": "long enough"}',
        '{"email": "' + "x" * 300 + '@example.com", "password": "long enough"}',
        '{"email": "nul@example.com", "password": "long enough", "data": {"a": "\\u0000"}}',
        '{"email": "surrogate@example.com", "password": "long enough", "data": {"a": "\\ud800"}}',
        '{"email": "x@example.com", "password": "' + "x" * 73 + '"}',
    ],
)
def test_a_malformed_sign_up_is_a_clear_400(supabase, body):
    with supabase.http(**{"Content-Type": "application/json"}) as http:
        answer = http.post("/auth/v1/signup", content=body)

    assert answer.status_code == 400
    assert answer.json()["error_code"] in {"validation_failed", "bad_json"}
    assert answer.json()["code"] == 400
    assert answer.json()["msg"]


def test_a_body_without_end_is_cut_off(supabase):
    with supabase.http() as http:
        answer = http.post("/auth/v1/signup", content=(b"x" * 65_536 for _ in range(40)))

    assert answer.status_code == 413


def test_browsers_of_any_origin_may_call(supabase):
    with supabase.http() as http:
        preflight = http.options(
            "/auth/v1/token",
            headers={
                "Origin": "https://console.example",
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "apikey,authorization,x-client-info",
            },
        )

    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert "x-client-info" in preflight.headers["access-control-allow-headers"]


def test_postgrest_is_not_there_and_says_so(supabase):
    from postgrest import APIError

    with pytest.raises(APIError, match="not part of the local Supabase") as absent:
        supabase.anyone().table("videos").select("*").execute()

    assert "HTTP API" in absent.value.hint
