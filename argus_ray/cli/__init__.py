"""The `argus` command: one group; a module a subject, its commands added below.

It is imported for every call, `argus --help` too: keep heavy imports inside the functions.
"""

from __future__ import annotations

import sys

import click

from argus_ray import __version__
from argus_ray.cli import account, demo, media, models, stack
from argus_ray.cli.output import INTERRUPTED, exit_code
from argus_ray.cli.session import Endpoint
from argus_ray.errors import ArgusError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--url", envvar="ARGUS_URL", help="Argus to speak to. Default: the one of `argus login`.")
@click.option("--api-key", envvar="ARGUS_API_KEY", help="Project API key, instead of signing in.")
@click.version_option(__version__, prog_name="argus")
@click.pass_context
def cli(context: click.Context, url: str | None, api_key: str | None) -> None:
    """Turn a pile of video into something a team can search."""
    context.obj = Endpoint(url, api_key)


for _command in (
    *(stack.up, stack.status, stack.down, stack.doctor, demo.demo, models.models),
    *(account.login, account.logout, account.whoami, account.projects, account.members, account.keys),
    *(media.upload, media.videos, media.jobs, media.search, media.frames),
):
    cli.add_command(_command)


def main() -> None:
    """The console script. An error is a line that says what to do, and an exit code that says of what kind it is."""
    try:
        sys.exit(cli.main(standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except ArgusError as error:
        click.echo(f"argus: {error.detail}", err=True)
        sys.exit(exit_code(error))
