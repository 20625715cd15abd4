"""The `argus` command: one group; a module a subject, its commands added below.

It is imported for every call, `argus --help` too: keep heavy imports (httpx, ray, torch) inside the functions. The first
line of each command's help ends with an example, which a test runs.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Any

import click
from pydantic import ValidationError

from argus_ray import __version__
from argus_ray.cli import (
    account,
    annotating,
    concepts,
    datasets,
    demo,
    jobs,
    labels,
    models,
    projects,
    review,
    search,
    showing,
    stack,
    tracks,
    upload,
    verify,
    videos,
)
from argus_ray.cli.endpoint import Endpoint
from argus_ray.cli.output import EXIT_CODES, INTERRUPTED, PIPE_CLOSED, complain, exit_code, invalid
from argus_ray.errors import ArgusError


class _Argus(click.Group):
    """A group that ends quietly when whoever reads its output has gone, as `head` does."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())  # else what is still in the buffer fails again at exit
            raise click.exceptions.Exit(PIPE_CLOSED) from None


@click.group(cls=_Argus, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--url", envvar="ARGUS_URL", help="Argus to speak to. Default: the one of `argus login`.")
@click.option("--api-key", envvar="ARGUS_API_KEY", help="Project API key, instead of signing in.")
@click.version_option(__version__, prog_name="argus")
@click.pass_context
def cli(context: click.Context, url: str | None, api_key: str | None) -> None:
    """Turn a pile of video into something a team can search and label."""
    context.obj = Endpoint(url, api_key)


for _command in (
    *(stack.up, stack.status, stack.down, stack.doctor, demo.demo, models.models),
    *(account.login, account.logout, account.whoami, projects.projects, projects.members, projects.keys),
    *(upload.upload, videos.videos, videos.frames, jobs.jobs, search.search),
    *(concepts.autolabel, concepts.track, concepts.predict, concepts.preview, showing.show),
    *(labels.labels, annotating.annotation_group, annotating.verdicts, tracks.tracks, review.review),
    *(datasets.datasets, datasets.export, datasets.import_, verify.verify),
):
    cli.add_command(_command)


def _shorten(group: click.Group) -> None:
    """In lists of commands, their help without its example."""
    for command in group.commands.values():
        command.short_help = (command.help or "").split("\n", 1)[0].split(": argus ", 1)[0]
        if isinstance(command, click.Group):
            _shorten(command)


_shorten(cli)


def main() -> None:
    """The console script. An error is a line that says what to do, and an exit code that says of what kind it is."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that a terminal cannot show is no reason to fail
            stream.reconfigure(errors="backslashreplace")
    sys.exit(_run())


def _run() -> int:
    try:
        code = cli.main(prog_name="argus", standalone_mode=False)
    except ValidationError as error:  # of what was given: answers are checked where they are read
        return _shown(invalid(error))
    except click.ClickException as error:
        return _shown(error)
    except (click.Abort, KeyboardInterrupt):
        complain("interrupted")
        return INTERRUPTED
    except ArgusError as error:
        complain(error.detail)
        return exit_code(error)
    return code if isinstance(code, int) else 0


def _shown(error: click.ClickException) -> int:
    error.show()
    return error.exit_code
