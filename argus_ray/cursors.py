"""Cursors: a place in a list as an opaque word, and back. Whoever makes one says what its places are."""

from __future__ import annotations

import base64
from typing import Any, TypeVar

from pydantic import TypeAdapter

from argus_ray.errors import InvalidRequest

P = TypeVar("P")

_ANYTHING: TypeAdapter[Any] = TypeAdapter(Any)


def cursor_of(place: Any) -> str:
    """A place in a list as an opaque word."""
    return base64.urlsafe_b64encode(_ANYTHING.dump_json(place)).rstrip(b"=").decode()


def place_of(cursor: str, kind: TypeAdapter[P]) -> P:
    """Raises InvalidRequest unless the cursor is one of ours."""
    try:
        padded = cursor.encode() + b"=" * (-len(cursor) % 4)
        return kind.validate_json(base64.b64decode(padded, altchars=b"-_", validate=True))
    except ValueError:  # not base64, not JSON, or no such place
        raise InvalidRequest("the cursor is not one that a page has given: start without it") from None
