"""`argus login | logout | whoami | projects | members | keys`."""

from __future__ import annotations

import os
import sys

import click

from argus_ray.cli import session
from argus_ray.cli.output import json_option, show, show_one
from argus_ray.cli.session import Endpoint, SignedIn
from argus_ray.client import sign_in, sign_up
from argus_ray.errors import ConfigurationError, NotFound
from argus_ray.schemas.project import ApiKeyCreate, ProjectUpdate, Role
from argus_ray.schemas.video import SamplingPolicy

project_option = click.option("--project", required=True, envvar="ARGUS_PROJECT", help="Project, by id.")


@click.command()
@click.option("--email", required=True, prompt=True, envvar="ARGUS_EMAIL")
@click.option("--new", is_flag=True, help="Make the account first.")
@click.pass_obj
def login(endpoint: Endpoint, email: str, *, new: bool) -> None:
    """Sign in: argus login --url http://127.0.0.1:8000 --email me@example.com

    The password is asked for, or read from ARGUS_PASSWORD or standard input.
    """
    kept = session.load()
    url = (endpoint.url or (kept.url if kept else "")).rstrip("/")
    if not url:
        raise ConfigurationError("which Argus? Give --url, or set ARGUS_URL: `argus status` shows the local one's")
    password = os.environ.get("ARGUS_PASSWORD")
    if password is None:
        if sys.stdin.isatty():
            password = click.prompt("Password", hide_input=True, err=True, confirmation_prompt=new)
        else:
            password = sys.stdin.readline().rstrip("\n")
    enter = sign_up if new else sign_in
    credentials = enter(*session.auth_of(url), email, password)
    session.save(SignedIn(url=url, credentials=credentials))
    click.echo(f"signed in at {url} as {credentials.email}", err=True)


@click.command()
def logout() -> None:
    """Forget the session on this machine."""
    click.echo("signed out" if session.forget() else "nobody was signed in", err=True)


@click.command()
@json_option
@click.pass_obj
def whoami(endpoint: Endpoint, *, as_json: bool) -> None:
    """Show who you are, as Argus sees you."""
    with endpoint.client() as argus:
        show_one(argus.me.get(), as_json=as_json)


@click.group()
def projects() -> None:
    """Make, list, change and delete projects."""


@projects.command("list")
@json_option
@click.pass_obj
def list_projects(endpoint: Endpoint, *, as_json: bool) -> None:
    """List your projects."""
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
    click.echo(project.model_dump_json() if as_json else project.id)


@projects.command("update")
@click.argument("project_id")
@click.option("--name")
@click.option("--sampling", help='Default policy, as JSON: \'{"policy": "fps", "fps": 2}\'.')
@json_option
@click.pass_obj
def update_project(
    endpoint: Endpoint, project_id: str, name: str | None, sampling: str | None, *, as_json: bool
) -> None:
    """Rename a project, or change how its videos are sampled."""
    change: dict[str, object] = {}
    if name is not None:
        change["name"] = name
    if sampling is not None:
        change["sampling"] = policy(sampling)
    with endpoint.client() as argus:
        changed = argus.projects.update(argus.projects.get(project_id), ProjectUpdate.model_validate(change))
    show_one(changed, as_json=as_json)


@projects.command("delete")
@click.argument("project_id")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def delete_project(endpoint: Endpoint, project_id: str, *, yes: bool) -> None:
    """Delete a project with all its videos."""
    with endpoint.client() as argus:
        project = argus.projects.get(project_id)
        if not yes:
            click.confirm(f"Delete {project.name!r} and every video in it?", abort=True, err=True)
        argus.projects.delete(project)


def policy(text: str) -> SamplingPolicy:
    """A sampling policy given as JSON."""
    try:
        return SamplingPolicy.model_validate_json(text)
    except ValueError as error:
        raise click.BadParameter(f"{text} is no sampling policy: {error}") from error


@click.group()
def members() -> None:
    """Say who works in a project."""


@members.command("list")
@project_option
@json_option
@click.pass_obj
def list_members(endpoint: Endpoint, project: str, *, as_json: bool) -> None:
    """List members and those invited."""
    with endpoint.client() as argus:
        show(argus.members.list(project), ("id", "email", "role", "joined_at"), as_json=as_json)


@members.command("invite")
@click.argument("email")
@click.option("--role", type=click.Choice([role.value for role in Role]), default="viewer", show_default=True)
@project_option
@json_option
@click.pass_obj
def invite_member(endpoint: Endpoint, email: str, role: str, project: str, *, as_json: bool) -> None:
    """Give a person a place: argus members invite ann@example.com --role annotator --project ID"""
    with endpoint.client() as argus:
        show_one(argus.members.invite(project, email, Role(role)), as_json=as_json)


@members.command("role")
@click.argument("member_id")
@click.argument("role", type=click.Choice([role.value for role in Role]))
@project_option
@json_option
@click.pass_obj
def change_role(endpoint: Endpoint, member_id: str, role: str, project: str, *, as_json: bool) -> None:
    """Change what a member may do."""
    with endpoint.client() as argus:
        member = next((one for one in argus.members.list(project) if str(one.id) == member_id), None)
        if member is None:
            raise NotFound(f"the project has no member {member_id}: see `argus members list`")
        show_one(argus.members.change_role(member, Role(role)), as_json=as_json)


@members.command("remove")
@click.argument("member_id")
@project_option
@click.pass_obj
def remove_member(endpoint: Endpoint, member_id: str, project: str) -> None:
    """Take a member's place away."""
    with endpoint.client() as argus:
        argus.members.remove(project, member_id)


@click.group()
def keys() -> None:
    """Make and revoke API keys of a project."""


@keys.command("list")
@project_option
@json_option
@click.pass_obj
def list_keys(endpoint: Endpoint, project: str, *, as_json: bool) -> None:
    """List keys; what they are is shown only when they are made."""
    with endpoint.client() as argus:
        columns = ("id", "name", "prefix", "role", "expires_at", "last_used_at", "revoked_at")
        show(argus.api_keys.list(project), columns, as_json=as_json)


@keys.command("create")
@click.argument("name")
@click.option("--role", type=click.Choice(["editor", "annotator", "viewer"]), default="editor", show_default=True)
@click.option("--read-only", is_flag=True)
@click.option("--expires", type=click.DateTime(), help="Last moment (UTC).")
@project_option
@json_option
@click.pass_obj
def create_key(
    endpoint: Endpoint, name: str, role: str, expires: object, project: str, *, read_only: bool, as_json: bool
) -> None:
    """Make a key and print it, this once: argus keys create nightly-upload --project ID"""
    new = {"name": name, "role": role, "scopes": ["read"] if read_only else ["read", "write"]}
    if expires is not None:
        new["expires_at"] = f"{expires}Z"
    with endpoint.client() as argus:
        key = argus.api_keys.create(project, ApiKeyCreate.model_validate(new))
    click.echo(key.model_dump_json() if as_json else key.key)


@keys.command("revoke")
@click.argument("key_id")
@project_option
@click.pass_obj
def revoke_key(endpoint: Endpoint, key_id: str, project: str) -> None:
    """End a key at once."""
    with endpoint.client() as argus:
        argus.api_keys.revoke(project, key_id)
