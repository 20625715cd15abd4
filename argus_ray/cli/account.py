"""`argus login | logout | whoami`."""

from __future__ import annotations

import os
import sys

import click

from argus_ray.cli.endpoint import Endpoint
from argus_ray.cli.output import complain, json_option, plain, show_one
from argus_ray.errors import ArgusError, Unauthenticated


@click.command()
@click.option("--url", help="Argus to sign in at. Default: ARGUS_URL, or the one of the last login.")
@click.option("--email", envvar="ARGUS_EMAIL", help="Asked for when it is not given.")
@click.option("--new", is_flag=True, help="Make the account first.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.pass_obj
def login(endpoint: Endpoint, url: str | None, email: str | None, *, new: bool, password_stdin: bool) -> None:
    """Sign in: argus login --url http://127.0.0.1:8000 --email me@example.com

    The password is asked for, or taken from ARGUS_PASSWORD or with --password-stdin.
    """
    from argus_ray.cli import session
    from argus_ray.client import Client, sign_in, sign_up

    url = url or endpoint.url or _url_before()
    if not url:
        raise click.UsageError("which Argus? Give --url, or set ARGUS_URL; `argus status` shows the local one's")
    if not email:
        email = _asked("E-mail", "give --email, or set ARGUS_EMAIL")
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = os.environ.get("ARGUS_PASSWORD") or _asked(
            "Password", "set ARGUS_PASSWORD, or give --password-stdin", hidden=True, twice=new
        )
    if not password:
        raise click.UsageError("the password is empty")
    with Client(url) as argus:
        place = argus.sign_in()
        url = argus.url
    enter = sign_up if new else sign_in
    credentials = enter(place.supabase_url, place.publishable_key, email, password)
    session.save(session.SignedIn(url=url, credentials=credentials))
    click.echo(f"signed in at {url} as {plain(credentials.email)}", err=True)


def _url_before() -> str | None:
    """The address of the last login; a damaged file is about to be replaced."""
    from argus_ray.cli import session

    try:
        kept = session.load()
    except Unauthenticated:
        return None
    return kept.url if kept else None


def _asked(question: str, otherwise: str, *, hidden: bool = False, twice: bool = False) -> str:
    """What a person types. Where there is no terminal, nobody is asked."""
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question.lower()} is missing: {otherwise}")
    answer: str = click.prompt(question, hide_input=hidden, err=True, confirmation_prompt=twice)
    return answer


@click.command()
def logout() -> None:
    """End the session, and forget it on this machine: argus logout"""
    from argus_ray.cli import session
    from argus_ray.client import sign_out

    kept = session.forget()
    if kept is None:
        click.echo("nobody was signed in", err=True)
        return
    try:
        sign_out(kept.credentials)
    except Unauthenticated:
        pass  # it had ended by itself
    except ArgusError as error:
        complain(f"forgotten here, and the server was not told: {error.detail}")
    click.echo("signed out", err=True)


@click.command()
@json_option
@click.pass_obj
def whoami(endpoint: Endpoint, *, as_json: bool) -> None:
    """Show who you are, as Argus sees you: argus whoami"""
    with endpoint.client() as argus:
        show_one(argus.me.get(), as_json=as_json)
