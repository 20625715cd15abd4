"""How commands print and end: results to stdout, one a line, everything else to stderr; exit codes for scripts.

What people have named is printed without what would move a cursor or change a colour in somebody's terminal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from argus_ray.errors import ArgusError, ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import BaseModel, ValidationError

FAILED, USAGE, NOT_ALLOWED, NOT_FOUND, REFUSED, NOT_ANSWERING, INTERRUPTED, PIPE_CLOSED = 1, 2, 3, 4, 5, 6, 130, 141

EXIT_CODES = """\b
Exit codes:
  0    done
  1    the work itself failed, or was declined
  2    wrong use: an option, an argument, or input that is missing
  3    not signed in, or not allowed
  4    there is no such thing, or it is not yours
  5    the request was refused; the message says why
  6    Argus or a part of it does not answer, or is too busy
  130  interrupted
  141  whoever read the output has gone
"""

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
            show_json(row.model_dump(mode="json"))
        return
    lines = ([_cell(getattr(row, column)) for column in columns] for row in rows)
    if sys.stdout.isatty():
        _show_table(columns, list(lines))
    else:
        for line in lines:
            click.echo("\t".join(line))


def show_one(row: BaseModel, *, as_json: bool, without: Collection[str] = ()) -> None:
    """One thing, a field a line; not those that are told in another way."""
    if as_json:
        show_json(row.model_dump(mode="json"))
        return
    for name, value in row.model_dump(mode="json", exclude_none=True).items():
        if value not in ({}, []) and name not in without:
            click.echo(f"{name}: {_cell(value)}")


def show_json(value: Any) -> None:
    """One line of JSON. In ASCII, so that it is the same for every terminal and locale."""
    click.echo(json.dumps(value))


def write_file(file: Path, content: bytes) -> None:
    """Raises ConfigurationError where it cannot be written."""
    try:
        file.write_bytes(content)
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be written: {error.strerror}: choose another place") from error


def complain(text: str) -> None:
    """One line on stderr."""
    click.echo(f"argus: {plain(text)}", err=True)


def plain(text: str) -> str:
    """The text on one line, without what a terminal would obey."""
    return "".join(c if c.isprintable() else "�" for c in " ".join(text.split("\n")))


def confirm(question: str, *, yes: bool) -> None:
    """Ask before what cannot be undone. Ends the command when the answer is no, or when there is nobody to ask."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("there is nobody to ask here: give --yes if you are sure")
    if not click.confirm(plain(question), err=True):
        raise click.exceptions.Exit(FAILED)


def invalid(error: ValidationError) -> click.UsageError:
    """What is wrong with input that a schema refuses, in a sentence."""
    wrong = []
    for one in error.errors(include_url=False):
        place = ".".join(str(step) for step in one["loc"])
        said = one["msg"].removeprefix("Value error, ")
        wrong.append(f"{place}: {said}" if place else said)
    return click.UsageError(plain("; ".join(wrong)))


def _show_table(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Columns side by side, as wide as they must be: an id that is cut is of no use."""
    from rich.cells import cell_len

    table = [list(columns), *map(list, lines)]
    widths = [max(cell_len(cell) for cell in column) for column in zip(*table, strict=True)]
    for number, cells in enumerate(table):
        padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(cells, widths, strict=True))
        line = "  ".join(padded).rstrip()
        click.secho(line, bold=True) if number == 0 else click.echo(line)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (dict, list)):
        value = json.dumps(value, ensure_ascii=False, default=str)
    return plain(str(value))
