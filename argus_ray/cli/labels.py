"""`argus labels`."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import click

from argus_ray.cli.endpoint import Endpoint
from argus_ray.cli.inputs import given, json_list, project_option
from argus_ray.cli.output import json_option, show, show_one
from argus_ray.schemas.label import LabelCreate, LabelUpdate

LABEL_COLUMNS = ("id", "number", "name", "colour", "prompts", "threshold")
HISTORY_COLUMNS = ("version", "actor", "at", "row")


@click.group()
def labels() -> None:
    """Name what there is to find: the project's ontology."""


@labels.command("list")
@project_option
@click.option("--name", help="Part of one of its names.")
@click.option("--archived", is_flag=True, help="Archived ones too.")
@json_option
@click.pass_obj
def list_labels(endpoint: Endpoint, project: UUID, name: str | None, *, archived: bool, as_json: bool) -> None:
    """List a project's labels: argus labels list --project PROJECT"""
    with endpoint.client() as argus:
        show(argus.labels.list(project, name=name, archived=archived), LABEL_COLUMNS, as_json=as_json)


@labels.command("create")
@click.argument("name")
@project_option
@click.option("--prompt", "prompts", multiple=True, help="What SAM 3 is asked for, in English; may be repeated.")
@click.option("--colour", help="As #rrggbb.")
@click.option("--attributes", type=json_list, help='JSON list: [{"name": "parked", "kind": "checkbox"}].')
@json_option
@click.pass_obj
def create_label(
    endpoint: Endpoint,
    name: str,
    project: UUID,
    prompts: tuple[str, ...],
    colour: str | None,
    attributes: list[Any] | None,
    *,
    as_json: bool,
) -> None:
    """Name a thing to find, and print its id: argus labels create "rotes Auto" --prompt "red car" --project PROJECT"""
    new = LabelCreate.model_validate(
        {"name": name, **given(prompts=list(prompts) or None, colour=colour, attributes=attributes)}
    )
    with endpoint.client() as argus:
        made = argus.labels.create(project, new)
    show_one(made, as_json=True) if as_json else click.echo(made.id)


@labels.command("show")
@click.argument("label_id", type=click.UUID)
@json_option
@click.pass_obj
def show_label(endpoint: Endpoint, label_id: UUID, *, as_json: bool) -> None:
    """Show a label, and what its scores have taught: argus labels show LABEL"""
    with endpoint.client() as argus:
        show_one(argus.labels.get(label_id), as_json=as_json)


@labels.command("update")
@click.argument("label_id", type=click.UUID)
@click.option("--name")
@click.option("--prompt", "prompts", multiple=True, help="Takes the place of the old ones; may be repeated.")
@click.option("--colour", help="As #rrggbb.")
@click.option("--attributes", type=json_list, help="JSON list that takes the place of the old one.")
@click.option("--threshold", type=click.FloatRange(0, 1), help="The lowest score of a proposal.")
@json_option
@click.pass_obj
def update_label(
    endpoint: Endpoint,
    label_id: UUID,
    name: str | None,
    prompts: tuple[str, ...],
    colour: str | None,
    attributes: list[Any] | None,
    threshold: float | None,
    *,
    as_json: bool,
) -> None:
    """Rename a label, or change what it is asked by: argus labels update LABEL --name truck --prompt "a truck" """
    change = given(name=name, prompts=list(prompts) or None, colour=colour, attributes=attributes, threshold=threshold)
    if not change:
        raise click.UsageError("say what to change: --name, --prompt, --colour, --attributes or --threshold")
    update = LabelUpdate.model_validate(change)
    with endpoint.client() as argus:
        show_one(argus.labels.update(argus.labels.get(label_id), update), as_json=as_json)


@labels.command("archive")
@click.argument("label_id", type=click.UUID)
@click.option("--undo", is_flag=True, help="Bring it back into use.")
@json_option
@click.pass_obj
def archive_label(endpoint: Endpoint, label_id: UUID, *, undo: bool, as_json: bool) -> None:
    """Take a label out of use; its annotations stay: argus labels archive LABEL"""
    with endpoint.client() as argus:
        show_one(argus.labels.unarchive(label_id) if undo else argus.labels.archive(label_id), as_json=as_json)


@labels.command("merge")
@click.argument("label_id", type=click.UUID)
@click.argument("into", type=click.UUID)
@json_option
@click.pass_obj
def merge_labels(endpoint: Endpoint, label_id: UUID, into: UUID, *, as_json: bool) -> None:
    """Give all that a label has to another one: argus labels merge LABEL OTHER_LABEL"""
    with endpoint.client() as argus:
        show_one(argus.labels.merge(label_id, into), as_json=as_json)


@labels.command("history")
@click.argument("label_id", type=click.UUID)
@json_option
@click.pass_obj
def label_history(endpoint: Endpoint, label_id: UUID, *, as_json: bool) -> None:
    """List what a label was before, and who changed it: argus labels history LABEL"""
    with endpoint.client() as argus:
        show(argus.labels.history(label_id), HISTORY_COLUMNS, as_json=as_json)


@labels.command("restore")
@click.argument("label_id", type=click.UUID)
@click.argument("version", type=click.IntRange(1))
@json_option
@click.pass_obj
def restore_label(endpoint: Endpoint, label_id: UUID, version: int, *, as_json: bool) -> None:
    """Make a label what it was at an earlier version: argus labels restore LABEL 1"""
    with endpoint.client() as argus:
        show_one(argus.labels.restore(label_id, version), as_json=as_json)
