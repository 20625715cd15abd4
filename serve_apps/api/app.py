"""The HTTP API: an ASGI app that stands on its own, and the Serve application around it.

`create_app` needs neither Ray nor a model to be imported or tested; `build` gives it the handle of the SigLIP 2
deployment. A process holds connections to Postgres as role `argus_api`, which by itself may read nothing, an S3
client, and the issuer's public keys: nothing that matters is lost with it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from argus_ray import auth
from argus_ray.catalog.connect import pool
from argus_ray.errors import ConfigurationError
from argus_ray.s3 import S3
from argus_ray.search import Embedder
from argus_ray.settings import Settings
from serve_apps.api import problems
from serve_apps.api.guard import Guard, RequestIds
from serve_apps.api.routes import api_keys, audit, health, me, members, projects, search, sign_in


def create_app(settings: Settings, *, siglip2: Embedder) -> FastAPI:
    """The API over what the settings name. Raises ConfigurationError, when it starts, where they name too little."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        database_url = settings.secret("api_database_url")
        if database_url is None:
            raise ConfigurationError("ARGUS_API_DATABASE_URL is empty: say where the API finds Postgres")
        database = pool(database_url)
        await database.open()
        try:
            async with httpx.AsyncClient(timeout=3) as http:
                app.state.settings = settings
                app.state.database = database
                app.state.issuer = auth.issuer(settings, http)
                app.state.s3 = S3(settings)
                app.state.siglip2 = siglip2
                yield
        finally:
            await database.close()

    app = FastAPI(
        title="Argus",
        version="1",
        summary="Turn a pile of video into something a team can search.",
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    problems.handle_problems(app)
    # the last one added is the outermost
    app.add_middleware(Guard, max_body_bytes=settings.max_body_bytes)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_methods=["GET", "POST", "PATCH", "DELETE"],
        allow_headers=["Authorization", "X-Api-Key", "Content-Type", "If-Match", "Idempotency-Key", "X-Request-Id"],
        expose_headers=["ETag", "Location", "X-Request-Id", "Retry-After", "Idempotent-Replayed"],
        max_age=600,
    )
    app.add_middleware(RequestIds)

    for module in (health, sign_in, problems, me, projects, members, api_keys, audit, search):
        app.include_router(module.router)
    return app
