"""Projects: the tenants."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import Response

from argus_ray.catalog import projects
from argus_ray.schemas.common import Page
from argus_ray.schemas.project import Project, ProjectCreate, ProjectUpdate
from serve_apps.api.dependencies import IfMatch, NewestFirst, UserTx, edit, newest, tagged
from serve_apps.api.problems import documented
from serve_apps.api.route import Idempotent, Route

router = APIRouter(prefix="/v1/projects", tags=["projects"], route_class=Route, responses=documented(401))


@router.post(
    "", status_code=201, operation_id="create_project", dependencies=[Idempotent], responses=documented(403, 409, 422)
)
async def create_project(new: ProjectCreate, tx: UserTx, response: Response) -> Project:
    """Make a project; its first owner is the person who asks."""
    project = await tx.one(projects.create(new.name))
    response.headers["Location"] = f"/v1/projects/{project.id}"
    return tagged(project, response)


@router.get("", operation_id="list_projects", responses=documented(422))
async def list_projects(paging: NewestFirst, tx: UserTx) -> Page[Project]:
    """The caller's projects, newest first. A person takes the places that wait for their e-mail by this."""
    await tx.one(projects.join_invited())
    return paging.page(await tx.all(projects.page(paging.after, paging.rows)), newest)


@router.get("/{project_id}", operation_id="get_project", responses=documented(404, 422))
async def get_project(project_id: UUID, tx: UserTx, response: Response) -> Project:
    return tagged(await tx.one(projects.get(project_id)), response)


@router.patch("/{project_id}", operation_id="update_project", responses=documented(403, 404, 412, 422, 428))
async def update_project(
    project_id: UUID, changes: ProjectUpdate, versions: IfMatch, tx: UserTx, response: Response
) -> Project:
    """Rename it, or change its settings or the sampling policy of its future videos. Each is replaced whole."""
    change = projects.update(project_id, changes, versions)
    return tagged(await edit(tx, change, projects.get(project_id), versions), response)


@router.delete(
    "/{project_id}", status_code=204, operation_id="delete_project", responses=documented(403, 404, 412, 422, 428)
)
async def delete_project(project_id: UUID, versions: IfMatch, tx: UserTx) -> None:
    """Delete the project with its videos, frames, vectors and keys. Only an owner may."""
    await edit(tx, projects.delete(project_id, versions), projects.get(project_id), versions)
