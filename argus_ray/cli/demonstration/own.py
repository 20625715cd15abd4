"""The demo on one's own videos: what was kept of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import httpx

from argus_ray.annotations.contact_sheet import Cell, lines, sheet
from argus_ray.annotations.overlay import png
from argus_ray.cli.demonstration import visitor
from argus_ray.cli.demonstration.steps import FOLDER, Steps
from argus_ray.schemas.video import VideoState

SHEET_COLUMNS = 6


def show(files: Sequence[Path], status: dict[str, Any], steps: Steps) -> None:
    with visitor.signed_up(status, steps) as (argus, project, listener):
        videos, refused = visitor.upload(argus, project, files, steps)
        ended = visitor.ingest(argus, project, videos, listener, steps)
        with steps.step("draw the frames that were kept"), httpx.Client(timeout=30) as http:
            for video in ended:
                if video.state == VideoState.READY:
                    frames = list(argus.videos.frames(video.id))
                    shown = frames[:: max(1, -(-len(frames) // (4 * SHEET_COLUMNS)))]
                    cells = [
                        Cell(http.get(str(frame.url)).raise_for_status().content, f"{frame.pts_us / 1e6:.3f} s")
                        for frame in shown
                    ]
                    picture = sheet(lines(cells, SHEET_COLUMNS, video.name))
                    (FOLDER / f"{Path(video.name).name}.png").write_bytes(png(picture))
    click.echo(f"\n{'video':40} {'state':8} {'frames':>6}  what was found")
    for video in ended:
        said = video.reason.detail if video.reason else "; ".join(warning.detail for warning in video.warnings)
        facts = (
            f"{video.width}x{video.height} {video.codec} {(video.duration_us or 0) / 1e6:.1f} s" if video.codec else ""
        )
        click.echo(
            f"{video.name[:40]:40} {video.state:8} {video.frames_kept:6}  {' · '.join(x for x in (facts, said) if x)}"
        )
    for file, reason in refused.items():
        click.echo(f"{file.name[:40]:40} {'refused':8} {0:6}  {reason}")
    click.echo(
        "\nThe demo weights know drawn shapes only: searching real pictures with them means nothing. "
        "Real weights: ARGUS_SIGLIP2_MODEL=google/siglip2-base-patch16-224 argus up"
    )
