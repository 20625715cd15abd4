"""Give a database what a Supabase project begins with. It runs before the first migration of Argus."""

from __future__ import annotations

from importlib import resources

import psycopg

LOCK = 0x5B_A5E  # any number that nobody else locks


def bootstrap(owner_url: str) -> None:
    """Make the roles, schemas, tables and functions of `bootstrap.sql`, where they are not there yet.

    May run again, and in two processes at once: the second waits for the first.
    """
    script = resources.files(__package__).joinpath("bootstrap.sql").read_bytes()
    with psycopg.connect(owner_url) as connection:
        connection.execute("select pg_advisory_xact_lock(%s)", [LOCK])
        connection.execute(script)
