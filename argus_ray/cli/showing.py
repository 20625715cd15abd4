"""`argus show`: a frame, a video or a job as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import click

from argus_ray.cli.annotating import STATES
from argus_ray.cli.endpoint import Endpoint
from argus_ray.cli.inputs import us
from argus_ray.cli.output import plain, write_file
from argus_ray.errors import InvalidRequest, NotFound
from argus_ray.schemas.annotation import State
from argus_ray.schemas.frame import Frame
from argus_ray.schemas.job import Job, JobKind
from argus_ray.schemas.video import Video, VideoState

if TYPE_CHECKING:
    from argus_ray.cli.drawing import Chosen, Wanted
    from argus_ray.client import Client

FRAMES_SHOWN = 24


@click.command()
@click.argument("thing_id", type=click.UUID, metavar="FRAME|VIDEO|JOB")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="PNG; of a video also MP4, its tracks in motion."
)
@click.option("--from", "from_s", type=float, help="Of a video: from this second on.")
@click.option("--to", "to_s", type=float, help="Of a video: before this second.")
@click.option("--state", "states", type=STATES, multiple=True, help="Else what is not rejected; may be repeated.")
@click.option("--label", "label_ids", type=click.UUID, multiple=True, help="Only of this label; may be repeated.")
@click.option("--width", type=click.IntRange(16, 8192), help="Of a frame: not wider than this.")
@click.pass_obj
def show(
    endpoint: Endpoint,
    thing_id: UUID,
    out: Path | None,
    from_s: float | None,
    to_s: float | None,
    states: tuple[str, ...],
    label_ids: tuple[UUID, ...],
    width: int | None,
) -> None:
    """Draw what is annotated, and print the file: argus show VIDEO --out sheet.png

    A frame is drawn whole; a video as a sheet of its annotated frames, or as a clip with its tracks on every picture where
    --out ends in .mp4; a job as a sheet of what it has proposed. Accepted ones have solid lines, proposed ones dashed.
    """
    from argus_ray.cli import drawing

    wanted = drawing.Wanted(
        states=[State(state) for state in states] or drawing.SHOWN,
        label_ids=[*label_ids] or None,
        from_us=us(from_s),
        to_us=us(to_s),
    )
    file = out or Path(f"{thing_id}.png")
    with endpoint.client() as argus:
        thing = _thing(argus, thing_id)
        if file.suffix.lower() == ".mp4":
            if not isinstance(thing, Video):
                raise click.UsageError("a clip is made of a video: give a video's id, or an --out that ends in .png")
            drawing.tracked_clip(argus, thing, file, wanted)
        elif isinstance(thing, Frame):
            write_file(file, drawing.frame_picture(argus, thing, wanted, width=width))
        elif isinstance(thing, Video):
            chosen = drawing.annotated_frames(argus, thing, FRAMES_SHOWN, wanted)
            write_file(file, drawing.frames_sheet(argus, _some(chosen, thing.name), wanted, title=thing.name))
        else:
            chosen = _proposed(argus, thing, wanted)
            title = f"{thing.kind} of {thing.created_at:%Y-%m-%d %H:%M}"
            write_file(file, drawing.frames_sheet(argus, chosen, wanted, title=title, job_id=thing.id))
    click.echo(file)


def _thing(argus: Client, thing_id: UUID) -> Frame | Video | Job:
    """Whatever has this id. Raises NotFound."""
    for get in (argus.frames.get, argus.videos.get, argus.jobs.get):
        try:
            return get(thing_id)
        except NotFound:
            continue
    raise NotFound(f"there is no frame, video or job {thing_id}, or it is not yours")


def _proposed(argus: Client, job: Job, wanted: Wanted) -> list[Chosen]:
    """Frames of every video that the job has proposed something on. Raises InvalidRequest where it has not."""
    from argus_ray.cli import drawing

    if job.kind not in {JobKind.AUTOLABEL, JobKind.TRACK}:
        raise InvalidRequest(
            f"a job of kind {job.kind} proposes nothing that could be drawn: give one of autolabel or track"
        )
    named = [job.video_id] if job.video_id else job.spec.get("target", {}).get("filter", {}).get("video_ids")
    videos = (
        [argus.videos.get(one) for one in named] if named else argus.videos.list(job.project_id, state=VideoState.READY)
    )
    groups = []
    for video in videos:
        if found := drawing.annotated_frames(argus, video, FRAMES_SHOWN, wanted, job.id):
            groups.append(found)
        if len(groups) == FRAMES_SHOWN:
            break
    return _some(drawing.in_turn(groups, FRAMES_SHOWN), f"job {job.id}")


def _some(chosen: list[Chosen], what: str) -> list[Chosen]:
    if not chosen:
        raise InvalidRequest(
            f"nothing that was asked for is annotated on a frame of {plain(what)}: there is nothing to draw"
        )
    return chosen
