"""The local Supabase as one ASGI app: `/auth/v1`, `/realtime/v1`, `/storage/v1`, and `/rest/v1`, which is not there."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from argus_ray.local.supabase import auth, keys, realtime_http, storage
from argus_ray.local.supabase.config import Config
from argus_ray.local.supabase.database import open_pool
from argus_ray.local.supabase.feed import Feed
from argus_ray.local.supabase.gateway import Gateway
from argus_ray.local.supabase.hub import Hub
from argus_ray.local.supabase.objects import Objects
from argus_ray.local.supabase.services import Services

MAX_BODY_BYTES = 1 * 2**20
FORM_BYTES = 1 * 2**20  # what a form adds around an object


def create_app(config: Config | None = None) -> FastAPI:
    """The app over a database that `bootstrap` has prepared; without a config it is read from the environment."""
    config = config or Config()
    signing = keys.read(config.local_jwk_file, config.issuer)
    database_url = config.local_database_url.get_secret_value()
    here = Services(config, signing, Gateway(config, signing), open_pool(database_url))
    objects, hub = Objects(config), Hub()
    feed = Feed(database_url, hub)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await objects.make_bucket()
        async with here.pool, feed.running():
            yield

    app = FastAPI(title="Local Supabase", openapi_url=None, lifespan=lifespan)
    app.mount("/auth/v1", auth.create(here))
    app.mount("/realtime/v1", realtime_http.create(here, hub, feed))
    app.mount("/storage/v1", storage.create(here, objects))
    app.add_api_route("/rest/v1/{path:path}", no_rest, methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
    app.add_middleware(BodyLimit, max_body_bytes=MAX_BODY_BYTES, max_object_bytes=config.max_object_bytes + FORM_BYTES)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=["*"],
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=["X-Total-Count", "Link", "X-Supabase-Api-Version", "Content-Range", "ETag", "Retry-After"],
        max_age=3600,
    )
    return app


async def no_rest() -> JSONResponse:
    """In PostgREST's words, so that its clients can show it."""
    return JSONResponse(
        {
            "code": "PGRST404",
            "message": "PostgREST is not part of the local Supabase",
            "details": None,
            "hint": "What Argus knows is read and changed through its HTTP API.",
        },
        404,
    )


class BodyLimit:
    """Refuses bodies that are too long, announced or not: objects have their own limit."""

    def __init__(self, app: ASGIApp, max_body_bytes: int, max_object_bytes: int) -> None:
        self.app, self.max_body_bytes, self.max_object_bytes = app, max_body_bytes, max_object_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_object = scope["path"].startswith("/storage/v1/object/")
        limit, received_bytes = self.max_object_bytes if is_object else self.max_body_bytes, 0

        async def limited() -> Message:
            nonlocal received_bytes
            message = await receive()
            received_bytes += len(message.get("body", b""))
            if received_bytes > limit:
                raise HTTPException(413, f"The body is larger than the limit of {limit} bytes")
            return message

        await self.app(scope, limited, send)
