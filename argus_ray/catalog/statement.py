"""A statement is a value: the text of one SQL statement, its parameters, and the type of its rows.

A catalogue function describes; `Tx` runs it in a worker, `AsyncTx` in the API. So each query is written once, and what
it says can be read without a database. The caller owns the transaction.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Generic, LiteralString, TypeVar
from uuid import uuid4

import psycopg
from psycopg import errors as pg
from psycopg import sql as composed
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from pydantic import BaseModel

from argus_ray.errors import ArgusError, Conflict, Forbidden, InvalidRequest, NotFound, Unavailable

R = TypeVar("R")


class Statement(Generic[R]):
    """One SQL statement whose rows are `row`: a pydantic model or dataclass by column names, `dict`, or a scalar type
    for the first column. Dicts, lists and models among the parameters travel as jsonb, except lists of plain values,
    which are arrays.
    """

    __slots__ = ("missing", "params", "row", "sql")

    def __init__(self, row: type[R], sql: LiteralString | composed.Composed, /, **params: Any) -> None:
        self.row = row
        self.sql = sql
        self.params: Mapping[str, Any] = {name: _adapt(value) for name, value in params.items()}
        self.missing: ArgusError | None = None

    def or_raise(self, missing: ArgusError) -> Statement[R]:
        """The same statement; `one` raises this when no row comes back."""
        copy = Statement(self.row, self.sql, **self.params)
        copy.missing = missing
        return copy

    def build(self, record: Mapping[str, Any]) -> R:
        """One row of the answer as `row`."""
        if self.row is dict:
            return dict(record)  # type: ignore[return-value]  # row is dict, so R is
        if isinstance(self.row, type) and issubclass(self.row, BaseModel):
            return self.row.model_validate(record)
        if hasattr(self.row, "__dataclass_fields__"):
            return self.row(**record)
        value: R = next(iter(record.values()))
        return value


def _adapt(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return Jsonb(value.model_dump(mode="json", exclude_none=True))
    if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(x, dict) for x in value)):
        return Jsonb(value)
    return value


@contextmanager
def translated() -> Iterator[None]:
    """SQLSTATEs into errors a caller can act on: the one table of them."""
    try:
        yield
    except pg.InsufficientPrivilege as error:
        raise Forbidden(_ours(error) or "your role in this project does not allow that: ask an owner") from error
    except pg.UniqueViolation as error:
        raise Conflict(
            f"that exists already ({error.diag.constraint_name})", constraint=error.diag.constraint_name
        ) from error
    except pg.ForeignKeyViolation as error:
        raise NotFound("what this refers to does not exist, or is not yours") from error
    except pg.CheckViolation as error:
        constraint = error.diag.constraint_name
        if sentence := _ours(error):
            raise Conflict(sentence, constraint=constraint) from error
        raise InvalidRequest(f"a value is not one that is kept ({constraint})", constraint=constraint) from error
    except (pg.DataError, pg.UntranslatableCharacter, pg.ProgramLimitExceeded) as error:
        raise InvalidRequest(_ours(error) or "a value cannot be stored") from error
    except UnicodeEncodeError as error:
        raise InvalidRequest("a text is not valid Unicode: it holds a lone surrogate") from error
    except (psycopg.OperationalError, psycopg.InterfaceError, pg.ReadOnlySqlTransaction) as error:
        raise Unavailable("the database does not answer: try again in a moment") from error


def _ours(error: psycopg.Error) -> str | None:
    """The sentence of one of our own `raise` statements; the server's texts are not for people."""
    raised_by_us = (error.diag.context or "").startswith("PL/pgSQL function argus.")
    return error.diag.message_primary if raised_by_us else None


class Tx:
    """Runs statements in a worker's open transaction."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection

    def one(self, statement: Statement[R]) -> R:
        """The only row. Raises the statement's `or_raise`, or NotFound."""
        row = self.maybe(statement)
        if row is None:
            raise statement.missing or NotFound("there is no such thing")
        return row

    def maybe(self, statement: Statement[R]) -> R | None:
        """The first row, or None."""
        with translated(), self.connection.cursor(row_factory=dict_row) as cursor:
            cursor.execute(statement.sql, statement.params)
            record = cursor.fetchone() if cursor.description else None
        return None if record is None else statement.build(record)

    def all(self, statement: Statement[R]) -> list[R]:
        with translated(), self.connection.cursor(row_factory=dict_row) as cursor:
            cursor.execute(statement.sql, statement.params)
            return [statement.build(record) for record in cursor.fetchall()]

    def stream(self, statement: Statement[R], *, rows: int = 2000) -> Iterator[R]:
        """The rows as they are needed, so many at a time, by a cursor of the server that ends with the transaction."""
        with (
            translated(),
            self.connection.cursor(name=f"stream_{uuid4().hex}", row_factory=dict_row) as cursor,
        ):
            cursor.itersize = rows
            cursor.execute(statement.sql, statement.params)
            for record in cursor:
                yield statement.build(record)

    def run(self, statement: Statement[Any]) -> int:
        """The number of rows it touched."""
        with translated(), self.connection.cursor() as cursor:
            return cursor.execute(statement.sql, statement.params).rowcount


class AsyncTx:
    """Runs statements in a request's transaction, which `begin` opens for the first one."""

    def __init__(self, begin: Callable[[], Awaitable[psycopg.AsyncConnection[Any]]]) -> None:
        self._begin = begin
        self._connection: psycopg.AsyncConnection[Any] | None = None

    async def one(self, statement: Statement[R]) -> R:
        """The only row. Raises the statement's `or_raise`, or NotFound."""
        row = await self.maybe(statement)
        if row is None:
            raise statement.missing or NotFound("there is no such thing, or it is not yours")
        return row

    async def maybe(self, statement: Statement[R]) -> R | None:
        """The first row, or None."""
        async with self._executed(statement) as cursor:
            record = await cursor.fetchone() if cursor.description else None
        return None if record is None else statement.build(record)

    async def all(self, statement: Statement[R]) -> list[R]:
        async with self._executed(statement) as cursor:
            return [statement.build(record) for record in await cursor.fetchall()]

    async def run(self, statement: Statement[Any]) -> int:
        """The number of rows it touched."""
        async with self._executed(statement) as cursor:
            return cursor.rowcount

    @asynccontextmanager
    async def _executed(self, statement: Statement[Any]) -> AsyncIterator[psycopg.AsyncCursor[dict[str, Any]]]:
        with translated():
            if self._connection is None:
                self._connection = await self._begin()
            async with self._connection.cursor(row_factory=dict_row) as cursor:
                await cursor.execute(statement.sql, statement.params)
                yield cursor
