"""Members: who is in a project, and as what."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import Response

from argus_ray.catalog import projects
from argus_ray.errors import Conflict
from argus_ray.schemas.common import Page
from argus_ray.schemas.project import Member, MemberInvite, MemberUpdate
from serve_apps.api.dependencies import IfMatch, NewestFirst, ProjectId, UserTx, edit, newest, tagged
from serve_apps.api.problems import documented
from serve_apps.api.route import Idempotent, Route

router = APIRouter(
    prefix="/v1/projects/{project_id}/members", tags=["members"], route_class=Route, responses=documented(401, 404, 422)
)


@router.get("", operation_id="list_members")
async def list_members(project_id: ProjectId, paging: NewestFirst, tx: UserTx) -> Page[Member]:
    """Everybody in the project, and everybody invited (`user_id` is null), newest first."""
    return paging.page(await tx.all(projects.members(project_id, paging.after, paging.rows)), newest)


@router.post(
    "", status_code=201, operation_id="invite_member", dependencies=[Idempotent], responses=documented(403, 409)
)
async def invite_member(project_id: ProjectId, invited: MemberInvite, tx: UserTx, response: Response) -> Member:
    """Offer a place to an e-mail. Whoever signs in with it joins at their next `GET /v1/me` or `GET /v1/projects`."""
    member = await tx.maybe(projects.invite(project_id, invited))
    if member is None:
        raise Conflict(f"{invited.email} has a place in this project already: change its role instead")
    response.headers["Location"] = f"/v1/projects/{project_id}/members/{member.id}"
    return tagged(member, response)


@router.get("/{member_id}", operation_id="get_member")
async def get_member(project_id: ProjectId, member_id: UUID, tx: UserTx, response: Response) -> Member:
    return tagged(await tx.one(projects.member(project_id, member_id)), response)


@router.patch("/{member_id}", operation_id="change_role", responses=documented(403, 409, 412, 428))
async def change_role(
    project_id: ProjectId, member_id: UUID, changes: MemberUpdate, versions: IfMatch, tx: UserTx, response: Response
) -> Member:
    """Change a member's role. The last owner stays one."""
    change = projects.change_role(project_id, member_id, changes.role, versions)
    return tagged(await edit(tx, change, projects.member(project_id, member_id), versions), response)


@router.delete("/{member_id}", status_code=204, operation_id="remove_member", responses=documented(403, 409))
async def remove_member(project_id: ProjectId, member_id: UUID, tx: UserTx) -> None:
    """Remove a member, take an invitation back, or leave. The last owner stays."""
    await edit(tx, projects.remove(project_id, member_id), projects.member(project_id, member_id), None)
