"""`argus search`."""

from __future__ import annotations

import base64
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import click

from argus_ray.cli.endpoint import Endpoint
from argus_ray.cli.inputs import A_FILE, json_object, moment, project_option
from argus_ray.cli.output import complain, json_option, show
from argus_ray.schemas.frame import ImageTerm, QueryTerm, Search, SearchFilter

HIT_COLUMNS = ("video_name", "pts_us", "start_us", "end_us", "score", "video_id", "frame_id")
UNLIKE = -0.5
"""How much what it should not be like counts, beside 1 for what it should."""


@click.command()
@click.argument("text", required=False)
@click.option("--image", type=A_FILE, help="Search with a picture: JPEG, PNG or WebP.")
@click.option("--frame", type=click.UUID, help="Search with one of your frames.")
@click.option("--unlike", multiple=True, help="Words for what it should not be like; may be repeated.")
@click.option("--video", "video_ids", type=click.UUID, multiple=True, help="Only in this video; may be repeated.")
@click.option("--metadata", type=json_object, help="Only where the video's metadata contains this: '{\"camera\": 3}'.")
@click.option("--from", "from_s", type=float, help="Only from this second of a video on.")
@click.option("--to", "to_s", type=float, help="Only before this second.")
@click.option("--uploaded-after", type=moment, help="Only videos uploaded since, as 2026-03-01.")
@click.option("--uploaded-before", type=moment, help="Only videos uploaded before.")
@click.option("--group-by", type=click.Choice(["moment", "video", "none"]), default="moment", show_default=True)
@click.option("--limit", type=click.IntRange(1, 200), default=10, show_default=True)
@project_option
@json_option
@click.pass_obj
def search(
    endpoint: Endpoint,
    /,
    text: str | None,
    image: Path | None,
    frame: UUID | None,
    unlike: tuple[str, ...],
    group_by: Any,
    limit: int,
    project: UUID,
    *,
    as_json: bool,
    **within: Any,
) -> None:
    """Find moments by words, a picture or a frame: argus search "a red car on grass" --project PROJECT

    What is given together is mixed: `argus search "at night" --frame ID --unlike rain`.
    """
    asked = Search(**_query(text, image, frame, unlike), filter=_filter(**within), group_by=group_by, limit=limit)
    with endpoint.client() as argus:
        answer = argus.search(project, asked)
    if not answer.items:
        complain("nothing found: the project has no ready video with frames that fit the filter")
    show(answer.items, HIT_COLUMNS, as_json=as_json)


def _query(text: str | None, image: Path | None, frame: UUID | None, unlike: tuple[str, ...]) -> dict[str, Any]:
    """One thing to search with alone, since its answer has probabilities; several as a mix."""
    given: list[dict[str, Any]] = []
    if text:
        given.append({"text": text})
    if image:
        given.append({"image": ImageTerm(base64=base64.b64encode(image.read_bytes()).decode())})
    if frame:
        given.append({"frame_id": frame})
    if not given:
        raise click.UsageError("say what to look for: words, --image or --frame")
    if len(given) == 1 and not unlike:
        return given[0]
    return {"terms": [QueryTerm(**one) for one in given] + [QueryTerm(text=one, weight=UNLIKE) for one in unlike]}


def _filter(
    *,
    video_ids: tuple[UUID, ...],
    metadata: dict[str, Any] | None,
    from_s: float | None,
    to_s: float | None,
    uploaded_after: datetime | None,
    uploaded_before: datetime | None,
) -> SearchFilter:
    return SearchFilter(
        video_ids=[*video_ids] or None,
        metadata=metadata,
        from_us=None if from_s is None else round(from_s * 1e6),
        to_us=None if to_s is None else round(to_s * 1e6),
        uploaded_after=uploaded_after,
        uploaded_before=uploaded_before,
    )
