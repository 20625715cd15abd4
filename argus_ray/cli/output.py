"""How commands print and end: results to stdout, one a line, everything else to stderr; exit codes for scripts.

0 done; 1 the work itself failed; 2 wrong use; 3 not signed in, or not allowed; 4 not found; 5 the request was refused;
6 Argus or a part of it does not answer; 130 interrupted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from argus_ray.errors import ArgusError

FAILED, USAGE, NOT_ALLOWED, NOT_FOUND, REFUSED, NOT_ANSWERING, INTERRUPTED = 1, 2, 3, 4, 5, 6, 130

_BY_STATUS = {401: NOT_ALLOWED, 403: NOT_ALLOWED, 404: NOT_FOUND, 429: NOT_ANSWERING, 503: NOT_ANSWERING}


def exit_code(error: ArgusError) -> int:
    """Of the error's HTTP status."""
    return _BY_STATUS.get(error.status, REFUSED if 400 <= error.status < 500 else FAILED)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")
"""For every command that prints a result."""


def show(rows: Iterable[BaseModel], columns: Sequence[str], *, as_json: bool) -> None:
    """Rows as JSON lines; as a table on a terminal; elsewhere as lines of tab-separated columns."""
    if as_json:
        for row in rows:
            click.echo(row.model_dump_json())
        return
    lines = ([_cell(getattr(row, column)) for column in columns] for row in rows)
    if sys.stdout.isatty():
        table = Table(*columns, box=None, header_style="bold", pad_edge=False)
        for line in lines:
            table.add_row(*line)
        Console().print(table)
    else:
        for line in lines:
            click.echo("\t".join(line))


def show_one(row: BaseModel, *, as_json: bool) -> None:
    """One thing, a field a line."""
    if as_json:
        click.echo(row.model_dump_json())
        return
    for name, value in row.model_dump(mode="json", exclude_none=True).items():
        if value not in ({}, []):
            click.echo(f"{name}: {_cell(value)}")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (dict, list)):
        value = json.dumps(value, ensure_ascii=False)
    # a name must not move the cursor or start a new line in somebody's terminal
    return "".join(c if c.isprintable() else "�" for c in str(value))


def guarded(command: Callable[[], Any]) -> int:
    """Run a command; its exit code. An error is one sentence on stderr."""
    try:
        code = command()
    except ArgusError as error:
        click.echo(f"argus: {error.detail}", err=True)
        return exit_code(error)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("argus: interrupted", err=True)
        return INTERRUPTED
    return code if isinstance(code, int) else 0
