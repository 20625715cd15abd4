"""What every request of the local Supabase has at hand, opened once when the process starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request

from argus_ray.local.supabase.config import Config
from argus_ray.local.supabase.database import Pool
from argus_ray.local.supabase.gateway import Claims, Gateway
from argus_ray.local.supabase.keys import Keys


@dataclass(frozen=True)
class Services:
    config: Config
    keys: Keys
    gateway: Gateway
    pool: Pool


def services(request: Request) -> Services:
    return cast("Services", request.app.state.services)


def caller(request: Request) -> Claims:
    """Raises: NoApiKey, jwt.InvalidTokenError, which each server words in its own way."""
    return services(request).gateway.caller(request.headers)


Here = Annotated[Services, Depends(services)]
Caller = Annotated[Claims, Depends(caller)]
