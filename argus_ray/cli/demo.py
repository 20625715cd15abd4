"""`argus demo`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
def demo(files: tuple[Path, ...]) -> None:
    """Start everything, search, find, follow, correct, export, draw it all, stop: argus demo a.mp4 b.mov

    Without files it draws its own videos, and knows what is right. With files it ends after the ingest, since its small
    weights know drawn shapes only.
    """
    from argus_ray.cli import demonstration

    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        raise click.UsageError(f"no such file: {', '.join(missing)}")
    demonstration.run(files)
