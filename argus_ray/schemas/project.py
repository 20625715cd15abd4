"""Projects, members, keys, audit and the signed-in person."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, Field, ValidationError

from argus_ray.schemas.common import JsonObject, Name, Request, Schema, Text, Timestamp
from argus_ray.schemas.video import SamplingPolicy


class Role(StrEnum):
    """Each may do what those after it may, and more."""

    OWNER = "owner"
    EDITOR = "editor"
    ANNOTATOR = "annotator"
    VIEWER = "viewer"


class ProjectCreate(Request):
    name: Annotated[Name, Field(examples=["Harbour cameras"])]


class AutoAccept(Request):
    """`auto_accept` of a project's settings: whether proposals are accepted by thresholds that are learnt from what people
    accepted and rejected, and the precision that a threshold has to promise.
    """

    enabled: bool = False
    precision: Annotated[float, Field(ge=0.5, le=0.999)] = 0.95


def _settings(settings: dict[str, Any]) -> dict[str, Any]:
    if "auto_accept" in settings:
        try:
            AutoAccept.model_validate(settings["auto_accept"])
        except ValidationError as error:
            said = error.errors()[0]
            raise ValueError(f"auto_accept: {'/'.join(map(str, said['loc']))}: {said['msg']}") from error
    return settings


class ProjectUpdate(Request):
    """`settings` is free, but for `auto_accept`, which is `{"enabled": true, "precision": 0.95}`. An owner may bound what
    jobs cost by `gpu_seconds_per_month`; null: no limit.
    """

    name: Name | None = None
    sampling: SamplingPolicy | None = None
    settings: Annotated[JsonObject, AfterValidator(_settings)] | None = None
    gpu_seconds_per_month: Annotated[int, Field(ge=0, le=2_000_000_000)] | None = None


class Project(Schema):
    """The tenant. `sampling` is the default of its videos; `role` is the caller's. Of `gpu_seconds_per_month` (null: no
    limit) jobs have used `gpu_seconds_used` in this one.
    """

    id: UUID
    name: str
    sampling: SamplingPolicy
    settings: dict[str, Any] = {}
    gpu_seconds_per_month: int | None = None
    gpu_seconds_used: float = 0
    role: Role | None = None
    version: int = 1
    created_at: Timestamp
    updated_at: Timestamp


Email = Annotated[Text, Field(max_length=320, pattern=r"^[^@\s]+@[^@\s]+$", examples=["ada@example.org"])]


class MemberInvite(Request):
    email: Email
    role: Role = Role.VIEWER


class MemberUpdate(Request):
    role: Role


class Member(Schema):
    """A person in a project. `user_id` is null until the person invited has signed in with that e-mail."""

    id: UUID
    project_id: UUID
    user_id: UUID | None = None
    email: str
    role: Role
    version: int = 1
    created_at: Timestamp
    joined_at: Timestamp | None = None


Scope = Literal["read", "write"]


class ApiKeyCreate(Request):
    """A key acts as a member of `role`; scope `read` alone makes it read only."""

    name: Annotated[Name, Field(examples=["nightly uploads"])]
    role: Literal[Role.EDITOR, Role.ANNOTATOR, Role.VIEWER] = Role.EDITOR
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=2)] = ["read", "write"]
    expires_at: Timestamp | None = None


class ApiKey(Schema):
    id: UUID
    project_id: UUID
    name: str
    prefix: str
    role: Role
    scopes: list[Scope]
    created_at: Timestamp
    expires_at: Timestamp | None = None
    last_used_at: Timestamp | None = None
    revoked_at: Timestamp | None = None


class ApiKeyCreated(ApiKey):
    """`key` is shown this once; only its hash is kept."""

    key: str


class AuditEntry(Schema):
    """Who did what, when, from where. `changes` maps a column to [old, new]."""

    id: int
    project_id: UUID | None = None
    at: Timestamp
    actor: str | None = None
    role: str
    action: Literal["insert", "update", "delete"]
    subject: str
    subject_id: str | None = None
    changes: dict[str, Any] | None = None
    ip: str | None = None
    request_id: str | None = None


class Me(Schema):
    """The caller: a person, or a key of a project."""

    user_id: UUID | None = None
    email: str | None = None
    api_key_id: UUID | None = None
    project_id: UUID | None = None
    settings: dict[str, Any] = {}
    version: int = 0


class MeUpdate(Request):
    settings: Annotated[JsonObject, Field(examples=[{"theme": "dark"}])]


class SignIn(Schema):
    """Where a person signs in; the publishable key is no secret."""

    supabase_url: str
    publishable_key: str
