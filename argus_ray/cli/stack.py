"""`argus up`, `status`, `down`, `doctor`: the embedded stack of this machine."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import time
from pathlib import Path

import click
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from argus_ray.errors import ConfigurationError, Unavailable
from argus_ray.local.state import State
from argus_ray.settings import DEMO_SAM3, DEMO_SIGLIP2, Settings


@click.command()
@click.option("--detach", is_flag=True, help="Return once it is ready; `argus down` stops it.")
@click.option(
    "--demo-models", is_flag=True, help="Use the small weights that ship with Argus: they know drawn shapes only."
)
def up(*, detach: bool, demo_models: bool) -> None:
    """Start Postgres, S3, Auth, Ray, the models and the API on this machine: argus up --demo-models

    It runs until Ctrl-C, on the data of ARGUS_HOME. What has an address in the settings is not started.
    """
    from argus_ray.local import supervisor

    settings = read_settings(demo_models=demo_models)
    if detach:
        _up_detached(settings, demo_models=demo_models)
        return
    with _bars() as bars:

        def ready(state: State) -> None:
            bars.stop()  # what comes from now on, for days perhaps, are lines
            click.echo(_addresses(state))

        supervisor.run(settings, functools.partial(_tell, bars), ready)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(*, as_json: bool) -> None:
    """Say what runs and where; exit 0 only if a search would be answered: argus status --json"""
    from argus_ray.local import state

    found = state.read(_home(read_settings()))
    if as_json:
        click.echo(found.model_dump_json(indent=2))
    else:
        click.echo("ready" if found.ready else f"not ready: {found.reason}")
        if found.processes:
            click.echo(_addresses(found))
            for process in found.processes:
                click.echo(f"  {process.pid:>8}  {process.name}")
    sys.exit(0 if found.ready else 1)


@click.command()
def down() -> None:
    """Stop what `argus up` has started, and wait until it has: argus down"""
    from argus_ray.local import supervisor

    was_running = supervisor.stop(_home(read_settings()), lambda part, what: click.echo(f"{part}: {what}", err=True))
    click.echo("stopped" if was_running else "nothing was running", err=True)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a check, in a list.")
@click.option("--demo-models", is_flag=True, help="Check for `argus up --demo-models`.")
def doctor(*, as_json: bool, demo_models: bool) -> None:
    """Say what is wrong with this machine or its settings, and what to do: argus doctor"""
    from argus_ray.local.doctor import examine

    findings = examine(read_settings(demo_models=demo_models))
    if as_json:
        click.echo(json.dumps([finding._asdict() for finding in findings], indent=2))
    else:
        for finding in findings:
            click.echo(f"{'ok     ' if finding.ok else 'problem'}  {finding.subject}: {finding.detail}")
    sys.exit(0 if all(finding.ok for finding in findings) else 1)


def read_settings(*, demo_models: bool = False) -> Settings:
    """The settings of the environment. Raises: ConfigurationError naming the variables that are wrong."""
    try:
        return Settings(siglip2_model=DEMO_SIGLIP2, sam3_model=DEMO_SAM3) if demo_models else Settings()
    except ValidationError as error:
        wrong = "; ".join(f"ARGUS_{'_'.join(map(str, one['loc'])).upper()}: {one['msg']}" for one in error.errors())
        raise ConfigurationError(f"the settings are wrong: {wrong}") from None


def _home(settings: Settings) -> Path:
    return settings.home.expanduser()


def _addresses(state: State) -> str:
    names = {
        "api_url": "API, with its documentation at /docs",
        "dashboard_url": "Ray dashboard",
        "supabase_url": "Supabase (Auth, Storage, Realtime)",
        "publishable_key": "its publishable key",
        "s3_endpoint": "S3",
        "home": "data, keys and logs",
    }
    return "\n".join(f"{label + ':':<38}{value}" for name, label in names.items() if (value := getattr(state, name)))


def _bars() -> Progress:
    """A moving line for each part, on a terminal."""
    return Progress(
        TextColumn("{task.fields[part]:<12}"),
        BarColumn(bar_width=20),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )


def _tell(bars: Progress, part: str, what: str) -> None:
    """What happened to a part: on its bar while there are bars, else as a line."""
    if bars.disable or not bars.live.is_started:
        click.echo(f"{part}: {what}", err=True)
        return
    task = next((task.id for task in bars.tasks if task.fields["part"] == part), None)
    if task is None:
        task = bars.add_task(what, total=None, part=part)
    ready = what.startswith("ready")
    bars.update(task, description=what, total=1 if ready else None, completed=1 if ready else 0)


def _up_detached(settings: Settings, *, demo_models: bool) -> None:
    """Start `argus up` in a session of its own and follow its log until it is ready or has failed."""
    from argus_ray.local import process, state
    from argus_ray.local.home import open_home

    home = open_home(settings.home)
    log = home / "log" / "supervisor.log"
    command = [sys.executable, "-m", "argus_ray.cli", "up", *(["--demo-models"] if demo_models else [])]
    with process.open_log(log) as output:
        started_at = log.stat().st_size
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=output, start_new_session=True
        )
    with log.open() as lines:
        lines.seek(started_at)
        while True:
            ended = child.poll() is not None  # asked first, so that none of its last words is missed
            for line in lines:
                click.echo(line.rstrip("\n"), err=True)
            if ended:
                raise Unavailable(f"Argus has not started; its log is {log}")
            found = state.read(home)
            if found.started and found.ready and found.processes[0].pid == child.pid:
                click.echo(_addresses(found))
                return
            time.sleep(0.2)
