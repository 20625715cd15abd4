"""Errors in GoTrue's two shapes.

A client that sends `X-Supabase-Api-Version: 2024-01-01` or later gets `{"code": "<name>", "message"}` and the version
back; an older one `{"code": <status>, "error_code": "<name>", "msg"}`.
"""

from __future__ import annotations

import logging
from typing import Any

import jwt
import psycopg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from psycopg_pool import PoolTimeout
from starlette.exceptions import HTTPException

from argus_ray.local.supabase.gateway import NoApiKey

log = logging.getLogger(__name__)

API_VERSION = "2024-01-01"


class AuthProblem(Exception):
    """What Auth answers when it cannot do what was asked. `extra` goes into the body."""

    def __init__(
        self, status: int, code: str, message: str, headers: dict[str, str] | None = None, **extra: Any
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers, self.extra = status, code, message, headers or {}, extra

    def response(self, *, new_style: bool) -> JSONResponse:
        if new_style:
            body = {"code": self.code, "message": self.message, **self.extra}
            return JSONResponse(body, self.status, {**self.headers, "X-Supabase-Api-Version": API_VERSION})
        body = {"code": self.status, "error_code": self.code, "msg": self.message, **self.extra}
        return JSONResponse(body, self.status, self.headers)


def problem(error: Exception) -> AuthProblem:  # noqa: PLR0911  one for each kind of error
    """An error in Auth's words."""
    match error:
        case AuthProblem():
            return error
        case jwt.InvalidTokenError():
            return AuthProblem(403, "bad_jwt", "invalid JWT: the token is malformed, forged or has expired")
        case RequestValidationError():
            first = error.errors()[0]
            if first["type"] == "json_invalid":
                return AuthProblem(400, "bad_json", "Could not parse request body as JSON")
            where = ".".join(str(part) for part in first["loc"][1:]) or "the body"
            return AuthProblem(400, "validation_failed", f"{where}: {first['msg']}")
        case HTTPException():
            code = {404: "not_found", 413: "request_too_large"}.get(error.status_code, "validation_failed")
            return AuthProblem(error.status_code, code, str(error.detail))
        case psycopg.DataError() | UnicodeError():
            return AuthProblem(400, "validation_failed", "The request holds text that cannot be stored")
        case psycopg.OperationalError() | PoolTimeout():
            log.warning("answered 503: %r", error)
            return AuthProblem(503, "unexpected_failure", "Postgres does not answer", headers={"Retry-After": "2"})
        case _:
            raise error


async def _answer(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, NoApiKey):  # the gateway's own words, not GoTrue's
        return JSONResponse({"message": "Invalid API key", "hint": str(error)}, 401)
    return problem(error).response(new_style=request.headers.get("x-supabase-api-version", "") >= API_VERSION)


def install(app: FastAPI) -> None:
    """Word every error of the app as Auth would; what is not foreseen here stays a 500."""
    for kind in (
        AuthProblem,
        NoApiKey,
        jwt.InvalidTokenError,
        RequestValidationError,
        HTTPException,
        UnicodeError,
        psycopg.Error,
        PoolTimeout,
    ):
        app.add_exception_handler(kind, _answer)
