"""`argus models register`."""

from __future__ import annotations

import click

from argus_ray.cli.output import json_option
from argus_ray.settings import Settings


@click.group()
def models() -> None:
    """Make models known to the catalogue."""


@models.command("register")
@click.argument("uri", required=False)
@json_option
def register_model(uri: str | None, *, as_json: bool) -> None:
    """Register SigLIP 2 weights and print their id: argus models register demo:siglip2

    Without a URI: the one of ARGUS_SIGLIP2_MODEL. Needs ARGUS_DATABASE_URL, the owner's connection. `argus up` does this
    by itself.
    """
    from argus_ray import weights

    settings = Settings()
    model = weights.register(settings, uri or settings.siglip2_model)
    click.echo(model.model_dump_json() if as_json else model.id)
