"""Errors as Storage words them: `{"statusCode": "404", "error": "not_found", "message"}`.

The HTTP status is 400 whatever the body's `statusCode` says, 5xx aside: clients read the body.
"""

from __future__ import annotations

import logging

import jwt
import psycopg
from botocore.exceptions import BotoCoreError, ClientError
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from psycopg_pool import PoolTimeout
from starlette.exceptions import HTTPException

from argus_ray.local.supabase.gateway import NoApiKey

log = logging.getLogger(__name__)


class StorageProblem(Exception):
    """What Storage answers when it cannot do what was asked."""

    def __init__(self, status: int, error: str, message: str) -> None:
        super().__init__(message)
        self.status, self.error, self.message = status, error, message

    def response(self) -> JSONResponse:
        body = {"statusCode": str(self.status), "error": self.error, "message": self.message}
        headers = {"Retry-After": "2"} if self.status == 503 else None
        return JSONResponse(body, self.status if self.status >= 500 else 400, headers)


def no_object() -> StorageProblem:
    return StorageProblem(404, "not_found", "Object not found")


def no_bucket() -> StorageProblem:
    return StorageProblem(404, "Bucket not found", "Bucket not found")


def problem(error: Exception) -> StorageProblem:  # noqa: PLR0911  one for each kind of error
    """An error in Storage's words."""
    match error:
        case StorageProblem():
            return error
        case NoApiKey() | jwt.InvalidTokenError():
            return StorageProblem(
                403, "Unauthorized", "Invalid Compact JWS: the token is missing, wrong or has expired"
            )
        case psycopg.errors.InsufficientPrivilege():
            return StorageProblem(403, "Unauthorized", "new row violates row-level security policy")
        case psycopg.errors.UniqueViolation():
            return StorageProblem(409, "Duplicate", "The resource already exists")
        case RequestValidationError():
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"][1:]) or "the body"
            return StorageProblem(400, "Error", f"{where}: {first['msg']}")
        case HTTPException(status_code=413):
            return StorageProblem(413, "Payload too large", "The object exceeded the maximum allowed size")
        case HTTPException():
            return StorageProblem(error.status_code, "Error", str(error.detail))
        case psycopg.DataError() | UnicodeError():
            return StorageProblem(400, "InvalidRequest", "The request holds text that cannot be stored")
        case psycopg.OperationalError() | PoolTimeout() | BotoCoreError() | ClientError():
            log.warning("answered 503: %r", error)
            return StorageProblem(503, "DatabaseTimeout", "Postgres or S3 does not answer")
        case _:
            raise error


async def _answer(_: Request, error: Exception) -> JSONResponse:
    return problem(error).response()


def install(app: FastAPI) -> None:
    """Word every error of the app as Storage would; what is not foreseen here stays a 500."""
    for kind in (
        StorageProblem,
        NoApiKey,
        jwt.InvalidTokenError,
        RequestValidationError,
        HTTPException,
        UnicodeError,
        psycopg.Error,
        PoolTimeout,
        BotoCoreError,
        ClientError,
    ):
        app.add_exception_handler(kind, _answer)
