"""What a database begins with: made once, whoever starts first and however often."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from argus_ray.local.supabase.bootstrap import bootstrap


@pytest.fixture
def database_url(postgres) -> str:
    return postgres.create_database(f"bootstrap_{uuid.uuid4().hex[:12]}")


def test_two_starters_at_once_and_a_third_later_prepare_one_database(database_url):
    with ThreadPoolExecutor() as starters:
        list(starters.map(bootstrap, [database_url] * 2))
    bootstrap(database_url)

    with psycopg.connect(database_url) as connection:
        connection.execute("select realtime.send('{}', 'event', 'topic')")
        assert connection.execute("select count(*) from realtime.messages").fetchone() == (1,)


def test_the_claims_of_a_request_are_what_policies_see(database_url):
    bootstrap(database_url)
    person = str(uuid.uuid4())
    claims = f'{{"sub": "{person}", "role": "authenticated", "email": "a@example.com"}}'

    with psycopg.connect(database_url) as connection:
        connection.execute("set local role authenticated")
        connection.execute("select set_config('request.jwt.claims', %s, true)", [claims])
        seen = connection.execute("select auth.uid()::text, auth.role(), auth.email(), auth.jwt() ->> 'sub'").fetchone()
        assert seen == (person, "authenticated", "a@example.com", person)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select * from auth.users")


def test_a_connection_without_claims_is_nobody(database_url):
    bootstrap(database_url)

    with psycopg.connect(database_url) as connection:
        assert connection.execute("select auth.uid(), auth.role(), auth.jwt()").fetchone() == (None, None, None)
