"""Posters through the official client, in the local Storage or a real one."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import httpx
import pytest
from pydantic import SecretStr

from argus_ray.errors import ConfigurationError, Unavailable
from argus_ray.settings import Settings
from argus_ray.thumbnails import BUCKET, Thumbnails, thumbnail_key

HOUR = timedelta(hours=1)
JPEG = b"\xff\xd8\xff\xe0 a picture \xff\xd9"


@pytest.fixture
def thumbnails(supabase):
    if BUCKET not in {bucket.id for bucket in supabase.server().storage.list_buckets()}:
        supabase.server().storage.create_bucket(BUCKET)
    thumbnails = Thumbnails(Settings(supabase_url=supabase.url, secret_key=SecretStr(supabase.secret_key)))
    yield thumbnails
    thumbnails.close()


@pytest.fixture
def key() -> str:
    return thumbnail_key(uuid4(), uuid4())


def test_a_poster_is_seen_by_whoever_has_its_signed_url_and_by_nobody_else(thumbnails, key, supabase):
    thumbnails.put(key, b"first")
    thumbnails.put(key, JPEG)

    url = thumbnails.sign([key], expires=HOUR)[key]

    seen = httpx.get(url, trust_env=False)
    assert (seen.status_code, seen.content, seen.headers["content-type"]) == (200, JPEG, "image/jpeg")
    assert httpx.get(url.partition("?")[0], trust_env=False).status_code >= 400
    with supabase.http() as anyone:
        assert anyone.get(f"/storage/v1/object/{BUCKET}/{key}").status_code >= 400


def test_a_poster_that_is_not_there_has_no_url_and_takes_none_from_the_others(thumbnails, key):
    thumbnails.put(key, JPEG)

    assert list(thumbnails.sign([thumbnail_key(uuid4(), uuid4()), key], expires=HOUR)) == [key]


def test_a_url_is_signed_once_for_a_while(thumbnails, key):
    thumbnails.put(key, JPEG)

    first, again = (thumbnails.sign([key], expires=HOUR) for _ in range(2))
    assert first == again


def test_a_deleted_poster_is_gone_and_deleting_again_is_no_error(thumbnails, key):
    thumbnails.put(key, JPEG)
    url = thumbnails.sign([key], expires=HOUR)[key]

    thumbnails.delete([key])
    thumbnails.delete([key])

    assert httpx.get(url, trust_env=False).status_code >= 400


def test_while_storage_is_down_nothing_is_signed_and_it_is_not_asked_again_at_once(key):
    away = Thumbnails(Settings(supabase_url="http://127.0.0.1:9", secret_key=SecretStr("sb_secret_x")))

    assert away.sign([key], expires=HOUR) == {}
    assert away.sign([key], expires=HOUR) == {}
    with pytest.raises(Unavailable):
        away.put(key, JPEG)
    with pytest.raises(Unavailable):
        away.delete([key])
    away.close()


def test_without_an_address_the_error_names_the_settings():
    with pytest.raises(ConfigurationError, match="ARGUS_SUPABASE_URL"):
        Thumbnails(Settings(supabase_url=None, secret_key=None))
