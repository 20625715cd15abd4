"""What stands before the routes: a request id, a bound on the body, and nobody in who has not said who they are.

Two plain ASGI layers, with CORS between them. `RequestIds` is outermost, so that every answer carries an id. `Guard`
works in the order that costs us least: the address, then the caller, then the body, which is read whole, since bodies
are small JSON and videos go straight to S3.
"""

from __future__ import annotations

import logging
import re
import time
import uuid
from urllib.parse import unquote_to_bytes

from fastapi.requests import Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from argus_ray.auth import authenticate
from argus_ray.errors import ArgusError, InvalidRequest, TooLarge, Unauthenticated
from serve_apps.api.problems import problem, unexpected

log = logging.getLogger("argus.api.access")

SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,100}")
_CREDENTIALS = (b"authorization", b"x-api-key")


class RequestIds:
    """Gives every request an id, the client's own where it is sane, and logs the request when it is answered.

    Serve's proxy gives one too and writes it on the answer itself: `on_answer=False` there, or it stands twice.
    """

    def __init__(self, app: ASGIApp, *, on_answer: bool = True) -> None:
        self.app = app
        self.on_answer = on_answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        offered = request.headers.get("x-request-id", "")
        request_id = offered if SANE_ID.fullmatch(offered) else str(uuid.uuid4())
        request.state.request_id = request_id
        started, status = time.perf_counter(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if self.on_answer:
                    MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        finally:
            # the path holds ids only; query strings may hold what people search for
            log.info(
                "%s %s %d %.0f ms request=%s",
                request.method,
                request.url.path.encode("ascii", "backslashreplace").decode(),
                status,
                1000 * (time.perf_counter() - started),
                request_id,
            )


class Guard:
    """Lets a request through to the routes when its address is text, its caller is known and its body is bounded."""

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        answering = False

        async def watched(message: Message) -> None:
            nonlocal answering
            answering = True
            await send(message)

        try:
            _check_address(scope)
            if scope["path"].removeprefix(scope.get("root_path", "")).startswith("/v1/"):
                request.state.caller = await _caller(request)
            body = await self._body(request, receive)
            await self.app(scope, _replayed(body, receive), watched)
        except ArgusError as error:
            answer = problem(error, request) if error.status != ArgusError.status else unexpected(error, request)
            await answer(scope, receive, send)
        except Exception as error:
            if answering:
                raise
            await unexpected(error, request)(scope, receive, send)

    async def _body(self, request: Request, receive: Receive) -> bytes:
        announced = request.headers.get("content-length", "0")
        too_large = TooLarge(
            f"the body may have {self.max_body_bytes} bytes: videos go straight to S3, by the URL of an upload"
        )
        if announced.isdecimal() and int(announced[:20]) > self.max_body_bytes:
            raise too_large
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise InvalidRequest("the body ended before its end")
            body += message.get("body", b"")
            if len(body) > self.max_body_bytes:
                raise too_large
            if not message.get("more_body", False):
                return bytes(body)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The body that has been read, once, and then whatever the client does."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _caller(request: Request) -> object:
    sent = [name for name, _ in request.scope["headers"] if name in _CREDENTIALS]
    if len(sent) > 1:
        raise Unauthenticated("send one credential")
    state = request.app.state
    return await authenticate(request.headers, state.issuer, state.database)


def _check_address(scope: Scope) -> None:
    """Path and query must be UTF-8 without the null character; servers replace what is not, so ask the raw bytes."""
    raw_path = scope.get("raw_path") or scope["path"].encode("utf-8", "surrogatepass")
    for part, raw in (("path", raw_path), ("query", scope.get("query_string", b""))):
        decoded = unquote_to_bytes(raw)
        try:
            decoded.decode()
        except UnicodeDecodeError:
            raise InvalidRequest(f"the {part} of the address is not valid UTF-8") from None
        if b"\x00" in decoded:
            raise InvalidRequest(f"the {part} of the address contains the null character")
