"""`argus datasets | export | import`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args
from uuid import UUID

import click

from argus_ray.cli.endpoint import Endpoint
from argus_ray.cli.inputs import A_FILE, given, json_object, project_option
from argus_ray.cli.jobs import print_job
from argus_ray.cli.output import complain, json_option, show, show_one
from argus_ray.schemas.dataset import (
    DatasetCreate,
    DatasetQuery,
    DatasetUpdate,
    ExportCreate,
    Format,
    ImportFormat,
    Splits,
)
from argus_ray.schemas.job import Import, JobState

DATASET_COLUMNS = ("id", "name", "versions", "query", "splits", "created_at")
VERSION_COLUMNS = ("id", "number", "content_hash", "counts", "warnings", "author", "created_at")
FORMATS, IMPORT_FORMATS = click.Choice(get_args(Format)), click.Choice(get_args(ImportFormat))

_query = click.option("--query", type=json_object, help='As JSON: \'{"label_ids": ["LABEL"]}\'. Default: all accepted.')
_splits = click.option("--splits", type=json_object, help='As JSON: \'{"train": 0.7, "val": 0.2, "test": 0.1}\'.')


@click.group()
def datasets() -> None:
    """Freeze annotated frames into versions that never change."""


@datasets.command("list")
@project_option
@json_option
@click.pass_obj
def list_datasets(endpoint: Endpoint, project: UUID, *, as_json: bool) -> None:
    """List a project's datasets: argus datasets list --project PROJECT"""
    with endpoint.client() as argus:
        show(argus.datasets.list(project), DATASET_COLUMNS, as_json=as_json)


@datasets.command("create")
@click.argument("name")
@_query
@_splits
@project_option
@json_option
@click.pass_obj
def create_dataset(
    endpoint: Endpoint,
    name: str,
    query: dict[str, Any] | None,
    splits: dict[str, Any] | None,
    project: UUID,
    *,
    as_json: bool,
) -> None:
    """Name a query, and print its id: argus datasets create cars --query '{"label_ids": ["LABEL"]}' --project PROJECT"""
    new = DatasetCreate.model_validate({"name": name, **given(query=query, splits=splits)})
    with endpoint.client() as argus:
        made = argus.datasets.create(project, new)
    show_one(made, as_json=True) if as_json else click.echo(made.id)


@datasets.command("show")
@click.argument("dataset_id", type=click.UUID)
@json_option
@click.pass_obj
def show_dataset(endpoint: Endpoint, dataset_id: UUID, *, as_json: bool) -> None:
    """Show a dataset: argus datasets show DATASET"""
    with endpoint.client() as argus:
        show_one(argus.datasets.get(dataset_id), as_json=as_json)


@datasets.command("update")
@click.argument("dataset_id", type=click.UUID)
@click.option("--name")
@_query
@_splits
@json_option
@click.pass_obj
def update_dataset(
    endpoint: Endpoint,
    dataset_id: UUID,
    name: str | None,
    query: dict[str, Any] | None,
    splits: dict[str, Any] | None,
    *,
    as_json: bool,
) -> None:
    """Change what the next version finds: argus datasets update DATASET --splits '{"train": 1, "val": 0, "test": 0}'"""
    change = given(
        name=name,
        query=query and DatasetQuery.model_validate(query),
        splits=splits and Splits.model_validate(splits),
    )
    if not change:
        raise click.UsageError("say what to change: --name, --query or --splits")
    with endpoint.client() as argus:
        changed = argus.datasets.update(argus.datasets.get(dataset_id), DatasetUpdate(**change))
    show_one(changed, as_json=as_json)


@datasets.command("delete")
@click.argument("dataset_id", type=click.UUID)
@click.pass_obj
def delete_dataset(endpoint: Endpoint, dataset_id: UUID) -> None:
    """Delete a dataset; its versions stay: argus datasets delete DATASET"""
    with endpoint.client() as argus:
        argus.datasets.delete(argus.datasets.get(dataset_id))
    click.echo(dataset_id)


@datasets.command("freeze")
@click.argument("dataset_id", type=click.UUID)
@click.option("--wait", is_flag=True, help="Until it has ended; exit 1 unless it succeeded.")
@json_option
@click.pass_context
def freeze(context: click.Context, dataset_id: UUID, *, wait: bool, as_json: bool) -> None:
    """Make a version of what a dataset finds now, and print the job: argus datasets freeze DATASET"""
    with context.obj.client() as argus:
        print_job(context, argus, argus.datasets.freeze(dataset_id), wait=wait, as_json=as_json)


@datasets.command("versions")
@click.argument("dataset_id", type=click.UUID)
@json_option
@click.pass_obj
def list_versions(endpoint: Endpoint, dataset_id: UUID, *, as_json: bool) -> None:
    """List the versions of a dataset, the last one first: argus datasets versions DATASET"""
    with endpoint.client() as argus:
        show(argus.datasets.versions(dataset_id), VERSION_COLUMNS, as_json=as_json)


@datasets.command("diff")
@click.argument("version_id", type=click.UUID)
@click.argument("to", type=click.UUID)
@json_option
@click.pass_obj
def diff(endpoint: Endpoint, version_id: UUID, to: UUID, *, as_json: bool) -> None:
    """Show what another version has that this one has not: argus datasets diff VERSION OTHER_VERSION"""
    with endpoint.client() as argus:
        show_one(argus.datasets.diff(version_id, to), as_json=as_json)


@click.command("export")
@click.argument("version_id", type=click.UUID)
@click.option("--format", "format_", type=FORMATS, required=True)
@click.option("--pictures", is_flag=True, help="With the pictures.")
@click.option("--every-frame", is_flag=True, help="Every frame of the videos, interpolated between keyframes.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Wait, and write the zip there.")
@json_option
@click.pass_context
def export(
    context: click.Context,
    version_id: UUID,
    format_: Format,
    out: Path | None,
    *,
    pictures: bool,
    every_frame: bool,
    as_json: bool,
) -> None:
    """Write a dataset version for other tools, and print the job: argus export VERSION --format coco --pictures

    With --out the zip is fetched; what is there of an earlier try is kept, and only the rest is fetched.
    """
    from argus_ray.cli import transfers

    asked = ExportCreate(format=format_, pictures=pictures, frames="all" if every_frame else "sampled")
    with context.obj.client() as argus:
        job = argus.datasets.export(version_id, asked)
        if out is None:
            print_job(context, argus, job, wait=False, as_json=as_json)
            return
        ended = argus.jobs.wait(job.id, timeout_s=float("inf"))
        if ended.state is not JobState.SUCCEEDED:
            print_job(context, argus, ended, wait=True, as_json=as_json)
            return
        transfers.fetch(lambda: argus.datasets.download(job.id), out)
    for line in (ended.result or {}).get("report", {}).get("lines", []):
        complain(": ".join([*(line[name] for name in ("file", "place") if name in line), line["detail"]]))
    show_one(ended, as_json=True) if as_json else click.echo(out)


@click.command("import")
@click.argument("file", type=A_FILE)
@click.option("--format", "format_", type=IMPORT_FORMATS, required=True)
@click.option("--apply", is_flag=True, help="Import; without it, a dry run says what would be.")
@click.option("--create-labels", is_flag=True, help="Make the labels that are missing.")
@click.option("--labels", type=json_object, help='Names in the file to labels: \'{"auto": "LABEL"}\'.')
@click.option("--videos", type=json_object, help='Names in the file to videos: \'{"a.mp4": "VIDEO"}\'.')
@click.option("--state", type=click.Choice(["proposed", "accepted"]), default="proposed", show_default=True)
@click.option("--no-wait", is_flag=True, help="Print the job, and do not wait for its report.")
@project_option
@json_option
@click.pass_context
def import_(
    context: click.Context,
    /,
    file: Path,
    format_: ImportFormat,
    project: UUID,
    *,
    apply: bool,
    no_wait: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Read annotations of other tools, dry at first: argus import boxes.json --format coco --project PROJECT --no-wait"""
    from argus_ray.cli import transfers

    with context.obj.client() as argus:
        upload = argus.datasets.announce_import(project, file.stat().st_size)
        transfers.put(upload.url, upload.headers, file)
        spec = Import.model_validate(
            {"object_key": upload.object_key, "format": format_, "dry_run": not apply, **given(**asked)}
        )
        print_job(context, argus, argus.jobs.create(project, spec), wait=not no_wait, as_json=as_json)
