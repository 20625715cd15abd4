"""API keys: how machines act in one project. Only a key's hash is kept."""

from __future__ import annotations

from datetime import datetime
from typing import LiteralString
from uuid import UUID

from argus_ray.catalog.statement import Statement
from argus_ray.errors import NotFound
from argus_ray.schemas.common import Schema
from argus_ray.schemas.project import ApiKey, ApiKeyCreate, Role, Scope

_COLUMNS: LiteralString = """
    id, project_id, name, prefix, role, scopes, created_at, expires_at, last_used_at, revoked_at
"""


class KeyFacts(Schema):
    api_key_id: UUID
    project_id: UUID
    role: Role
    scopes: list[Scope]


class KeyClaims(Schema):
    """What a key stands for, in the form of claims."""

    role: str
    argus: KeyFacts


def claims_of(key_hash: bytes) -> Statement[KeyClaims]:
    """The claims of a key that is known, not revoked and not expired; no row otherwise. Callable by anybody."""
    return Statement(
        KeyClaims,
        """
        select claims ->> 'role' as role, claims -> 'argus' as argus
        from claims_of_key(%(key_hash)s) as claims where claims is not null
        """,
        key_hash=key_hash,
    )


def create(project_id: UUID, new: ApiKeyCreate, prefix: str, key_hash: bytes) -> Statement[ApiKey]:
    return Statement(
        ApiKey,
        f"""
        insert into api_keys (project_id, name, prefix, key_hash, role, scopes, expires_at, created_by)
        values (%(project_id)s, %(name)s, %(prefix)s, %(key_hash)s, %(role)s, %(scopes)s, %(expires_at)s, user_id())
        returning {_COLUMNS}
        """,
        project_id=project_id,
        name=new.name,
        prefix=prefix,
        key_hash=key_hash,
        role=new.role,
        scopes=sorted(set(new.scopes)),
        expires_at=new.expires_at,
    )


def page(project_id: UUID, after: tuple[datetime, UUID] | None, rows: int) -> Statement[ApiKey]:
    """The project's keys, revoked ones too, newest first."""
    created_at, key_id = after or (None, None)
    return Statement(
        ApiKey,
        f"""
        select {_COLUMNS} from api_keys
        where project_id = %(project_id)s
          and (%(created_at)s::timestamptz is null or (created_at, id) < (%(created_at)s, %(id)s::uuid))
        order by created_at desc, id desc limit %(rows)s
        """,
        project_id=project_id,
        created_at=created_at,
        id=key_id,
        rows=rows,
    )


def revoke(project_id: UUID, key_id: UUID) -> Statement[ApiKey]:
    """From the next request on the key is nobody; a second call changes nothing."""
    return Statement(
        ApiKey,
        f"""
        update api_keys set revoked_at = coalesce(revoked_at, now())
        where project_id = %(project_id)s and id = %(id)s
        returning {_COLUMNS}
        """,
        project_id=project_id,
        id=key_id,
    ).or_raise(NotFound("there is no such API key in this project"))
