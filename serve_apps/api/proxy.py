"""What stands around Serve's own HTTP proxy, so that it too answers with problems, and to no header with a 500.

Ray loads it into the proxy by `RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=serve_apps.api.proxy:middlewares`, in the
environment of every node. The API works without it; what is missed then is the form of the proxy's own refusals, and
headers that are no text, which the proxy cannot read.
"""

from __future__ import annotations

import uuid

from fastapi.requests import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from argus_ray.errors import ArgusError, TooManyRequests, Unavailable
from serve_apps.api.guard import SANE_ID
from serve_apps.api.problems import problem

# what the proxy reads, and no client of ours has a use for
_FOR_SERVE = (b"serve_multiplexed_model_id", b"x_session_id")

_BUSY = TooManyRequests("there are more requests than can be answered: try again in a moment")
_GONE = Unavailable("what was to answer this is starting, or has stopped: try again in a moment")
_REFUSALS: dict[int, ArgusError] = {408: _GONE, 429: _BUSY, 500: _GONE, 502: _GONE, 503: _GONE, 504: _GONE}


class Proxy:
    """Gives the request an id that is text, and what Serve itself refuses the form of a problem."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/-/"):  # those are Serve's own
            await self.app(scope, receive, send)
            return
        scope["headers"] = [
            (name, value) for name, value in scope["headers"] if name.lower().replace(b"-", b"_") not in _FOR_SERVE
        ]
        headers = MutableHeaders(scope=scope)
        if not SANE_ID.fullmatch(headers.get("x-request-id", "")):
            headers["x-request-id"] = str(uuid.uuid4())
        request_id = headers["x-request-id"]
        refused = False

        async def send_problem(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start":
                refusal = _REFUSALS.get(message["status"])
                # the API's own answers are JSON of one kind or the other
                refused = refusal is not None and "json" not in Headers(raw=message["headers"]).get("content-type", "")
                if refusal is not None and refused:
                    request = Request({**scope, "state": {"request_id": request_id}})
                    answer = problem(refusal, request)
                    answer.headers["X-Request-Id"] = request_id
                    await answer(scope, receive, send)
            if not refused:
                await send(message)

        await self.app(scope, receive, send_problem)


def middlewares() -> list[Middleware]:
    """What Ray asks for."""
    return [Middleware(Proxy)]
