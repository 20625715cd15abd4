"""Who is calling: real keys, a real key set behind a real address, and every forgery that we know of."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import time
from collections.abc import Iterator

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from argus_ray.auth import Caller, Issuer, hash_of, new_key
from argus_ray.errors import Unauthenticated, Unavailable
from tests.people import TestIssuer, person_id, raw_token

SECRET = "a legacy secret that is long enough for HS256"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def people() -> Iterator[TestIssuer]:
    issuer = TestIssuer()
    issuer.add("rsa", kind="rsa")
    issuer.add("stolen", publish=False)
    yield issuer
    issuer.close()


@pytest.fixture
def rotating() -> Iterator[TestIssuer]:
    """One that a test may bring down or give other keys."""
    issuer = TestIssuer()
    yield issuer
    issuer.close()


class Verifier:
    """The issuer's verdict, asked again and again with the same cache."""

    def __init__(self, people: TestIssuer, *, secret: str | None = None) -> None:
        self.clock = Clock()
        self.issuer = Issuer(
            httpx.AsyncClient(verify=False),
            jwks_url=people.jwks_url,
            issuer=people.issuer,
            audience="authenticated",
            leeway_s=10,
            secret=secret,
            clock=self.clock,
        )

    def __call__(self, *tokens: str) -> Caller:
        async def ask() -> Caller:
            # a client of each event loop's own: the cache of keys is what lives on
            async with httpx.AsyncClient(trust_env=False, verify=False) as self.issuer.http:
                return (await asyncio.gather(*map(self.issuer.caller, tokens)))[0]

        return asyncio.run(ask())


@pytest.mark.parametrize("kid", ["ec", "rsa"])
def test_a_token_that_a_published_key_signed_names_a_person(people, kid):
    caller = Verifier(people)(people.token("ada@example.com", kid=kid))

    assert (caller.user_id, caller.email) == (person_id("ada@example.com"), "ada@example.com")
    assert caller.claims["role"] == "authenticated"


def test_claims_that_only_a_key_may_carry_are_dropped(people):
    caller = Verifier(people)(people.token("ada@example.com", argus={"api_key_id": "x"}, app_metadata={"a": "\x00"}))

    assert set(caller.claims) == {"role", "sub", "email", "is_anonymous"}


def test_clocks_may_differ_by_the_leeway(people):
    now = int(time.time())

    assert Verifier(people)(people.token("ada@example.com", exp=now - 5, nbf=now + 5, iat=now + 5)).user_id


def _public_pem(people: TestIssuer, kid: str) -> bytes:
    return (
        people.keys[kid]
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def _hmac(people: TestIssuer, secret: bytes, **header: str) -> str:
    """HS256 by hand: libraries refuse to sign with what looks like a public key."""
    unsigned = raw_token({"alg": "HS256", "typ": "JWT", **header}, people.claims("ada@example.com")).rstrip(".")
    signature = hmac.new(secret, unsigned.encode(), hashlib.sha256).digest()
    return f"{unsigned}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def _tampered(people: TestIssuer) -> str:
    header, _, signature = people.token("ada@example.com").split(".")
    other = raw_token({}, people.claims("eve@example.com")).split(".")[1]
    return f"{header}.{other}.{signature}"


def _self_made(people: TestIssuer, **header: object) -> str:
    claims = people.claims("ada@example.com")
    return jwt.encode(claims, people.keys["stolen"], "ES256", headers={"kid": "ec", **header})


FORGERIES = {
    "no algorithm": lambda p: raw_token({"alg": "none", "kid": "ec"}, p.claims("ada@example.com")),
    "No algorithm in other letters": lambda p: raw_token({"alg": "nOnE", "kid": "ec"}, p.claims("ada@example.com")),
    "no algorithm and a signature": lambda p: raw_token({"alg": "none"}, p.claims("ada@example.com"), b"x" * 64),
    "an algorithm that is no text": lambda p: raw_token({"alg": ["ES256"], "kid": "ec"}, p.claims("a@b")),
    "es256 in small letters": lambda p: raw_token({"alg": "es256", "kid": "ec"}, p.claims("a@b"), b"x" * 64),
    "the public key as an HMAC secret": lambda p: _hmac(p, _public_pem(p, "ec"), kid="ec"),
    "the public RSA key as an HMAC secret": lambda p: _hmac(p, _public_pem(p, "rsa"), kid="rsa"),
    "HS256 where no secret is set": lambda p: _hmac(p, SECRET.encode()),
    "HS256 with an empty secret": lambda p: _hmac(p, b""),
    "RS256 under an EC key's id": lambda p: jwt.encode(p.claims("a@b"), p.keys["rsa"], "RS256", headers={"kid": "ec"}),
    "RS512": lambda p: jwt.encode(p.claims("a@b"), p.keys["rsa"], "RS512", headers={"kid": "rsa"}),
    "another key under a known id": _self_made,
    "a key brought along": lambda p: _self_made(p, jwk=p.jwk("stolen"), jku="http://evil.example/jwks.json"),
    "an unknown key id": lambda p: p.token("ada@example.com", kid="stolen"),
    "a key id that is no text": lambda p: raw_token({"alg": "ES256", "kid": {"a": 1}}, p.claims("a@b"), b"x" * 64),
    "no key id": lambda p: jwt.encode(p.claims("a@b"), p.keys["ec"], "ES256"),
    "changed after signing": _tampered,
    "expired": lambda p: p.token("ada@example.com", exp=int(time.time()) - 60),
    "not yet valid": lambda p: p.token("ada@example.com", nbf=int(time.time()) + 60),
    "from the future": lambda p: p.token("ada@example.com", iat=int(time.time()) + 60),
    "never expires": lambda p: p.token("ada@example.com", exp=None),
    "expires at no number": lambda p: p.token("ada@example.com", exp="soon"),
    "another issuer": lambda p: p.token("ada@example.com", iss="http://evil.example/auth/v1"),
    "no issuer": lambda p: p.token("ada@example.com", iss=None),
    "another audience": lambda p: p.token("ada@example.com", aud="other"),
    "no audience": lambda p: p.token("ada@example.com", aud=None),
    "nobody": lambda p: p.token("ada@example.com", sub=None),
    "a subject that is no id": lambda p: p.token("ada@example.com", sub="1; drop table projects"),
    "anonymous key": lambda p: p.token("ada@example.com", role="anon"),
    "service key": lambda p: p.token("ada@example.com", role="service_role"),
    "a database role": lambda p: p.token("ada@example.com", role="argus_worker"),
    "no role": lambda p: p.token("ada@example.com", role=None),
    "an e-mail that is no text": lambda p: p.signed({**p.claims("ada@example.com"), "email": {"a": 1}}),
    "an e-mail with a null character": lambda p: p.token("ada\x00@example.com"),
    "claims that are no object": lambda p: jwt.api_jws.encode(b"[1]", p.keys["ec"], "ES256", headers={"kid": "ec"}),
    "a header nested too deep": lambda _: base64.urlsafe_b64encode(b"[" * 9000).decode() + ".e30.e30",
    "longer than a token is": lambda p: p.token("ada@example.com", filler="x" * 20_000),
    "no text": lambda _: "ÿÿ.ÿÿ.ÿÿ",
    "one part": lambda _: "abc",
    "three empty parts": lambda _: "..",
    "a publishable key": lambda _: "sb_publishable_0123456789abcdefghijkl_01234567",
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES)
def test_a_forgery_is_refused_and_learns_nothing(people, forge):
    with pytest.raises(Unauthenticated) as refused:
        Verifier(people)(forge(people))

    assert refused.value.detail == (
        "the access token or API key is not valid, or no longer: sign in again, or use another key"
    )


def test_hs256_is_believed_where_a_legacy_secret_is_set(people):
    verify = Verifier(people, secret=SECRET)

    assert verify(_hmac(people, SECRET.encode())).user_id == person_id("ada@example.com")
    with pytest.raises(Unauthenticated):
        verify(_hmac(people, _public_pem(people, "ec"), kid="ec"))


def test_the_key_set_is_fetched_once(rotating):
    Verifier(rotating)(*[rotating.token("ada@example.com")] * 20)

    assert rotating.fetches == 1


def test_a_new_key_is_found_and_made_up_ids_do_not_hammer_the_issuer(rotating):
    verify = Verifier(rotating)
    verify(rotating.token("ada@example.com"))
    rotating.add("next")

    for _ in range(5):  # within ten seconds of the first fetch
        with pytest.raises(Unauthenticated):
            verify(rotating.token("ada@example.com", kid="next"))
    assert rotating.fetches == 1

    verify.clock.now += 11
    assert verify(rotating.token("ada@example.com", kid="next")).user_id
    assert rotating.fetches == 2


def test_a_key_that_is_no_longer_published_stops_working(rotating):
    verify = Verifier(rotating)
    rotating.add("next")
    verify(rotating.token("ada@example.com", kid="ec"))
    rotating.published.remove("ec")

    verify.clock.now += 601
    with pytest.raises(Unauthenticated):
        verify(rotating.token("ada@example.com", kid="ec"))


def test_while_the_issuer_is_down_known_keys_stay_good_for_a_day(rotating):
    verify = Verifier(rotating)
    token = rotating.token("ada@example.com")
    verify(token)
    rotating.down = True

    verify.clock.now += 23 * 3600
    assert verify(token).user_id
    rotating.add("next")
    with pytest.raises(Unavailable, match="issuer does not answer"):
        verify(rotating.token("ada@example.com", kid="next"))

    verify.clock.now += 2 * 3600
    with pytest.raises(Unavailable):
        verify(token)


def test_without_any_keys_nobody_is_refused_for_good(rotating):
    rotating.down = True

    with pytest.raises(Unavailable, match="try again"):
        Verifier(rotating)(rotating.token("ada@example.com"))


def test_a_key_has_256_random_bits_and_is_known_by_its_hash():
    key, prefix, key_hash = new_key()

    assert re.fullmatch(r"argus_[A-Za-z0-9_-]{43}", key)
    assert key.startswith(prefix)
    assert len(prefix) == 12
    assert key_hash == hash_of(key)
    assert new_key()[0] != key
