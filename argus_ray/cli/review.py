"""`argus review`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal
from uuid import UUID

import click

from argus_ray.cli.annotating import WORDS
from argus_ray.cli.endpoint import Endpoint
from argus_ray.cli.inputs import given, project_option
from argus_ray.cli.output import json_option, show, show_json, show_one
from argus_ray.schemas.annotation import Word
from argus_ray.schemas.review import (
    Order,
    Place,
    ReviewAccept,
    ReviewNext,
    ReviewReject,
    ReviewRelease,
    ThresholdsLearn,
)

ITEM_COLUMNS = ("video_id", "pts_us", "end_us", "frame_id", "state", "assignee", "until", "proposals")
LEARNT_COLUMNS = ("name", "threshold", "precision", "bound", "target", "accepted", "rejected", "missing", "model_id")


@click.group()
def review() -> None:
    """Look at what needs a person most, and learn from what they say."""


@review.command("next")
@project_option
@click.option("--order", type=click.Choice([o.value for o in Order]), default="uncertainty", show_default=True)
@click.option("--unit", type=click.Choice(["frame", "segment"]), default="frame", show_default=True)
@click.option("--label", "label_ids", type=click.UUID, multiple=True, help="Of this label; may be repeated.")
@click.option("--video", "video_ids", type=click.UUID, multiple=True, help="Of this video; may be repeated.")
@click.option("--count", type=click.IntRange(1, 50), default=10, show_default=True)
@click.option(
    "--hold-s", type=click.IntRange(10, 86_400), default=900, show_default=True, help="Seconds they are yours."
)
@json_option
@click.pass_obj
def take(
    endpoint: Endpoint,
    project: UUID,
    order: str,
    unit: Literal["frame", "segment"],
    label_ids: tuple[UUID, ...],
    video_ids: tuple[UUID, ...],
    count: int,
    hold_s: int,
    *,
    as_json: bool,
) -> None:
    """Take what to look at next; nobody else gets it: argus review next --project PROJECT --order age --count 5"""
    within = given(label_ids=[*label_ids] or None, video_ids=[*video_ids] or None)
    asked = ReviewNext(order=Order(order), unit=unit, count=count, hold_s=hold_s, **within)
    with endpoint.client() as argus:
        show(argus.review.next(project, asked).items, ITEM_COLUMNS, as_json=as_json)


@review.command("list")
@project_option
@click.option("--show", "which", type=click.Choice(["open", "mine", "others", "accepted", "rejected"]))
@json_option
@click.pass_obj
def list_items(endpoint: Endpoint, project: UUID, which: str | None, *, as_json: bool) -> None:
    """List items that somebody has touched, the last first: argus review list --project PROJECT --show mine"""
    with endpoint.client() as argus:
        show(argus.review.list(project, show=which), ITEM_COLUMNS, as_json=as_json)


@review.command("progress")
@project_option
@click.pass_obj
def progress(endpoint: Endpoint, project: UUID) -> None:
    """Show how far the review is, as JSON: argus review progress --project PROJECT"""
    with endpoint.client() as argus:
        queue = argus.review.queue(project)
    show_json({"counts": queue.counts.model_dump(), "labels": [one.model_dump(mode="json") for one in queue.labels]})


def _item(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        json_option,
        project_option,
        click.option("--verdict", type=WORDS, help="Also say so of the frames, for the labels."),
        click.option("--label", "label_ids", type=click.UUID, multiple=True, help="Only this label; may be repeated."),
        click.option("--until-us", "end_us", type=int, help="Of a segment: where it ends."),
        click.argument("pts_us", type=int),
        click.argument("video_id", type=click.UUID),
    ):
        command = option(command)
    return command


@review.command("accept")
@_item
@click.pass_obj
def accept(
    endpoint: Endpoint,
    video_id: UUID,
    pts_us: int,
    end_us: int | None,
    label_ids: tuple[UUID, ...],
    verdict: str | None,
    project: UUID,
    *,
    as_json: bool,
) -> None:
    """Accept what is proposed on a frame: argus review accept VIDEO 0 --project PROJECT"""
    asked = ReviewAccept.model_validate(_about(video_id, pts_us, end_us, label_ids, verdict))
    with endpoint.client() as argus:
        show_one(argus.review.accept(project, asked), as_json=as_json)


@review.command("reject")
@click.option("--reason", required=True, help="Why: people and models learn from it.")
@_item
@click.pass_obj
def reject(
    endpoint: Endpoint,
    video_id: UUID,
    pts_us: int,
    end_us: int | None,
    label_ids: tuple[UUID, ...],
    verdict: str | None,
    project: UUID,
    reason: str,
    *,
    as_json: bool,
) -> None:
    """Reject what is proposed on a frame: argus review reject VIDEO 0 --reason "no car" --project PROJECT"""
    about = _about(video_id, pts_us, end_us, label_ids, verdict)
    asked = ReviewReject.model_validate({**about, "reason": reason})
    with endpoint.client() as argus:
        show_one(argus.review.reject(project, asked), as_json=as_json)


def _about(
    video_id: UUID, pts_us: int, end_us: int | None, label_ids: tuple[UUID, ...], verdict: str | None
) -> dict[str, Any]:
    place = {"video_id": video_id, "pts_us": pts_us, **given(end_us=end_us)}
    return {"item": place, **given(label_ids=[*label_ids] or None, verdict=Word(verdict) if verdict else None)}


@review.command("release")
@click.argument("video_id", type=click.UUID)
@click.argument("pts_us", type=int)
@click.option("--until-us", "end_us", type=int, help="Of a segment: where it ends.")
@project_option
@json_option
@click.pass_obj
def release(
    endpoint: Endpoint, video_id: UUID, pts_us: int, end_us: int | None, project: UUID, *, as_json: bool
) -> None:
    """Give an item back: argus review release VIDEO 0 --project PROJECT"""
    asked = ReviewRelease(items=[Place(video_id=video_id, pts_us=pts_us, end_us=end_us)])
    with endpoint.client() as argus:
        show_one(argus.review.release(project, asked), as_json=as_json)


@review.command("thresholds")
@project_option
@click.option("--learn", is_flag=True, help="Learn them anew first, from all that people have said.")
@json_option
@click.pass_obj
def thresholds(endpoint: Endpoint, project: UUID, *, learn: bool, as_json: bool) -> None:
    """Show the scores from which people agree with the model: argus review thresholds --project PROJECT --learn"""
    with endpoint.client() as argus:
        learnt = argus.review.learn(project, ThresholdsLearn()) if learn else argus.review.thresholds(project)
    show(learnt.items, LEARNT_COLUMNS, as_json=as_json)
