"""Applies the migrations, with Supabase's own bookkeeping, so that `supabase db push` sees the same versions.

All that are missing run in one transaction under one advisory lock of that transaction: a second starter waits, then
finds nothing to do, and a failure leaves the database as it was.
"""

from __future__ import annotations

from importlib.resources import files
from typing import NamedTuple

import psycopg


class Migration(NamedTuple):
    version: str
    name: str
    sql: str


def migrations() -> list[Migration]:
    """The files `<version>_<name>.sql`, oldest first."""
    found = sorted(
        (path for path in (files("argus_ray.catalog") / "migrations").iterdir() if path.name.endswith(".sql")),
        key=lambda path: path.name,
    )
    return [Migration(path.name[:14], path.name[15:-4], path.read_text()) for path in found]


def migrate(owner_url: str) -> list[str]:
    """Bring the database up to date; returns the versions applied. `owner_url` owns the database, and need be no more."""
    applied = []
    with psycopg.connect(owner_url, prepare_threshold=None) as connection:
        connection.execute("select pg_advisory_xact_lock(hashtext('argus.migrate'))")
        connection.execute("create schema if not exists supabase_migrations")
        connection.execute(
            "create table if not exists supabase_migrations.schema_migrations "
            "(version text primary key, statements text[], name text)"
        )
        done = {row[0] for row in connection.execute("select version from supabase_migrations.schema_migrations")}
        for migration in migrations():
            if migration.version in done:
                continue
            connection.execute(migration.sql.encode())
            connection.execute(
                "insert into supabase_migrations.schema_migrations (version, statements, name) values (%s, %s, %s)",
                (migration.version, [migration.sql], migration.name),
            )
            applied.append(migration.version)
    return applied
