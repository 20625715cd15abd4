"""`argus projects | members | keys`."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import click

from argus_ray.cli.endpoint import Endpoint
from argus_ray.cli.inputs import moment, policy, project_option, yes_option
from argus_ray.cli.output import confirm, json_option, show, show_json, show_one
from argus_ray.schemas.project import ApiKeyCreate, ProjectUpdate, Role
from argus_ray.schemas.video import SamplingPolicy

ROLES = click.Choice([role.value for role in Role])


@click.group()
def projects() -> None:
    """Make, list, change and delete projects."""


@projects.command("list")
@json_option
@click.pass_obj
def list_projects(endpoint: Endpoint, *, as_json: bool) -> None:
    """List your projects: argus projects list"""
    with endpoint.client() as argus:
        show(argus.projects.list(), ("id", "name", "role", "created_at"), as_json=as_json)


@projects.command("create")
@click.argument("name")
@json_option
@click.pass_obj
def create_project(endpoint: Endpoint, name: str, *, as_json: bool) -> None:
    """Make a project and print its id: argus projects create street-cameras"""
    with endpoint.client() as argus:
        project = argus.projects.create(name)
    if as_json:
        show_json(project.model_dump(mode="json"))
    else:
        click.echo(project.id)


@projects.command("show")
@click.argument("project_id", type=click.UUID)
@json_option
@click.pass_obj
def show_project(endpoint: Endpoint, project_id: UUID, *, as_json: bool) -> None:
    """Show a project and how its videos are sampled: argus projects show PROJECT"""
    with endpoint.client() as argus:
        show_one(argus.projects.get(project_id), as_json=as_json)


@projects.command("update")
@click.argument("project_id", type=click.UUID)
@click.option("--name")
@click.option("--sampling", type=policy, help='Default policy of its videos, as JSON: \'{"policy": "scenes"}\'.')
@json_option
@click.pass_obj
def update_project(
    endpoint: Endpoint, project_id: UUID, name: str | None, sampling: SamplingPolicy | None, *, as_json: bool
) -> None:
    """Rename a project, or change how its videos are sampled: argus projects update PROJECT --name gates"""
    change = {name: value for name, value in {"name": name, "sampling": sampling}.items() if value is not None}
    if not change:
        raise click.UsageError("say what to change: --name or --sampling")
    update = ProjectUpdate.model_validate(change)
    with endpoint.client() as argus:
        show_one(argus.projects.update(argus.projects.get(project_id), update), as_json=as_json)


@projects.command("delete")
@click.argument("project_id", type=click.UUID)
@yes_option
@click.pass_obj
def delete_project(endpoint: Endpoint, project_id: UUID, *, yes: bool) -> None:
    """Delete a project with all its videos: argus projects delete PROJECT --yes"""
    with endpoint.client() as argus:
        project = argus.projects.get(project_id)
        confirm(f"Delete {project.name!r} and every video in it?", yes=yes)
        argus.projects.delete(project)


@projects.command("audit")
@click.argument("project_id", type=click.UUID)
@json_option
@click.pass_obj
def audit(endpoint: Endpoint, project_id: UUID, *, as_json: bool) -> None:
    """List who changed what in a project, the newest first: argus projects audit PROJECT"""
    with endpoint.client() as argus:
        columns = ("at", "actor", "action", "subject", "subject_id", "changes")
        show(argus.projects.audit(project_id), columns, as_json=as_json)


@click.group()
def members() -> None:
    """Say who works in a project."""


@members.command("list")
@project_option
@json_option
@click.pass_obj
def list_members(endpoint: Endpoint, project: UUID, *, as_json: bool) -> None:
    """List members and those invited: argus members list --project PROJECT"""
    with endpoint.client() as argus:
        show(argus.members.list(project), ("id", "email", "role", "joined_at"), as_json=as_json)


@members.command("invite")
@click.argument("email")
@click.option("--role", type=ROLES, default="viewer", show_default=True)
@project_option
@json_option
@click.pass_obj
def invite_member(endpoint: Endpoint, email: str, role: str, project: UUID, *, as_json: bool) -> None:
    """Give a person a place: argus members invite ann@example.com --role annotator --project PROJECT"""
    with endpoint.client() as argus:
        show_one(argus.members.invite(project, email, Role(role)), as_json=as_json)


@members.command("role")
@click.argument("member_id", type=click.UUID)
@click.argument("role", type=ROLES)
@project_option
@json_option
@click.pass_obj
def change_role(endpoint: Endpoint, member_id: UUID, role: str, project: UUID, *, as_json: bool) -> None:
    """Change what a member may do: argus members role MEMBER editor --project PROJECT"""
    with endpoint.client() as argus:
        member = argus.members.get(project, member_id)
        show_one(argus.members.change_role(member, Role(role)), as_json=as_json)


@members.command("remove")
@click.argument("member_id", type=click.UUID)
@project_option
@click.pass_obj
def remove_member(endpoint: Endpoint, member_id: UUID, project: UUID) -> None:
    """Take a member's place away: argus members remove MEMBER --project PROJECT"""
    with endpoint.client() as argus:
        argus.members.remove(project, member_id)


@click.group()
def keys() -> None:
    """Make and revoke API keys of a project."""


@keys.command("list")
@project_option
@json_option
@click.pass_obj
def list_keys(endpoint: Endpoint, project: UUID, *, as_json: bool) -> None:
    """List keys, which are shown only when they are made: argus keys list --project PROJECT"""
    with endpoint.client() as argus:
        columns = ("id", "name", "prefix", "role", "expires_at", "last_used_at", "revoked_at")
        show(argus.api_keys.list(project), columns, as_json=as_json)


@keys.command("create")
@click.argument("name")
@click.option("--role", type=click.Choice(["editor", "annotator", "viewer"]), default="editor", show_default=True)
@click.option("--read-only", is_flag=True)
@click.option("--expires", type=moment, help="When it ends, as 2027-01-01 or 2027-01-01T12:00:00+01:00.")
@project_option
@json_option
@click.pass_obj
def create_key(
    endpoint: Endpoint, name: str, role: str, expires: datetime | None, project: UUID, *, read_only: bool, as_json: bool
) -> None:
    """Make a key and print it, this once: argus keys create nightly-upload --project PROJECT"""
    scopes = ["read"] if read_only else ["read", "write"]
    new: dict[str, Any] = {"name": name, "role": role, "scopes": scopes, "expires_at": expires}
    if expires is None:
        del new["expires_at"]
    asked = ApiKeyCreate.model_validate(new)
    with endpoint.client() as argus:
        key = argus.api_keys.create(project, asked)
    if as_json:
        show_json(key.model_dump(mode="json"))
    else:
        click.echo(key.key)


@keys.command("revoke")
@click.argument("key_id", type=click.UUID)
@project_option
@click.pass_obj
def revoke_key(endpoint: Endpoint, key_id: UUID, project: UUID) -> None:
    """End a key at once: argus keys revoke KEY --project PROJECT"""
    with endpoint.client() as argus:
        argus.api_keys.revoke(project, key_id)
