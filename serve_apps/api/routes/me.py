"""The caller, and a person's own settings."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from argus_ray.catalog import projects
from argus_ray.errors import Forbidden
from argus_ray.schemas.project import Me, MeUpdate
from serve_apps.api.dependencies import Caller, IfMatch, UserTx, edit, tagged
from serve_apps.api.problems import documented
from serve_apps.api.route import Route

router = APIRouter(prefix="/v1/me", tags=["me"], route_class=Route, responses=documented(401))


@router.get("", operation_id="get_me")
async def get_me(tx: UserTx, response: Response) -> Me:
    """Who the credential stands for. A person takes the places that wait for their e-mail by this."""
    await tx.one(projects.join_invited())
    return tagged(await tx.one(projects.me()), response)


@router.patch("", operation_id="update_me", responses=documented(403, 412, 422, 428))
async def update_me(changes: MeUpdate, who: Caller, versions: IfMatch, tx: UserTx, response: Response) -> Me:
    """Replace the person's settings."""
    if who.user_id is None:
        raise Forbidden("an API key has no settings: sign in as a person")
    return tagged(await edit(tx, projects.update_me(changes.settings, versions), projects.me(), versions), response)
