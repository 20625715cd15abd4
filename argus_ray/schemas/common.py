"""What every answer shares: pages, problems, states, and strings that Postgres can store."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

Row = TypeVar("Row")

Timestamp = Annotated[datetime, AwareDatetime]


class Schema(BaseModel):
    """An answer or a row: frozen; what Postgres or a newer server adds is left out of the Python object."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Request(BaseModel):
    """A body that a client sends: an unknown field is a mistake, and is named."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def storable(text: str) -> str:
    """Refuse what UTF-8 or Postgres cannot hold: lone surrogates and the null character."""
    if "\x00" in text:
        raise ValueError("must not contain the null character")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("must be valid Unicode (a lone surrogate was found)") from error
    return text


Text = Annotated[str, AfterValidator(storable)]
Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(storable)]


def storable_tree(value: Any, depth: int = 0) -> Any:
    """The same for a JSON value of any shape, at most 16 levels deep; NaN and infinities are not JSON."""
    if depth > 16:
        raise ValueError("must not be nested deeper than 16 levels")
    if isinstance(value, str):
        storable(value)
    elif isinstance(value, float) and value - value != 0:
        raise ValueError("must not contain NaN or infinity")
    elif isinstance(value, dict):
        for key, inner in value.items():
            storable(key)
            storable_tree(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            storable_tree(inner, depth + 1)
    return value


JsonObject = Annotated[dict[str, Any], AfterValidator(storable_tree)]


class Page(Schema, Generic[Row]):
    """One page of a list. `next_cursor` is null at the end; a cursor is opaque."""

    items: list[Row]
    next_cursor: str | None = None


class Reason(Schema):
    """Why something failed: a stable type, and a sentence that a person can act on."""

    type: str
    detail: str
    facts: dict[str, Any] | None = None


class Problem(Schema):
    """RFC 9457. `errors` names the fields at fault, each with a JSON pointer; `current` is what stands there now, of a 412."""

    type: str
    title: str
    status: int
    detail: str
    instance: str | None = None
    request_id: str | None = None
    errors: list[dict[str, Any]] | None = None
    current: dict[str, Any] | None = None
