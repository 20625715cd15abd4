"""What every part of the demo writes and tells."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import click

from argus_ray.errors import ArgusError

FOLDER = Path("demo")


class DemoFailed(ArgusError):
    type, title = "demo-failed", "The demo did not end as it must"


class Steps:
    """Prints each step with its time, and remembers the first that failed."""

    def __init__(self) -> None:
        self.failed: str | None = None

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        click.echo(f"   … {name}", err=True)
        try:
            yield
        except BaseException:
            self.failed = self.failed or name
            raise
        click.echo(f"{time.monotonic() - began:6.1f} s  {name}")


def tell(text: str) -> None:
    """A line that belongs to the step before."""
    click.echo(f"          {text}")


def agrees(what: str, figure: float, floor: float) -> None:
    """Say how well something agrees with what was drawn. Raises DemoFailed below the floor."""
    tell(f"{what} {figure:.2f}, at least {floor:.2f}")
    if figure < floor:
        raise DemoFailed(f"{what} is {figure:.2f}, and must be at least {floor:.2f}")
