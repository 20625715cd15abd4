"""API keys: how machines act in a project. Owners make and revoke them."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import Response

from argus_ray.auth import new_key
from argus_ray.catalog import api_keys
from argus_ray.schemas.common import Page
from argus_ray.schemas.project import ApiKey, ApiKeyCreate, ApiKeyCreated
from serve_apps.api.dependencies import NewestFirst, OwnedProjectId, UserTx, newest
from serve_apps.api.problems import documented
from serve_apps.api.route import Idempotent, Route

router = APIRouter(
    prefix="/v1/projects/{project_id}/api-keys",
    tags=["API keys"],
    route_class=Route,
    responses=documented(401, 403, 404, 422),
)


@router.post("", status_code=201, operation_id="create_api_key", dependencies=[Idempotent], responses=documented(409))
async def create_api_key(
    project_id: OwnedProjectId, new: ApiKeyCreate, tx: UserTx, response: Response
) -> ApiKeyCreated:
    """Make a key. The answer shows it this once."""
    key, prefix, key_hash = new_key()
    made = await tx.one(api_keys.create(project_id, new, prefix, key_hash))
    response.headers["Cache-Control"] = "no-store"
    return ApiKeyCreated(**made.model_dump(), key=key)


@router.get("", operation_id="list_api_keys")
async def list_api_keys(project_id: OwnedProjectId, paging: NewestFirst, tx: UserTx) -> Page[ApiKey]:
    """The project's keys, revoked ones too, newest first."""
    return paging.page(await tx.all(api_keys.page(project_id, paging.after, paging.rows)), newest)


@router.delete("/{key_id}", status_code=204, operation_id="revoke_api_key")
async def revoke_api_key(project_id: OwnedProjectId, key_id: UUID, tx: UserTx) -> None:
    """Revoke a key: its next request is refused. A second call changes nothing."""
    await tx.one(api_keys.revoke(project_id, key_id))
