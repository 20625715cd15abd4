"""The kind of route that all of /v1 consists of: `APIRouter(route_class=Route)`.

It refuses query parameters that nobody declared and bodies that are not JSON, before anything is parsed; and where the
endpoint depends on `idempotent`, it keeps the answer under the caller's key while the transaction is still open, since
dependencies of function scope end after the handler.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Header, params
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.requests import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic import BaseModel

from argus_ray.catalog import idempotency
from argus_ray.catalog.statement import AsyncTx
from argus_ray.errors import Conflict, InvalidRequest, UnsupportedMediaType
from serve_apps.api.dependencies import UserTx

_KEPT_HEADERS = ("location", "etag")
_JSON = re.compile(r"application/(json|[\w.-]+\+json)\s*(;.*)?", re.IGNORECASE)


class Route(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()
        known = frozenset(_query_parameters(self.dependant))
        takes_json = self.body_field is not None and not isinstance(self.body_field.field_info, params.Form)

        async def handle(request: Request) -> Response:
            if unknown := sorted(set(request.query_params) - known):
                raise RequestValidationError(
                    [{"loc": ("query", name), "msg": _unknown(known), "type": "extra_forbidden"} for name in unknown]
                )
            if takes_json and await request.body():
                _require_json(request)
            try:
                answer = await handler(request)
            except _Replay as replay:
                return replay.answer
            if pending := getattr(request.state, "idempotent", None):
                await pending.keep(answer)
            return answer

        return handle


def _query_parameters(dependant: Dependant) -> list[str]:
    """The names of all query parameters of an endpoint and what it depends on."""
    names = []
    for parameter in dependant.query_params:
        model = parameter.field_info.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            names += [field.alias or name for name, field in model.model_fields.items()]
        else:
            names.append(parameter.alias)
    return names + [name for inner in dependant.dependencies for name in _query_parameters(inner)]


def _unknown(known: frozenset[str]) -> str:
    return f"there is no such query parameter here: it takes {', '.join(sorted(known)) or 'none'}"


def _require_json(request: Request) -> None:
    media_type = request.headers.get("content-type", "")
    if not _JSON.fullmatch(media_type.strip()):
        raise UnsupportedMediaType("the body must be JSON: send Content-Type: application/json")
    if encoding := request.headers.get("content-encoding", "").strip():
        raise UnsupportedMediaType(f"the body must not be compressed ({encoding[:20]}): leave Content-Encoding out")


# -- Idempotency-Key -------------------------------------------------------------------------------


class _Replay(Exception):
    def __init__(self, answer: Response) -> None:
        super().__init__()
        self.answer = answer


@dataclass(frozen=True)
class _Pending:
    tx: AsyncTx
    key: str
    request_hash: bytes

    async def keep(self, answer: Response) -> None:
        secret = "no-store" in answer.headers.get("cache-control", "")
        response = None if secret or not answer.body else bytes(answer.body).decode()
        headers = {name: answer.headers[name] for name in _KEPT_HEADERS if name in answer.headers}
        await self.tx.run(idempotency.keep(self.key, self.request_hash, answer.status_code, response, headers))


async def idempotent(
    request: Request,
    tx: UserTx,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=255,
            pattern=r"^[!-~]+$",
            description="A name for this request, of your making: sent again, it answers the same and does nothing "
            "again. Kept for a day.",
        ),
    ] = None,
) -> None:
    """For a POST that must not happen twice: `dependencies=[Idempotent]`.

    Raises Conflict while the first request with the key still runs, InvalidRequest when the key is another request's.
    """
    if idempotency_key is None:
        return
    if not await tx.one(idempotency.lock(idempotency_key)):
        raise Conflict("a request with this Idempotency-Key is being answered now: try again in a moment")
    asked = f"{request.method} {request.url.path}?{request.url.query}\n".encode() + await request.body()
    request_hash = hashlib.sha256(asked).digest()
    kept = await tx.maybe(idempotency.find(idempotency_key))
    if kept is None:
        request.state.idempotent = _Pending(tx, idempotency_key, request_hash)
        return
    if kept.request_hash != request_hash:
        raise InvalidRequest("this Idempotency-Key belongs to another request: use a new key for a new request")
    raise _Replay(_answer(kept))


def _answer(kept: idempotency.Kept) -> Response:
    if kept.response is None and kept.status != 204:
        raise Conflict("this request was answered, and its answer is shown once only, since it held a secret")
    return Response(kept.response, kept.status, {**kept.headers, "Idempotent-Replayed": "true"}, "application/json")


Idempotent: Any = Depends(idempotent, scope="function")
