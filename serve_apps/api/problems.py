"""Errors as answers: RFC 9457 problems, and the pages that explain them.

A problem's `type` is `/problems/<type>`, relative to the API that sent it, where it is explained. An answer never
repeats what was sent beyond the name of a field: inputs may be huge, secret or not even text.
"""

from __future__ import annotations

import html
import json
import logging
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.requests import Request
from fastapi.responses import HTMLResponse, Response
from starlette.exceptions import HTTPException

from argus_ray.errors import (
    ArgusError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    Unauthenticated,
    Unavailable,
    kinds,
)
from argus_ray.schemas.common import Problem

log = logging.getLogger("argus.api")

MEDIA_TYPE = "application/problem+json"
_RETRY_AFTER_S = {429: 2, 503: 3}
_MOST_ERRORS = 20
_LONGEST_NAME = 100

router = APIRouter(include_in_schema=False)


def problem(error: ArgusError, request: Request, *, errors: list[dict[str, str]] | None = None) -> Response:
    """The answer that says this error."""
    request_id = request.scope.get("state", {}).get("request_id")
    body = {
        **error.facts,
        "type": f"/problems/{error.type}",
        "title": error.title,
        "status": error.status,
        "detail": sayable(error.detail),
        "instance": sayable(request.url.path),
        **({"request_id": request_id} if request_id else {}),
        **({"errors": errors} if errors else {}),
    }
    headers = {"Cache-Control": "no-store"}
    if error.status in _RETRY_AFTER_S:
        headers["Retry-After"] = str(round(error.facts.get("retry_after_s", _RETRY_AFTER_S[error.status])))
    if error.status == Unauthenticated.status:
        headers["WWW-Authenticate"] = 'Bearer realm="argus"'
    # facts may be ids, times, or text of a client's that UTF-8 cannot hold: a problem must not fail on them
    content = json.dumps(body, ensure_ascii=False, default=str).encode("utf-8", "backslashreplace")
    return Response(content, error.status, headers, MEDIA_TYPE)


def unexpected(error: Exception, request: Request) -> Response:
    """For what nobody thought of: the log has everything, the answer has the request id to find it by."""
    log.error(
        "%s %s failed: %r (request %s)",
        request.method,
        request.url.path,
        error,
        request.scope.get("state", {}).get("request_id"),
        exc_info=error,
    )
    return problem(ArgusError("an error that is ours: tell whoever runs this Argus the request id"), request)


def handle_problems(app: FastAPI) -> None:
    """Let the app answer with problems, whatever raises."""

    @app.exception_handler(ArgusError)
    async def argus_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, ArgusError)
        if error.status >= 500 and not isinstance(error, Unavailable):
            return unexpected(error, request)
        return problem(error, request)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        errors = [_field_error(found) for found in error.errors()]
        first = errors[0]
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        detail = f"{first['pointer'] or 'the body'}: {first['detail']}{more}"
        return problem(InvalidRequest(detail), request, errors=errors[:_MOST_ERRORS])

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        answer = problem(_of_framework(error, request), request)
        answer.headers.update(error.headers or {})
        return answer


def _of_framework(error: HTTPException, request: Request) -> ArgusError:
    """What Starlette and FastAPI raise by themselves, in our words."""
    if error.status_code == 400:
        return InvalidRequest("the body cannot be read: it is not valid JSON in UTF-8")
    if error.status_code == 404:
        return NotFound("there is nothing at this address")
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another")
        return MethodNotAllowed(f"{request.method} is not a method of this address: it takes {allowed}")
    return InvalidRequest(str(error.detail))


def sayable(text: str) -> str:
    """The text with what UTF-8 cannot hold written as escapes, cut to a length that a problem can have."""
    short = text if len(text) <= 2000 else text[:2000] + "…"
    return short.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()


def _field_error(found: Any) -> dict[str, str]:
    """One of pydantic's errors, without the value that was wrong."""
    if found["type"] == "json_invalid":
        return {"pointer": "", "detail": f"not valid JSON, at character {found['loc'][-1]}"}
    return {"pointer": _pointer(found["loc"]), "detail": sayable(found["msg"])}


def _pointer(location: tuple[int | str, ...]) -> str:
    """FastAPI's place of an error as a JSON pointer into the body, or `query/<name>`, `path/<name>`."""
    where, *steps = location
    names = [sayable(str(step))[:_LONGEST_NAME].replace("~", "~0").replace("/", "~1") for step in steps]
    return "".join(f"/{name}" for name in names) if where == "body" else "/".join([str(where), *names])


# -- the pages -------------------------------------------------------------------------------------


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For a route's `responses`: these statuses answer with a problem."""
    return {
        status: {
            "description": next((kind.title for kind in kinds() if kind.status == status), "A problem"),
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


def describe_problems(app: FastAPI) -> None:
    """Let the OpenAPI document know our problems, and not the framework's form of a validation error."""
    described = app.openapi

    def openapi() -> dict[str, Any]:
        document = described()
        schemas = document["components"]["schemas"]
        schemas["Problem"] = Problem.model_json_schema()
        schemas.pop("HTTPValidationError", None)
        schemas.pop("ValidationError", None)
        for operations in document["paths"].values():
            for operation in operations.values():
                if "application/json" in operation["responses"].get("422", {}).get("content", {}):
                    operation["responses"]["422"] = documented(422)[422]
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way of extending the document


@router.get("/problems")
async def list_problems() -> HTMLResponse:
    """Every problem that this API can answer with."""
    rows = "".join(
        f'<tr><td><a href="/problems/{kind.type}">{kind.type}</a><td>{kind.status}<td>{html.escape(kind.title)}'
        for kind in {kind.type: kind for kind in kinds()}.values()
    )
    return HTMLResponse(page("Problems", f"<table><tr><th>Type<th>Status<th>Meaning{rows}</table>"))


@router.get("/problems/{name}")
async def explain_problem(name: str) -> HTMLResponse:
    """What a problem of this type means."""
    for kind in kinds():
        if kind.type == name:
            doc = kind.__dict__.get("__doc__") or ""
            text = f"<p>{html.escape(kind.title)}. Status {kind.status}.<p>{html.escape(doc)}"
            return HTMLResponse(page(kind.type, text + "<p>The <code>detail</code> of the answer says what to do."))
    raise NotFound("there is no problem of this type")


def page(title: str, body: str) -> str:
    """A page of our own: no script, nothing from elsewhere."""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>body{{font:16px/1.5 system-ui;max-width:50em;margin:2em auto;padding:0 1em}}"
        f"td,th{{text-align:left;padding:.2em 1em .2em 0}}</style><h1>{title}</h1>{body}</html>"
    )
