"""`argus autolabel | track | predict | preview`: SAM 3 finds and follows what has a name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from argus_ray.cli.endpoint import Endpoint
from argus_ray.cli.inputs import fractions, given, project_option
from argus_ray.cli.jobs import print_estimate, print_job
from argus_ray.cli.output import complain, json_option, plain, show, show_json, write_file
from argus_ray.errors import InvalidRequest
from argus_ray.schemas.annotation import Box
from argus_ray.schemas.concept import Click, ConceptPreview, Predict
from argus_ray.schemas.frame import Search, SearchFilter
from argus_ray.schemas.job import Ask, Autolabel, Target, TrackObjects

if TYPE_CHECKING:
    from argus_ray.client import Client

FOUND_COLUMNS = ("score", "box", "annotation_id")
MOST_PREVIEWED = 16

_options: tuple[Callable[[Any], Any], ...] = (
    click.argument("labels", nargs=-1, required=True, metavar="LABEL..."),
    click.option("--video", "video_ids", type=click.UUID, multiple=True, help="Only in this video; may be repeated."),
    click.option(
        "--threshold", type=click.FloatRange(0, 1), help="Lowest score. Default: the label's, or the model's."
    ),
    click.option("--estimate", is_flag=True, help="Say what it would take, and ask for nothing."),
    click.option("--wait", is_flag=True, help="Until it has ended; exit 1 unless it succeeded."),
    project_option,
    json_option,
)


def _asking(command: Any) -> Any:
    for option in reversed(_options):
        command = option(command)
    return command


@click.command()
@_asking
@click.option("--query", help="Only on frames that a search for these words finds first.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=200, show_default=True, help="Frames of --query.")
@click.pass_context
def autolabel(
    context: click.Context,
    /,
    labels: tuple[str, ...],
    video_ids: tuple[UUID, ...],
    query: str | None,
    limit: int,
    threshold: float | None,
    project: UUID,
    *,
    estimate: bool,
    wait: bool,
    as_json: bool,
) -> None:
    """Propose every instance of labels on all frames, and print the job: argus autolabel car --project PROJECT

    A label is given by its name or its id. What is proposed waits for people: `argus review next`.
    """
    within = SearchFilter(video_ids=[*video_ids] or None)
    with context.obj.client() as argus:
        target = Target(filter=within) if query is None else _found(argus, project, query, within, limit)
        spec = Autolabel(target=target, labels=_asks(argus, project, labels, threshold))
        if estimate:
            print_estimate(argus.jobs.estimate(project, spec), as_json=as_json)
        else:
            print_job(context, argus, argus.jobs.create(project, spec), wait=wait, as_json=as_json)


@click.command()
@_asking
@click.option("--fps", type=click.FloatRange(0, 60, min_open=True), help="Times a second. Default: at kept frames.")
@click.pass_context
def track(
    context: click.Context,
    /,
    labels: tuple[str, ...],
    video_ids: tuple[UUID, ...],
    threshold: float | None,
    fps: float | None,
    project: UUID,
    *,
    estimate: bool,
    wait: bool,
    as_json: bool,
) -> None:
    """Follow every instance of labels through videos, and print the job: argus track car --fps 5 --project PROJECT

    A label is given by its name or its id. `argus tracks` mends what was followed wrongly.
    """
    with context.obj.client() as argus:
        target = Target(filter=SearchFilter(video_ids=[*video_ids] or None))
        spec = TrackObjects(target=target, labels=_asks(argus, project, labels, threshold), **given(fps=fps))
        if estimate:
            print_estimate(argus.jobs.estimate(project, spec), as_json=as_json)
        else:
            print_job(context, argus, argus.jobs.create(project, spec), wait=wait, as_json=as_json)


@click.command()
@click.argument("frame_id", type=click.UUID)
@click.option("--text", help="A short English noun phrase.")
@click.option("--box", "boxes", type=fractions(4), multiple=True, metavar="X,Y,W,H", help="Around an example.")
@click.option("--negative-box", "negative_boxes", type=fractions(4), multiple=True, metavar="X,Y,W,H")
@click.option("--point", "points", type=fractions(2), multiple=True, metavar="X,Y", help="On one object.")
@click.option("--negative-point", "negative_points", type=fractions(2), multiple=True, metavar="X,Y")
@click.option("--label", "label_id", type=click.UUID, help="Ask for this label's phrases, or save under it.")
@click.option("--threshold", type=click.FloatRange(0, 1), help="Lowest score.")
@click.option("--save", is_flag=True, help="Keep what is found as proposals of --label.")
@json_option
@click.pass_obj
def predict(
    endpoint: Endpoint,
    /,
    frame_id: UUID,
    boxes: Sequence[tuple[float, ...]],
    negative_boxes: Sequence[tuple[float, ...]],
    points: Sequence[tuple[float, ...]],
    negative_points: Sequence[tuple[float, ...]],
    *,
    save: bool,
    as_json: bool,
    **rest: Any,
) -> None:
    """Find a concept or an object in one frame: argus predict FRAME --text "red car"

    Coordinates are fractions of the displayed picture. With --json the masks are printed too.
    """
    clicks = [Click(x=x, y=y, positive=on) for some, on in ((points, True), (negative_points, False)) for x, y in some]
    asked = Predict.model_validate(
        given(
            **rest,
            boxes=[_box(box) for box in boxes] or None,
            negative_boxes=[_box(box) for box in negative_boxes] or None,
            points=clicks or None,
            save="proposed" if save else None,
        )
    )
    with endpoint.client() as argus:
        found = argus.frames.predict(frame_id, asked)
    if not found.items:
        complain(f"nothing found; how sure the model is that there is any: {found.presence:.2f}")
    if as_json:
        show_json(found.model_dump(mode="json"))
    else:
        show(found.items, FOUND_COLUMNS, as_json=False)


def _box(numbers: Sequence[float]) -> Box:
    x, y, w, h = numbers
    return Box(x=x, y=y, w=w, h=h)


@click.command()
@click.argument("text")
@click.option("--frame", "frame_ids", type=click.UUID, multiple=True, help="On this frame; may be repeated.")
@click.option("--frames", "count", type=click.IntRange(1, MOST_PREVIEWED), default=8, show_default=True)
@click.option("--threshold", type=click.FloatRange(0, 1), help="Lowest score.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="PNG to write.")
@project_option
@click.pass_obj
def preview(
    endpoint: Endpoint,
    text: str,
    frame_ids: tuple[UUID, ...],
    count: int,
    threshold: float | None,
    out: Path,
    project: UUID,
) -> None:
    """Try a phrase on a handful of frames and draw them: argus preview "red car" --out sheet.png --project PROJECT

    Without --frame: on those that a search for the phrase finds first. Nothing is kept.
    """
    with endpoint.client() as argus:
        chosen = [*frame_ids] or _frames(argus, project, text, SearchFilter(), count)
        asked = ConceptPreview(text=text, frame_ids=chosen, **given(threshold=threshold))
        write_file(out, argus.concepts.preview_sheet(project, asked))
    click.echo(out)


# -- what is meant ---------------------------------------------------------------------------------


def _asks(argus: Client, project: UUID, labels: Sequence[str], threshold: float | None) -> list[Ask]:
    return [Ask(label_id=_label(argus, project, one), **given(threshold=threshold)) for one in labels]


def _label(argus: Client, project: UUID, given_as: str) -> UUID:
    """By id or by name. Raises InvalidRequest, naming the labels that there are."""
    try:
        return UUID(given_as)
    except ValueError:
        pass
    known = {label.name.casefold(): label.id for label in argus.labels.list(project)}
    if found := known.get(" ".join(given_as.split()).casefold()):
        return found
    names = ", ".join(sorted(known)) or "none yet"
    raise InvalidRequest(
        f"the project has no label {plain(given_as)!r}: it has {names}; make it with `argus labels create {plain(given_as)!r}`"
    )


def _found(argus: Client, project: UUID, query: str, within: SearchFilter, limit: int) -> Target:
    return Target(frame_ids=_frames(argus, project, query, within, limit))


def _frames(argus: Client, project: UUID, query: str, within: SearchFilter, limit: int) -> list[UUID]:
    """The frames that a search finds first. Raises InvalidRequest where there are none."""
    asked = Search(text=query, filter=within, group_by="none", limit=min(limit, 200))
    frames: list[UUID] = []
    for hit in argus.hits(project, asked):
        frames.append(hit.frame_id)
        if len(frames) == limit:
            break
    if not frames:
        raise InvalidRequest("nothing was found: the project has no ready video with frames that fit")
    return frames
