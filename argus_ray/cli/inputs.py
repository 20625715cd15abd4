"""What commands are given: projects, policies, metadata, moments."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from argus_ray.cli.output import invalid
from argus_ray.schemas.video import SamplingPolicy

project_option = click.option(
    "--project", required=True, envvar="ARGUS_PROJECT", type=click.UUID, help="Project, by id. Or set ARGUS_PROJECT."
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")

A_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def policy(text: str) -> SamplingPolicy:
    """A sampling policy given as JSON."""
    try:
        return SamplingPolicy.model_validate_json(text)
    except ValidationError as error:
        raise click.BadParameter(f"{text!r} is no sampling policy: {invalid(error).message}") from None


def json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise click.BadParameter(f'{text!r} is not a JSON object, as {{"camera": 3}}')
    return value


def json_list(text: str) -> list[Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not JSON: {error}") from None
    if not isinstance(value, list):
        raise click.BadParameter(f"{text!r} is not a JSON list")
    return value


def fractions(count: int) -> Callable[[str], tuple[float, ...]]:
    """So many fractions of a picture, as 0.1,0.2."""

    def read(text: str) -> tuple[float, ...]:
        try:
            numbers = tuple(float(one) for one in text.split(","))
        except ValueError:
            numbers = ()
        if len(numbers) != count or not all(0 <= one <= 1 for one in numbers):
            raise click.BadParameter(
                f"{text!r} is not {count} fractions of the picture, from 0 to 1, with commas between"
            )
        return numbers

    return read


def given(**options: Any) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def us(seconds: float | None) -> int | None:
    """Microseconds."""
    return None if seconds is None else round(seconds * 1e6)


def moment(text: str) -> datetime:
    """A point in time, as 2026-03-01 or 2026-03-01T12:00:00+01:00; in UTC where it does not say."""
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no date or time: write it as 2026-03-01T12:00:00+01:00") from None
    return value if value.tzinfo else value.replace(tzinfo=UTC)
