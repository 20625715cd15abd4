"""`argus models register`."""

from __future__ import annotations

import click

from argus_ray.cli.output import json_option, show_json
from argus_ray.cli.stack import read_settings


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

    settings = read_settings()
    model = weights.register(settings, uri or settings.siglip2_model)
    if as_json:
        show_json(model.model_dump(mode="json"))
    else:
        click.echo(model.id)
