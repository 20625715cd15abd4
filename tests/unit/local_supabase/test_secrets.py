"""Passwords, tries, keys and names: what is pure of Auth, the gateway and Storage."""

from __future__ import annotations

import json
import re

import jwt
import pytest

from argus_ray.errors import ConfigurationError
from argus_ray.local.supabase import buckets, keys, passwords
from argus_ray.local.supabase.storage_errors import StorageProblem

MINUTE = 60.0


def test_a_password_matches_its_hash_and_no_other():
    hashed = passwords.hash_now("correct horse")

    assert "correct horse" not in hashed
    assert passwords.matches_now("correct horse", hashed)
    assert not passwords.matches_now("correct horsf", hashed)
    assert passwords.hash_now("correct horse") != hashed


@pytest.mark.parametrize("hashed", [None, "", "$2b$10$abcdefghijklmnopqrstuv", "$scrypt$nonsense"])
def test_nothing_matches_a_hash_that_is_none(hashed):
    assert not passwords.matches_now("", hashed)


def test_tries_are_bounded_within_the_window_and_forgotten_after_it():
    tries = passwords.Tries(limit=3, window_s=5 * MINUTE)
    for second in range(3):
        assert tries.wait_s("ann", now=second) == 0
        tries.failed("ann", now=second)

    assert tries.wait_s("ann", now=3) == 5 * MINUTE - 3
    assert tries.wait_s("bob", now=3) == 0
    assert tries.wait_s("ann", now=5 * MINUTE) == 0
    tries.succeeded("ann")
    assert tries.wait_s("ann", now=3) == 0


def test_tries_of_many_keys_take_bounded_memory():
    tries = passwords.Tries(limit=1, window_s=MINUTE, capacity=10)
    for number in range(1000):
        tries.failed(str(number), now=0)

    assert len(tries._failures) == 10


@pytest.mark.parametrize("kind", ["publishable", "secret"])
def test_an_api_key_has_the_form_of_supabase_s(kind):
    key = keys.generate_api_key(kind)

    assert re.fullmatch(rf"sb_{kind}_[A-Za-z0-9-]{{22}}_[0-9a-f]{{8}}", key)
    assert keys.generate_api_key(kind) != key


def test_a_key_that_was_replaced_still_verifies(tmp_path):
    old, new = keys.generate_jwk_set(), keys.generate_jwk_set()
    (tmp_path / "old").write_text(json.dumps(old))
    (tmp_path / "both").write_text(json.dumps({"keys": new["keys"] + old["keys"]}))
    before, after = (keys.read(tmp_path / name, "me") for name in ("old", "both"))
    claims = {"iss": "me", "aud": "authenticated", "sub": "x", "role": "authenticated", "exp": 2**31}

    assert after.verify(before.sign(claims)) == claims
    assert after.verify(after.sign(claims)) == claims
    with pytest.raises(jwt.InvalidTokenError):
        before.verify(after.sign(claims))


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"keys": []}', '{"keys": [{"kty": "EC", "alg": "ES256"}]}'])
def test_a_file_without_a_private_key_is_refused(tmp_path, text):
    (tmp_path / "jwk").write_text(text)

    with pytest.raises(ConfigurationError, match="jwk"):
        keys.read(tmp_path / "jwk", "me")


@pytest.mark.parametrize("name", ["a", "a/b.png", "with space/(1).jpg", "dot.in.name", "..a", "a=b&c@d;e:f,g?h+i$'*!"])
def test_sensible_names_of_objects_are_taken(name):
    assert buckets.object_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "a\0", "a\n", "\u00e9", "a\\b", "x" * 901]
)
def test_absurd_names_of_objects_are_refused(name):
    with pytest.raises(StorageProblem):
        buckets.object_name(name)


def test_sizes_are_read_as_the_documentation_writes_them():
    assert buckets.BucketUpdate(file_size_limit="20MB").file_size_limit == 20 * 2**20
    assert buckets.BucketUpdate(file_size_limit="1 gb").file_size_limit == 2**30
    assert buckets.BucketUpdate(file_size_limit=7).file_size_limit == 7
