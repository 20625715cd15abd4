"""Where people sign in: at Supabase Auth, which a client must find first. Both values are public."""

from __future__ import annotations

from fastapi import APIRouter

from argus_ray.errors import Unavailable
from argus_ray.schemas.project import SignIn
from serve_apps.api.dependencies import Settings
from serve_apps.api.problems import documented
from serve_apps.api.route import Route

router = APIRouter(prefix="/sign-in", tags=["health"], route_class=Route)


@router.get("", operation_id="get_sign_in", responses=documented(503))
async def get_sign_in(settings: Settings) -> SignIn:
    """The Supabase project and its publishable key: sign in there, and send the access token here."""
    key = settings.secret("publishable_key")
    if settings.supabase_url is None or key is None:
        raise Unavailable("this Argus has no Supabase project to sign in at: use an API key")
    return SignIn(supabase_url=settings.supabase_url, publishable_key=key)
