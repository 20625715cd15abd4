"""Realtime over HTTP: send into topics without a socket."""

from __future__ import annotations

import json
import logging
from typing import Annotated, Any, cast

import jwt
import psycopg
from fastapi import Depends, FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from psycopg_pool import PoolTimeout
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from argus_ray.local.supabase import protocol, realtime
from argus_ray.local.supabase.feed import Feed
from argus_ray.local.supabase.gateway import NoApiKey
from argus_ray.local.supabase.hub import Hub, Room
from argus_ray.local.supabase.realtime_rights import rights
from argus_ray.local.supabase.services import Caller, Here, Services

log = logging.getLogger(__name__)

Name = Annotated[str, Field(min_length=1, max_length=protocol.MAX_NAME_BYTES)]


def _hub(request: Request) -> Hub:
    return cast("Hub", request.app.state.hub)


TheHub = Annotated[Hub, Depends(_hub)]


class BroadcastMessage(BaseModel):
    topic: Name
    event: Name
    payload: Any
    private: bool = False


class Broadcasts(BaseModel):
    messages: list[BroadcastMessage] = Field(max_length=1000)


async def broadcast_many(here: Here, caller: Caller, hub: TheHub, body: Broadcasts) -> Response:
    """Send messages to topics. Those to a private topic in which the caller may not speak go nowhere, as on Supabase."""
    private = {message.topic for message in body.messages if message.private}
    may = {topic: await rights(here.pool, caller, topic) for topic in private}
    for message in body.messages:
        if not message.private or "broadcast" in may[message.topic].says:
            sent = {"type": "broadcast", "event": message.event, "payload": message.payload}
            hub.broadcast(Room(message.topic, message.private), sent)
    return Response(status_code=202)


async def broadcast_one(
    here: Here,
    caller: Caller,
    hub: TheHub,
    request: Request,
    topic: Annotated[Name, Path()],
    event: Annotated[Name, Path()],
    private: Annotated[bool, Query()] = False,
) -> Response:
    """Send the body, JSON or bytes, as one message."""
    payload = _payload(request.headers.get("content-type", ""), await request.body())
    if private and "broadcast" not in (await rights(here.pool, caller, topic)).says:
        raise HTTPException(403, "Unauthorized: you may not send to this topic")
    hub.broadcast(Room(topic, private), {"type": "broadcast", "event": event, "payload": payload})
    return Response(status_code=202)


def _payload(content_type: str, body: bytes) -> Any:
    match content_type.partition(";")[0].strip().lower():
        case "application/octet-stream":
            return body
        case "application/json":
            try:
                return json.loads(body)
            except ValueError as error:
                raise HTTPException(422, "the body is not JSON") from error
        case _:
            raise HTTPException(415, "the body is application/json or application/octet-stream")


async def _answer(_: Request, error: Exception) -> JSONResponse:
    headers = None
    match error:
        case NoApiKey() | jwt.InvalidTokenError():
            status, message = 401, "Unauthorized: the API key or the token is missing, wrong or has expired"
        case HTTPException():
            status, message = error.status_code, str(error.detail)
        case RequestValidationError():
            first = error.errors()[0]
            status, message = 422, f"{'.'.join(map(str, first['loc'][1:]))}: {first['msg']}"
        case psycopg.OperationalError() | PoolTimeout():
            log.warning("answered 503: %r", error)
            status, message, headers = 503, "Postgres does not answer", {"Retry-After": "2"}
        case psycopg.DataError() | UnicodeError():
            status, message = 422, "the topic cannot be stored, or the policies on it cannot be evaluated"
        case _:
            raise error
    return JSONResponse({"error": message, "message": message}, status, headers)


def create(here: Services, hub: Hub, feed: Feed) -> FastAPI:
    """Realtime's app: the socket and this."""
    app = FastAPI(openapi_url=None)
    app.state.services, app.state.hub, app.state.feed = here, hub, feed
    app.add_api_websocket_route("/websocket", realtime.serve)
    app.add_api_route("/api/broadcast", broadcast_many, methods=["POST"])
    app.add_api_route("/api/broadcast/{topic}/events/{event}", broadcast_one, methods=["POST"])
    for kind in (
        NoApiKey,
        jwt.InvalidTokenError,
        HTTPException,
        RequestValidationError,
        UnicodeError,
        psycopg.Error,
        PoolTimeout,
    ):
        app.add_exception_handler(kind, _answer)
    return app
