"""`argus verify`: an export against the originals that it came from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import click

from argus_ray.cli.endpoint import Endpoint
from argus_ray.cli.output import json_option, show

COLUMNS = ("file", "pts_us", "word", "detail")
FINE = {"same", "there"}


@click.command()
@click.argument("archive", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--all", "everything", is_flag=True, help="Print also the pictures that are the same.")
@json_option
@click.pass_context
def verify(context: click.Context, archive: Path, *, everything: bool, as_json: bool) -> None:
    """Decode the originals of an export again and say which pictures match: argus verify coco-v1.zip"""
    import tempfile
    from collections import Counter

    from argus_ray.datasets import verifying
    from argus_ray.settings import Settings
    from argus_ray.video.work import Stored

    endpoint: Endpoint = context.obj
    words: Counter[str] = Counter()
    with endpoint.client() as argus, tempfile.TemporaryDirectory() as scratch:

        def original_of(video_id: UUID) -> Stored:
            video = argus.videos.get(video_id)
            return Stored(argus.videos.media(video_id).url, video.name, video.size_bytes or 0, Path(scratch))

        def lines() -> Iterator[verifying.Verified]:
            for one in verifying.verify(archive, Settings(), original_of, Path(scratch)):
                words[one.word] += 1
                if everything or one.word not in FINE:
                    yield one

        show(lines(), COLUMNS, as_json=as_json)
    click.echo(", ".join(f"{number} {word}" for word, number in sorted(words.items())), err=True)
    context.exit(0 if not words.keys() - FINE else 1)
