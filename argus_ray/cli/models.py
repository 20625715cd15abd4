"""`argus models`: bring weights from the hub, make them known."""

from __future__ import annotations

import os

import click

from argus_ray.cli.output import json_option, show_json
from argus_ray.cli.stack import read_settings


@click.group()
def models() -> None:
    """Bring weights from the hub to S3, and make models known to the catalogue."""


@models.command("register")
@click.argument("uri", required=False)
@json_option
def register_model(uri: str | None, *, as_json: bool) -> None:
    """Register weights and print their id: argus models register demo:siglip2

    Without a URI: those of ARGUS_SIGLIP2_MODEL, and of ARGUS_SAM3_MODEL where they are at hand. Needs ARGUS_DATABASE_URL,
    the owner's connection. `argus up` does this by itself.
    """
    from argus_ray import weights
    from argus_ray.models.loading import is_at_hand

    settings = read_settings()
    if uri:
        made = [weights.register_any(settings, uri)]
    else:
        made = [weights.register(settings, settings.siglip2_model)]
        if is_at_hand(settings.sam3_model):
            made.append(weights.register_sam3(settings, settings.sam3_model))
        else:
            click.echo(f"{settings.sam3_model} is not at hand and was left out: argus models add", err=True)
    for model in made:
        if as_json:
            show_json(model.model_dump(mode="json"))
        else:
            click.echo(model.id)


@models.command("add")
@click.argument("name", metavar="NAME[@REVISION]")
@click.option("--accept-licence", is_flag=True, help="Do not ask: the licence has been read and is accepted.")
@json_option
def add_model(name: str, *, accept_licence: bool, as_json: bool) -> None:
    """Bring weights from the Hugging Face hub to S3 for all nodes, and print their URI: argus models add facebook/sam3

    A gated model, as SAM 3 is, takes two steps of yours first: accept its licence on its page at the hub, and set HF_TOKEN
    to a token of that account. Every file is checked against the hash that the hub states, the model is loaded for a trial,
    and the licence is recorded. A broken transfer goes on when the same is asked again. Needs ARGUS_DATABASE_URL, the
    owner's connection, and S3.
    """
    from argus_ray import hub

    settings, endpoint = read_settings(), os.environ.get("HF_ENDPOINT")
    offer = hub.look(name, endpoint=endpoint)
    gated = ", which must have been accepted on that page by the account of HF_TOKEN" if offer.gated else ""
    click.echo(
        f"{offer.repo} at {offer.commit[:12]}: {len(offer.files)} files, {offer.size_bytes / 2**20:.0f} MiB\n"
        f"licence: {offer.licence}, {offer.licence_url}{gated}",
        err=True,
    )
    if not accept_licence:
        click.confirm("Use it under this licence?", abort=True, err=True)
    added = hub.add(settings, offer, lambda what: click.echo(what, err=True), endpoint=endpoint)
    if as_json:
        show_json(added.model.model_dump(mode="json") | {"uri": added.uri})
    else:
        click.echo(added.uri)
    click.echo(f"to use it: ARGUS_{added.model.family.upper()}_MODEL={added.uri}", err=True)
