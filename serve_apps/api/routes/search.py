"""Search: from words, a picture or a frame to moments."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from argus_ray import search
from argus_ray.schemas.frame import Search, SearchAnswer
from serve_apps.api.dependencies import S3, ProjectId, Settings, Siglip2, UserTx
from serve_apps.api.problems import documented
from serve_apps.api.route import Route

router = APIRouter(prefix="/v1/projects/{project_id}", tags=["search"], route_class=Route, responses=documented(401))


async def _embedded(asked: Search, siglip2: Siglip2) -> tuple[Search, search.Embedded]:
    return asked, await search.embed(siglip2, asked)


# Resolved first: no transaction is open while the model thinks.
Embedded = Annotated[tuple[Search, search.Embedded], Depends(_embedded)]


@router.post("/search", operation_id="search", responses=documented(404, 413, 422, 429, 503))
async def search_project(
    query: Embedded, project_id: ProjectId, tx: UserTx, s3: S3, settings: Settings
) -> SearchAnswer:
    """Find moments by words, a picture, one of the project's frames, or a weighted mix of them with negatives."""
    asked, embedded = query
    return await search.search(tx, s3, project_id, asked, embedded, url_expires_s=settings.url_expires_s)
