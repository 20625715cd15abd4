"""Answers kept under a caller's `Idempotency-Key`, in the transaction of the effects they report.

So there are two cases only: effects and answer are both there, or neither. Two requests at once are told apart by a
lock that ends with the transaction. Sweeps delete answers after a day.
"""

from __future__ import annotations

from argus_ray.catalog.statement import Statement
from argus_ray.schemas.common import Schema


class Kept(Schema):
    """An answer given before, its body as text. `response` is None where it held a secret, which is shown once."""

    request_hash: bytes
    status: int
    response: str | None = None
    headers: dict[str, str]


def lock(key: str) -> Statement[bool]:
    """Whether no other transaction works under this key now; if so, none does until this one ends."""
    return Statement(
        bool,
        "select pg_try_advisory_xact_lock(hashtextextended('argus.idempotency ' || caller() || ' ' || %(key)s, 0))",
        key=key,
    )


def find(key: str) -> Statement[Kept]:
    return Statement(
        Kept,
        """
        select request_hash, status, response, headers from idempotency_keys
        where caller = (select caller()) and key = %(key)s
        """,
        key=key,
    )


def keep(key: str, request_hash: bytes, status: int, response: str | None, headers: dict[str, str]) -> Statement[None]:
    return Statement(
        type(None),
        """
        insert into idempotency_keys (caller, key, request_hash, status, response, headers)
        values (caller(), %(key)s, %(request_hash)s, %(status)s, to_jsonb(%(response)s::text), %(headers)s)
        """,
        key=key,
        request_hash=request_hash,
        status=status,
        response=response,
        headers=headers,
    )
