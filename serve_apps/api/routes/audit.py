"""The audit: who did what, when, from where."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from argus_ray.catalog import audit
from argus_ray.schemas.common import Page
from argus_ray.schemas.project import AuditEntry
from serve_apps.api.dependencies import OwnedProjectId, Paging, UserTx, paging
from serve_apps.api.problems import documented
from serve_apps.api.route import Route

router = APIRouter(tags=["audit"], route_class=Route, responses=documented(401, 403, 404, 422))


@router.get("/v1/projects/{project_id}/audit", operation_id="list_audit")
async def list_audit(
    project_id: OwnedProjectId, place: Annotated[Paging[int], Depends(paging(int))], tx: UserTx
) -> Page[AuditEntry]:
    """Every change in the project, newest first. Only an owner may read it."""
    return place.page(await tx.all(audit.page(project_id, place.after, place.rows)), lambda entry: entry.id)
