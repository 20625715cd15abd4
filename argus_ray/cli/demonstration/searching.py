"""Search, held against what was drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import httpx

from argus_ray.annotations.contact_sheet import Cell, Row, sheet
from argus_ray.annotations.overlay import png
from argus_ray.cli.demonstration.steps import FOLDER, DemoFailed, Steps, tell
from argus_ray.client import Client
from argus_ray.schemas.frame import Hit
from argus_ray.schemas.project import Project
from argus_ray.synthetic.language import Query, bare
from argus_ray.synthetic.scene import HELD_OUT
from argus_ray.synthetic.video import VideoTruth

QUERIES = 6
SHEET_COLUMNS = 6


def search(argus: Client, project: Project, truths: Mapping[str, VideoTruth], steps: Steps) -> None:
    """Look for what was drawn, and draw what was found. Raises DemoFailed where a first hit is wrong."""
    queries = _queries(truths)
    with steps.step(f"search for {len(queries)} things and draw what was found"):
        found = [(query, argus.search(project.id, query.text).items[:SHEET_COLUMNS]) for query in queries]
        _draw_found(found, truths)
        wrong = [query.text for query, hits in found if not hits or not _right(query, hits[0], truths)]
        if wrong:
            raise DemoFailed(f"the first hit is wrong for: {', '.join(wrong)}")
    tell(f"all {len(queries)} first hits are right; see {FOLDER / 'found.png'}")


def _queries(truths: Mapping[str, VideoTruth]) -> list[Query]:
    """Bare queries ("red car") for the largest thing of some shots, of the pairs that the weights were taught."""
    largest = [
        max(shot.scene.things, key=lambda thing: thing.size)
        for truth in truths.values()
        for shot in truth.shots
        if shot.scene.things
    ]
    taught = [thing for thing in largest if (thing.colour, thing.shape) not in HELD_OUT]
    chosen: dict[str, Query] = {}
    for thing in sorted(taught, key=lambda thing: -thing.size):
        query = bare(thing.colour, thing.shape)
        chosen.setdefault(query.text, query)
    return list(chosen.values())[:QUERIES]


def _right(query: Query, hit: Hit, truths: Mapping[str, VideoTruth]) -> bool:
    return any(start <= hit.pts_us < end for start, end in truths[hit.video_name].moments(query))


def _draw_found(found: Sequence[tuple[Query, Sequence[Hit]]], truths: Mapping[str, VideoTruth]) -> None:
    with httpx.Client(timeout=30) as http:
        rows = [
            Row(
                f"“{query.text}”",
                [
                    Cell(
                        http.get(hit.url).raise_for_status().content,
                        f"{hit.video_name} {hit.pts_us / 1e6:.1f} s  cosine {hit.score:.2f}",
                        marked=_right(query, hit, truths),
                    )
                    for hit in hits
                ],
            )
            for query, hits in found
        ]
    (FOLDER / "found.png").write_bytes(png(sheet(rows)))
