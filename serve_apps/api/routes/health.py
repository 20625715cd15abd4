"""Is the process alive, and could it serve: for load balancers and people, without signing in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from fastapi import APIRouter
from fastapi.requests import Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from argus_ray.catalog import api_keys
from argus_ray.catalog.connect import as_caller
from serve_apps.api.route import Route

_PATIENCE_S = 5.0

router = APIRouter(tags=["health"], route_class=Route)


class Alive(BaseModel):
    alive: bool = True


class Missing(BaseModel):
    """A part that does not answer: `database`, `s3` or `siglip2`."""

    part: str
    detail: str


class Readiness(BaseModel):
    ready: bool
    missing: list[Missing]
    model: dict[str, Any] | None = None


@router.get("/healthz", operation_id="get_health")
async def healthz() -> Alive:
    """Answers as long as the process lives."""
    return Alive()


@router.get("/readyz", operation_id="get_readiness", response_model=Readiness, responses={503: {"model": Readiness}})
async def readyz(request: Request) -> JSONResponse:
    """What is missing before a search would be answered: 200 when nothing is, 503 else."""
    state = request.app.state

    async def database() -> None:
        async with as_caller(state.database, None) as tx:  # as every request with a key begins: the schema is there
            await tx.maybe(api_keys.claims_of(bytes(32)))

    async def siglip2() -> dict[str, Any]:
        info: dict[str, Any] = await state.siglip2.info()
        return info

    parts: dict[str, Awaitable[Any]] = {
        "database": database(),
        "s3": asyncio.to_thread(state.s3.check),
        "siglip2": siglip2(),
    }
    answers = await asyncio.gather(
        *(asyncio.wait_for(answer, _PATIENCE_S) for answer in parts.values()), return_exceptions=True
    )
    found = dict(zip(parts, answers, strict=True))
    missing = [
        Missing(part=part, detail=f"{type(answer).__name__}: {answer}"[:300])
        for part, answer in found.items()
        if isinstance(answer, BaseException)
    ]
    model = found["siglip2"] if isinstance(found["siglip2"], dict) else None
    readiness = Readiness(ready=not missing, missing=missing, model=model)
    return JSONResponse(readiness.model_dump(), 503 if missing else 200, {"Retry-After": "3"} if missing else None)
