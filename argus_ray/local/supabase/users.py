"""Users, sessions and refresh tokens: the SQL of Auth.

A refresh token is used once and replaced by its child. One that comes a second time has been copied, or its answer was
lost: within a few seconds it is forgiven, later every token of the session is revoked. Tokens are kept as SHA-256.

    sign in ──▶ token ──refresh──▶ child ──refresh──▶ child …
                  └── again, soon ──▶ another child
                  └── again, later ──▶ the whole session's tokens are revoked
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias
from uuid import UUID

from psycopg import sql
from psycopg.types.json import Jsonb

from argus_ray.local.supabase.database import Connection

Row: TypeAlias = dict[str, Any]

WRITABLE = frozenset({
    "email", "encrypted_password", "email_confirmed_at", "raw_user_meta_data", "raw_app_meta_data", "role", "banned_until",
    "phone", "phone_confirmed_at",
})  # fmt: skip


async def insert(connection: Connection, user_id: UUID | None, columns: Row) -> Row | None:
    """The new user, or None when the e-mail or the id is taken."""
    values = _values({**columns, **({"id": user_id} if user_id else {})})
    cursor = await connection.execute(
        sql.SQL("insert into auth.users ({}) values ({}) on conflict do nothing returning *").format(
            sql.SQL(", ").join(map(sql.Identifier, values)), sql.SQL(", ").join(map(sql.Placeholder, values))
        ),
        values,
    )
    return await cursor.fetchone()


async def update(connection: Connection, user_id: UUID, columns: Row) -> Row | None:
    """The changed user, or None when there is none. Raises: psycopg.errors.UniqueViolation when the e-mail is taken."""
    values = _values(columns)
    assignments = [sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in values]
    cursor = await connection.execute(
        sql.SQL("update auth.users set {} where id = %(id)s and deleted_at is null returning *").format(
            sql.SQL(", ").join([*assignments, sql.SQL("updated_at = now()")])
        ),
        {**values, "id": user_id},
    )
    return await cursor.fetchone()


def _values(columns: Row) -> Row:
    assert columns.keys() <= WRITABLE | {"id"}, columns.keys()
    return {name: Jsonb(value) if isinstance(value, dict) else value for name, value in columns.items()}


async def by_email(connection: Connection, email: str) -> Row | None:
    cursor = await connection.execute("select * from auth.users where email = %s and deleted_at is null", [email])
    return await cursor.fetchone()


async def by_id(connection: Connection, user_id: UUID) -> Row | None:
    cursor = await connection.execute("select * from auth.users where id = %s and deleted_at is null", [user_id])
    return await cursor.fetchone()


async def page(connection: Connection, number: int, size: int) -> tuple[list[Row], int]:
    """One page of users, newest first, and how many there are."""
    cursor = await connection.execute(
        "select * from auth.users where deleted_at is null order by created_at desc, id limit %s offset %s",
        [size, (number - 1) * size],
    )
    rows = await cursor.fetchall()
    cursor = await connection.execute("select count(*) as total from auth.users where deleted_at is null")
    total = await cursor.fetchone()
    assert total is not None
    return rows, total["total"]


async def delete(connection: Connection, user_id: UUID, *, keep_row: bool) -> bool:
    """Delete a user with every session. `keep_row` leaves an empty row, so that what refers to it still finds it."""
    if keep_row:
        await connection.execute("delete from auth.sessions where user_id = %s", [user_id])
        cursor = await connection.execute(
            """
            update auth.users
            set deleted_at = now(), updated_at = now(), email = null, phone = null, encrypted_password = null,
                raw_user_meta_data = '{}', raw_app_meta_data = '{}'
            where id = %s and deleted_at is null
            """,
            [user_id],
        )
    else:
        cursor = await connection.execute("delete from auth.users where id = %s", [user_id])
    return cursor.rowcount == 1


# -- sessions ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Session:
    """A session just made or refreshed, with the refresh token in plain, once."""

    id: UUID
    user: Row
    began: datetime
    refresh_token: str


async def sign_in(connection: Connection, user_id: UUID, user_agent: str | None, ip: str | None) -> Session:
    """Begin a session of a user who has proven who they are."""
    cursor = await connection.execute(
        "update auth.users set last_sign_in_at = now(), updated_at = now() where id = %s returning *", [user_id]
    )
    user = await cursor.fetchone()
    cursor = await connection.execute(
        "insert into auth.sessions (user_id, user_agent, ip) values (%s, %s, %s) returning id, created_at",
        [user_id, user_agent, ip],
    )
    session = await cursor.fetchone()
    assert user is not None
    assert session is not None
    token = await _new_token(connection, session["id"], user_id, parent=None)
    return Session(session["id"], user, session["created_at"], token)


Refusal: TypeAlias = Literal["not_found", "already_used", "banned"]


async def refresh(connection: Connection, token: str, forgiven_s: float) -> Session | Refusal:
    """Replace a refresh token, or say why not. The caller commits either way: a refusal may have revoked the session."""
    cursor = await connection.execute(
        """
        select t.id, t.token, t.session_id, t.user_id, t.revoked, s.created_at as began,
               t.updated_at > now() - make_interval(secs => %(forgiven_s)s) as recent,
               coalesce(u.banned_until > now(), false) as banned
        from auth.refresh_tokens t
        join auth.sessions s on s.id = t.session_id
        join auth.users u on u.id = t.user_id and u.deleted_at is null
        where t.token = %(token)s
        for update of t
        """,
        {"token": _digest(token), "forgiven_s": forgiven_s},
    )
    used = await cursor.fetchone()
    if used is None:
        return "not_found"
    if used["banned"]:
        return "banned"
    if used["revoked"] and not used["recent"]:
        await connection.execute(
            "update auth.refresh_tokens set revoked = true, updated_at = '-infinity' where session_id = %s",
            [used["session_id"]],
        )
        return "already_used"
    await connection.execute(
        "update auth.refresh_tokens set revoked = true, updated_at = now() where id = %s and not revoked", [used["id"]]
    )
    await connection.execute(
        "delete from auth.refresh_tokens where session_id = %s and revoked and created_at < now() - interval '1 week'",
        [used["session_id"]],
    )
    await connection.execute(
        "update auth.sessions set refreshed_at = now(), updated_at = now() where id = %s", [used["session_id"]]
    )
    user = await by_id(connection, used["user_id"])
    assert user is not None
    child = await _new_token(connection, used["session_id"], used["user_id"], parent=used["token"])
    return Session(used["session_id"], user, used["began"], child)


async def session_exists(connection: Connection, session_id: UUID, user_id: UUID) -> bool:
    cursor = await connection.execute("select from auth.sessions where id = %s and user_id = %s", [session_id, user_id])
    return await cursor.fetchone() is not None


async def sign_out(
    connection: Connection, user_id: UUID, session_id: UUID | None, scope: Literal["global", "local", "others"]
) -> None:
    """End all sessions of a user, this one, or all others. Access tokens that are out there live to their end."""
    await connection.execute(
        """
        delete from auth.sessions
        where user_id = %(user_id)s
          and case %(scope)s when 'local' then id = %(session_id)s when 'others' then id <> %(session_id)s else true end
        """,
        {"user_id": user_id, "session_id": session_id, "scope": scope},
    )


async def _new_token(connection: Connection, session_id: UUID, user_id: UUID, parent: str | None) -> str:
    token = secrets.token_urlsafe(24)
    await connection.execute(
        "insert into auth.refresh_tokens (token, parent, session_id, user_id) values (%s, %s, %s, %s)",
        [_digest(token), parent, session_id, user_id],
    )
    return token


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
