"""`argus annotations | verdicts`."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import click

from argus_ray.cli.endpoint import Endpoint
from argus_ray.cli.inputs import given, json_object, project_option, us
from argus_ray.cli.labels import HISTORY_COLUMNS
from argus_ray.cli.output import json_option, show, show_one
from argus_ray.schemas.annotation import AnnotationCreate, AnnotationFilter, AnnotationUpdate, State, Word
from argus_ray.schemas.review import AutoAcceptRequest
from argus_ray.schemas.verdict import VerdictsPut

ANNOTATION_COLUMNS = ("id", "pts_us", "label_id", "track_id", "kind", "state", "source", "score")
VERDICT_COLUMNS = ("video_id", "pts_us", "label_id", "verdict", "author", "updated_at")
STATES = click.Choice([state.value for state in State])
WORDS = click.Choice([word.value for word in Word])

_which = (
    click.option("--video", "video_ids", type=click.UUID, multiple=True, help="Only in this video; may be repeated."),
    click.option("--label", "label_ids", type=click.UUID, multiple=True, help="Only of this label; may be repeated."),
    click.option("--track", "track_ids", type=click.UUID, multiple=True, help="Only of this track; may be repeated."),
    click.option("--job", "job_id", type=click.UUID, help="Only what this job has proposed."),
    click.option("--from", "from_s", type=float, help="Only from this second of a video on."),
    click.option("--to", "to_s", type=float, help="Only before this second."),
    click.option("--min-score", type=click.FloatRange(0, 1), help="Only of this score or a higher one."),
    click.option("--max-score", type=click.FloatRange(0, 1), help="Only of this score or a lower one."),
)


def _filtering(command: Any) -> Any:
    for option in reversed(_which):
        command = option(command)
    return command


def _filter(from_s: float | None, to_s: float | None, **within: Any) -> AnnotationFilter:
    lists = {name: [*value] if isinstance(value, tuple) else value for name, value in within.items() if value != ()}
    return AnnotationFilter.model_validate(given(**lists, from_us=us(from_s), to_us=us(to_s)))


@click.group("annotations")
def annotation_group() -> None:
    """Read, correct, accept and reject annotations."""


@annotation_group.command("list")
@click.argument("video_id", type=click.UUID)
@click.option("--from", "from_s", type=float, help="From this second on.")
@click.option("--to", "to_s", type=float, help="Before this second.")
@click.option("--label", "label_ids", type=click.UUID, multiple=True, help="Of this label; may be repeated.")
@click.option("--state", "states", type=STATES, multiple=True, help="In this state; may be repeated.")
@click.option("--interpolate", is_flag=True, help="Also what lies between two keyframes of a track.")
@json_option
@click.pass_obj
def list_annotations(
    endpoint: Endpoint,
    video_id: UUID,
    from_s: float | None,
    to_s: float | None,
    label_ids: tuple[UUID, ...],
    states: tuple[str, ...],
    *,
    interpolate: bool,
    as_json: bool,
) -> None:
    """List what is annotated in a video, by time: argus annotations list VIDEO --from 2 --to 4"""
    with endpoint.client() as argus:
        found = argus.annotations.list(
            video_id,
            from_us=us(from_s),
            to_us=us(to_s),
            label_ids=label_ids or None,
            states=[State(state) for state in states] or None,
            interpolate=interpolate or None,
        )
        show(found, ANNOTATION_COLUMNS, as_json=as_json)


@annotation_group.command("create")
@click.argument("annotation", type=json_object)
@project_option
@json_option
@click.pass_obj
def create_annotation(endpoint: Endpoint, annotation: dict[str, Any], project: UUID, *, as_json: bool) -> None:
    """Annotate, and print its id: argus annotations create '{"video_id": "VIDEO", "pts_us": 0, "label_id": "LABEL", "box": {"x": 0.1, "y": 0.2, "w": 0.3, "h": 0.4}}' --project PROJECT

    Coordinates are fractions of the displayed picture.
    """  # an example is one line
    new = AnnotationCreate.model_validate(annotation)
    with endpoint.client() as argus:
        (made,) = argus.annotations.create(project, [new]).items
    show_one(made, as_json=True) if as_json else click.echo(made.id)


@annotation_group.command("show")
@click.argument("annotation_id", type=click.UUID)
@json_option
@click.pass_obj
def show_annotation(endpoint: Endpoint, annotation_id: UUID, *, as_json: bool) -> None:
    """Show all of an annotation: argus annotations show ANNOTATION"""
    with endpoint.client() as argus:
        show_one(argus.annotations.get(annotation_id), as_json=as_json)


@annotation_group.command("update")
@click.argument("annotation_id", type=click.UUID)
@click.argument("change", type=json_object)
@json_option
@click.pass_obj
def update_annotation(endpoint: Endpoint, annotation_id: UUID, change: dict[str, Any], *, as_json: bool) -> None:
    """Correct an annotation: argus annotations update ANNOTATION '{"box": {"x": 0.1, "y": 0.1, "w": 0.2, "h": 0.2}}'"""
    update = AnnotationUpdate.model_validate(change)
    with endpoint.client() as argus:
        show_one(argus.annotations.update(argus.annotations.get(annotation_id), update), as_json=as_json)


@annotation_group.command("delete")
@click.argument("annotation_id", type=click.UUID)
@click.pass_obj
def delete_annotation(endpoint: Endpoint, annotation_id: UUID) -> None:
    """Delete an annotation; `restore` brings it back: argus annotations delete ANNOTATION"""
    with endpoint.client() as argus:
        argus.annotations.delete(argus.annotations.get(annotation_id))
    click.echo(annotation_id)


@annotation_group.command("history")
@click.argument("annotation_id", type=click.UUID)
@json_option
@click.pass_obj
def annotation_history(endpoint: Endpoint, annotation_id: UUID, *, as_json: bool) -> None:
    """List what it was before, and who changed it: argus annotations history ANNOTATION"""
    with endpoint.client() as argus:
        show(argus.annotations.history(annotation_id), HISTORY_COLUMNS, as_json=as_json)


@annotation_group.command("restore")
@click.argument("annotation_id", type=click.UUID)
@click.argument("version", type=click.IntRange(1))
@json_option
@click.pass_obj
def restore_annotation(endpoint: Endpoint, annotation_id: UUID, version: int, *, as_json: bool) -> None:
    """Make it what it was at an earlier version: argus annotations restore ANNOTATION 1"""
    with endpoint.client() as argus:
        show_one(argus.annotations.restore(annotation_id, version), as_json=as_json)


@annotation_group.command("accept")
@project_option
@_filtering
@json_option
@click.pass_obj
def accept_annotations(endpoint: Endpoint, /, project: UUID, *, as_json: bool, **within: Any) -> None:
    """Accept what is proposed, by a filter: argus annotations accept --project PROJECT --label LABEL --min-score 0.8"""
    with endpoint.client() as argus:
        show_one(argus.annotations.accept(project, _filter(**within)), as_json=as_json)


@annotation_group.command("reject")
@project_option
@click.option("--reason", required=True, help="Why: people and models learn from it.")
@_filtering
@json_option
@click.pass_obj
def reject_annotations(endpoint: Endpoint, /, project: UUID, reason: str, *, as_json: bool, **within: Any) -> None:
    """Reject what is proposed, by a filter: argus annotations reject --project PROJECT --max-score 0.3 --reason "no car" """
    with endpoint.client() as argus:
        show_one(argus.annotations.reject(project, _filter(**within), reason), as_json=as_json)


@annotation_group.command("auto-accept")
@project_option
@click.option("--label", "label_ids", type=click.UUID, multiple=True, help="Only of this label; may be repeated.")
@click.option("--dry-run", is_flag=True, help="Count, and change nothing.")
@json_option
@click.pass_obj
def auto_accept_annotations(
    endpoint: Endpoint, project: UUID, label_ids: tuple[UUID, ...], *, dry_run: bool, as_json: bool
) -> None:
    """Accept what reaches its label's learnt threshold: argus annotations auto-accept --project PROJECT --dry-run"""
    asked = AutoAcceptRequest.model_validate({"dry_run": dry_run, **given(label_ids=[*label_ids] or None)})
    with endpoint.client() as argus:
        show_one(argus.annotations.auto_accept(project, asked), as_json=as_json)


@click.group()
def verdicts() -> None:
    """Say whether all of a label is annotated on a frame."""


@verdicts.command("list")
@project_option
@click.option("--video", "video_id", type=click.UUID, help="Of this video.")
@click.option("--label", "label_id", type=click.UUID, help="Of this label.")
@click.option("--verdict", type=WORDS)
@json_option
@click.pass_obj
def list_verdicts(
    endpoint: Endpoint,
    project: UUID,
    video_id: UUID | None,
    label_id: UUID | None,
    verdict: str | None,
    *,
    as_json: bool,
) -> None:
    """List what people have said: argus verdicts list --project PROJECT"""
    word = Word(verdict) if verdict else None
    with endpoint.client() as argus:
        found = argus.verdicts.list(project, video_id=video_id, label_id=label_id, verdict=word)
        show(found, VERDICT_COLUMNS, as_json=as_json)


@verdicts.command("set")
@click.argument("label_id", type=click.UUID)
@click.argument("verdict", type=WORDS)
@click.option("--video", "video_id", type=click.UUID, required=True, help="On frames of this video.")
@click.option("--at", "at_s", type=float, multiple=True, required=True, help="Second of a frame; may be repeated.")
@project_option
@json_option
@click.pass_obj
def set_verdicts(
    endpoint: Endpoint,
    label_id: UUID,
    verdict: str,
    video_id: UUID,
    at_s: tuple[float, ...],
    project: UUID,
    *,
    as_json: bool,
) -> None:
    """Give a verdict on frames: argus verdicts set LABEL exhaustive_present --video VIDEO --at 0 --project PROJECT"""
    said = VerdictsPut(
        video_id=video_id, pts_us=[round(at * 1e6) for at in at_s], label_id=label_id, verdict=Word(verdict)
    )
    with endpoint.client() as argus:
        show_one(argus.verdicts.put_many(project, said), as_json=as_json)
