"""Text in the README that is made from code: `python -m tests.generated` writes it, `--check` says when it is stale."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, get_args

import click

from argus_ray.cli import cli
from argus_ray.settings import Settings

README = Path(__file__).parent.parent / "README.md"


def settings_table() -> str:
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = field.default
        shown = "" if default is None else f"`{_plain(default)}`"
        lines.append(f"| `ARGUS_{name.upper()}` | {shown} | {field.description}{_choices(field.annotation)} |")
    return "\n".join(lines)


def _plain(default: Any) -> str:
    return str(default).replace("|", r"\|")


def _choices(annotation: Any) -> str:
    names = [choice for choice in get_args(annotation) if isinstance(choice, str)]
    return f" One of {', '.join(f'`{name}`' for name in names)}." if names else ""


def commands_table() -> str:
    lines = ["| command | what it does |", "|---|---|"]
    for words, command in _commands(cli, ()):
        arguments = [p.make_metavar(click.Context(command)) for p in command.params if isinstance(p, click.Argument)]
        first = (command.help or "").split("\n", maxsplit=1)[0].split(": argus ", maxsplit=1)[0].rstrip(".")
        lines.append(f"| `{_plain(' '.join(('argus', *words, *arguments)))}` | {first} |")
    return "\n".join(lines)


def _commands(group: click.Group, words: tuple[str, ...]) -> list[tuple[tuple[str, ...], click.Command]]:
    found: list[tuple[tuple[str, ...], click.Command]] = []
    for name, command in sorted(group.commands.items()):
        if command.hidden:
            continue
        found += _commands(command, (*words, name)) if isinstance(command, click.Group) else [((*words, name), command)]
    return found


GENERATED = {"settings": settings_table, "commands": commands_table}


def filled(text: str) -> str:
    """The README with every generated part made anew, between `<!-- NAME:begin -->` and `<!-- NAME:end -->`."""
    for name, make in GENERATED.items():
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        before, _, rest = text.partition(begin)
        old, found, after = rest.partition(end)
        if not found:
            raise SystemExit(f"README.md has no {begin} … {end}")
        text = f"{before}{begin}\n{make()}\n{end}{after}"
        del old
    return text


def main() -> None:
    now = README.read_text()
    wanted = filled(now)
    if "--check" in sys.argv:
        if now != wanted:
            raise SystemExit("README.md is stale: run `python -m tests.generated`")
        return
    README.write_text(wanted)


if __name__ == "__main__":
    main()
