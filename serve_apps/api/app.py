"""The HTTP API: an ASGI app that stands on its own, and the Serve application around it.

`create_app` needs neither Ray nor a model to be imported or tested; `build` gives it the handles of the models'
deployments. A process holds connections to Postgres as role `argus_api`, which by itself may read nothing, an S3
client, and the issuer's public keys: nothing that matters is lost with it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, closing, nullcontext
from typing import TYPE_CHECKING, Any

import httpx
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from pydantic import BaseModel, ConfigDict, Field

from argus_ray import auth
from argus_ray.catalog.connect import pool
from argus_ray.errors import ConfigurationError
from argus_ray.predicting import Finder
from argus_ray.s3 import S3
from argus_ray.search import Embedder
from argus_ray.settings import Settings
from argus_ray.telemetry import log_to_stderr
from argus_ray.thumbnails import Thumbnails
from serve_apps.api import problems
from serve_apps.api.guard import Guard, RequestIds
from serve_apps.api.routes import annotations as annotation_routes
from serve_apps.api.routes import (
    api_keys,
    audit,
    concepts,
    datasets,
    docs,
    frames,
    health,
    imports,
    jobs,
    labels,
    me,
    members,
    projects,
    review,
    search,
    sign_in,
    tracks,
    uploads,
    verdicts,
    videos,
)

if TYPE_CHECKING:
    from ray.serve import Application

_NO_PROXY = {"all://127.0.0.1": None, "all://localhost": None, "all://[::1]": None}  # none stands before this machine


def create_app(
    settings: Settings, *, siglip2: Embedder, sam3: Finder | None = None, behind_serve: bool = False
) -> FastAPI:
    """The API over what the settings name; without `sam3`, requests for concepts are told that there is none.

    Raises ConfigurationError, when it starts, where they name too little.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        database_url = settings.secret("api_database_url")
        if database_url is None:
            raise ConfigurationError("ARGUS_API_DATABASE_URL is empty: say where the API finds Postgres")
        database = pool(database_url)
        await database.open()
        try:
            async with httpx.AsyncClient(timeout=3, mounts=_NO_PROXY) as http:
                issuer = auth.issuer(settings, http)
                with closing(S3(settings)) as s3, _thumbnails(settings) as thumbnails:
                    app.state.settings, app.state.database, app.state.issuer = settings, database, issuer
                    app.state.s3, app.state.thumbnails = s3, thumbnails
                    app.state.siglip2, app.state.sam3 = siglip2, sam3
                    yield
        finally:
            await database.close()

    app = FastAPI(
        title="Argus",
        version="1",
        summary="Turn a pile of video into something a team can search and label.",
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
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=["Authorization", "X-Api-Key", "Content-Type", "If-Match", "Idempotency-Key", "X-Request-Id"],
        expose_headers=["ETag", "Location", "X-Request-Id", "Retry-After", "Idempotent-Replayed"],
        max_age=600,
    )
    app.add_middleware(RequestIds, on_answer=not behind_serve)

    for module in (
        health,
        docs,
        problems,
        sign_in,
        me,
        projects,
        members,
        api_keys,
        audit,
        videos,
        uploads,
        frames,
        labels,
        annotation_routes,
        tracks,
        verdicts,
        concepts,
        jobs,
        datasets,
        imports,
        search,
        review,
    ):
        app.include_router(module.router)
    problems.describe_problems(app)
    return app


def _thumbnails(settings: Settings) -> AbstractContextManager[Thumbnails | None]:
    """None where no Storage is configured: videos have no posters then."""
    return closing(Thumbnails(settings)) if settings.supabase_url and settings.secret_key else nullcontext()


class Args(BaseModel):
    """What `build` takes, from a Serve config file or `serve run`."""

    model_config = ConfigDict(extra="forbid")

    siglip2_application: str = "siglip2"
    sam3_application: str = "sam3"
    num_cpus: float = Field(0.2, ge=0)
    min_replicas: int = Field(1, ge=1)
    max_replicas: int = Field(1, ge=1)
    max_ongoing_requests: int = Field(100, ge=1)
    max_queued_requests: int = Field(200, ge=1)
    retry_after_s: float = Field(2, gt=0)


class _Api:
    """The replica: the app is built in it, when it starts."""

    def __init__(self, settings: Settings, siglip2_application: str, sam3_application: str) -> None:
        self.settings = settings
        self.siglip2_application, self.sam3_application = siglip2_application, sam3_application

    def __serve_build_asgi_app__(self) -> FastAPI:
        from serve_apps.api.sam3 import ServedSam3
        from serve_apps.api.siglip2 import ServedSiglip2

        log_to_stderr(self.settings.log_format)
        return create_app(
            self.settings,
            siglip2=ServedSiglip2(self.siglip2_application),
            sam3=ServedSam3(self.sam3_application),
            behind_serve=True,
        )


def build(given: dict[str, Any] | Args) -> Application:
    """The Serve application: `serve run serve_apps.api.app:build`. Beyond its queue, requests get 429."""
    args = Args.model_validate(given)
    from ray import serve
    from ray.serve.config import AutoscalingConfig, BackpressureConfig
    from ray.serve.schema import LoggingConfig

    deployment = serve.deployment(
        serve.ingress()(_Api),
        name="Api",
        max_ongoing_requests=args.max_ongoing_requests,
        max_queued_requests=args.max_queued_requests,
        backpressure_config=BackpressureConfig(status_code=429, retry_after_s=args.retry_after_s),
        autoscaling_config=AutoscalingConfig(
            min_replicas=args.min_replicas, max_replicas=max(args.min_replicas, args.max_replicas)
        ),
        ray_actor_options={"num_cpus": args.num_cpus},
        logging_config=LoggingConfig(enable_access_log=False),  # the guard has one, with our request id
        graceful_shutdown_timeout_s=70,  # longer than the longest wait for a job
    )
    application: Application = deployment.bind(Settings(), args.siglip2_application, args.sam3_application)
    return application
