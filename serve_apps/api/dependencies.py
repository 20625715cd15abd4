"""What routes ask for, as types.

`UserTx` commits before the answer leaves, so that nobody is told of what did not happen. A path with `{project_id}`
takes `ProjectId`, `EditableProjectId` or `OwnedProjectId`: whoever may not see the project gets the same 404 as for one
that does not exist.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Generic, Protocol, TypeVar
from uuid import UUID

from fastapi import Depends, Header, Path, Query
from fastapi.requests import Request
from fastapi.responses import Response
from fastapi.security import APIKeyHeader, HTTPBearer
from pydantic import TypeAdapter

from argus_ray import auth, predicting, s3
from argus_ray.catalog import projects
from argus_ray.catalog.connect import as_caller
from argus_ray.catalog.statement import AsyncTx, Statement
from argus_ray.cursors import cursor_of, place_of
from argus_ray.errors import Forbidden, PreconditionFailed, PreconditionRequired, Unauthenticated, Unavailable
from argus_ray.schemas.common import Page, Schema
from argus_ray.schemas.project import Role
from argus_ray.search import Embedder
from argus_ray.settings import Settings as ArgusSettings

R = TypeVar("R")
P = TypeVar("P")

# -- the caller ------------------------------------------------------------------------------------

_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="bearer",
    bearerFormat="JWT",
    description="A person's access token from Supabase Auth, or a project's API key.",
)
_api_key = APIKeyHeader(name="X-Api-Key", auto_error=False, scheme_name="apiKey", description="A project's API key.")


async def caller(
    request: Request, _a: Annotated[Any, Depends(_bearer)], _b: Annotated[Any, Depends(_api_key)]
) -> auth.Caller:
    """Who the guard has let in; the two schemes are here for the documentation."""
    known = getattr(request.state, "caller", None)
    if not isinstance(known, auth.Caller):
        raise Unauthenticated("send an access token or an API key: Authorization: Bearer …")
    return known


Caller = Annotated[auth.Caller, Depends(caller)]


async def transactions(request: Request, who: Caller) -> predicting.Transactions:
    ip = request.client.host if request.client else ""

    def begin() -> AbstractAsyncContextManager[AsyncTx]:
        return as_caller(request.app.state.database, who.claims, ip=ip, request_id=request.state.request_id)

    return begin


Transactions = Annotated[predicting.Transactions, Depends(transactions)]
"""As many transactions as the caller as it takes, for what must hold none while it waits."""


async def user_tx(begin: Transactions) -> AsyncIterator[AsyncTx]:
    async with begin() as tx:
        yield tx


UserTx = Annotated[AsyncTx, Depends(user_tx, scope="function")]
"""A transaction as the caller."""


# -- what the process holds ------------------------------------------------------------------------


async def _settings(request: Request) -> ArgusSettings:
    held: ArgusSettings = request.app.state.settings
    return held


async def _s3(request: Request) -> s3.S3:
    held: s3.S3 = request.app.state.s3
    return held


async def _embedder(request: Request) -> Embedder:
    held: Embedder = request.app.state.siglip2
    return held


async def _finder(request: Request) -> predicting.Finder:
    held: predicting.Finder | None = request.app.state.sam3
    if held is None:
        raise Unavailable("this installation runs no SAM 3: deploy serve_apps.sam3")
    return held


Settings = Annotated[ArgusSettings, Depends(_settings)]
S3 = Annotated[s3.S3, Depends(_s3)]
Siglip2 = Annotated[Embedder, Depends(_embedder)]
Sam3 = Annotated[predicting.Finder, Depends(_finder)]


# -- projects --------------------------------------------------------------------------------------


async def visible_project(project_id: Annotated[UUID, Path()], tx: UserTx) -> UUID:
    """Raises NotFound unless the caller may see the project."""
    await tx.one(projects.get(project_id))
    return project_id


async def owned_project(project_id: Annotated[UUID, Path()], tx: UserTx) -> UUID:
    """Raises NotFound unless the caller may see the project, Forbidden unless they own it."""
    if (await tx.one(projects.get(project_id))).role is not Role.OWNER:
        raise Forbidden("only an owner of the project may do that: ask one")
    return project_id


async def editable_project(project_id: Annotated[UUID, Path()], tx: UserTx) -> UUID:
    """Raises NotFound unless the caller may see the project, Forbidden unless they may add to it.

    For routes that ask S3 before they write: what lies there is not for everybody to find out.
    """
    if (await tx.one(projects.get(project_id))).role not in {Role.OWNER, Role.EDITOR}:
        raise Forbidden("only an owner or editor of the project may do that: ask an owner")
    return project_id


ProjectId = Annotated[UUID, Depends(visible_project, scope="function")]
EditableProjectId = Annotated[UUID, Depends(editable_project, scope="function")]
OwnedProjectId = Annotated[UUID, Depends(owned_project, scope="function")]


# -- versions --------------------------------------------------------------------------------------


class Versioned(Protocol):
    @property
    def version(self) -> int: ...


V = TypeVar("V", bound=Versioned)

_ETAG = re.compile(r'"(\d{1,18})"')


IfMatchHeader = Annotated[
    str | None, Header(max_length=1000, description='The `ETag` that you read, as `"3"`; `*` for any.')
]


async def if_match(if_match: IfMatchHeader = None) -> list[int] | None:
    """The versions that the caller has seen, None for any. Raises PreconditionRequired without the header."""
    if if_match is None:
        raise PreconditionRequired('send the ETag that you read: If-Match: "3"')
    return await may_match(if_match)


async def may_match(if_match: IfMatchHeader = None) -> list[int] | None:
    """The same, where the header may be left out: then it is any."""
    if if_match is None or if_match.strip() == "*":
        return None
    tags = (_ETAG.fullmatch(tag.strip()) for tag in if_match.split(","))
    return [int(tag[1]) for tag in tags if tag]


IfMatch = Annotated[list[int] | None, Depends(if_match)]
MayMatch = Annotated[list[int] | None, Depends(may_match)]


def tagged(row: V, response: Response) -> V:
    """The row, with its version as the answer's ETag."""
    response.headers["ETag"] = f'"{row.version}"'
    return row


async def edit(tx: AsyncTx, change: Statement[R], current: Statement[V], versions: list[int] | None) -> R:
    """Run a change of what has versions; where it finds no row, say why.

    Raises NotFound by `current` when the caller cannot see it, PreconditionFailed with the row as it is when that is of
    another version by now, and Forbidden when it is neither: then it is the caller's role.
    """
    changed = await tx.maybe(change)
    if changed is not None:
        return changed
    seen = await tx.one(current)
    if versions is not None and seen.version not in versions:
        raise PreconditionFailed(
            f"it is at version {seen.version} by now: change what you have now, and send its ETag",
            current_version=seen.version,
            current=seen.model_dump(mode="json") if isinstance(seen, Schema) else None,
        )
    raise Forbidden("your role in this project does not allow that: ask an owner")


# -- pages -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Paging(Generic[P]):
    """Where a page begins and how long it is. Ask the catalogue for `rows`, one more than the page holds."""

    after: P | None
    limit: int

    @property
    def rows(self) -> int:
        return self.limit + 1

    def page(self, rows: Sequence[R], place: Callable[[R], P]) -> Page[R]:
        """The page of these rows; `place` says where the next one begins, after a row."""
        items = list(rows[: self.limit])
        return Page(items=items, next_cursor=cursor_of(place(items[-1])) if len(rows) > self.limit else None)


def paging(kind: type[P], *, most: int = 1000, usual: int = 100) -> Callable[..., Paging[P]]:
    """The dependency that reads `cursor` and `limit`, of a list whose places are of this kind."""
    adapter: TypeAdapter[P] = TypeAdapter(kind)

    async def read(
        cursor: Annotated[
            str | None, Query(max_length=1000, description="`next_cursor` of the page before; without it, the first.")
        ] = None,
        # as a default: FastAPI reads annotations where `most` is not known
        limit: int = Query(usual, ge=1, le=most, description="Most items of the page."),
    ) -> Paging[P]:
        return Paging(None if cursor is None else place_of(cursor, adapter), limit)

    return read  # type: ignore[return-value]  # a coroutine function; FastAPI awaits it


NewestFirst = Annotated[Paging[tuple[datetime, UUID]], Depends(paging(tuple[datetime, UUID]))]
"""Places are (created_at, id)."""


class Created(Protocol):
    @property
    def created_at(self) -> datetime: ...

    @property
    def id(self) -> UUID: ...


def newest(row: Created) -> tuple[datetime, UUID]:
    """The place of a row in a list of `NewestFirst`."""
    return row.created_at, row.id
