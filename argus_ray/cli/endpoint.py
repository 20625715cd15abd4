"""Which Argus the command speaks to, and as whom.

In order: `--url` and `--api-key` (or ARGUS_URL and ARGUS_API_KEY), then whoever signed in with `argus login`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from argus_ray.errors import ConfigurationError, Unauthenticated

if TYPE_CHECKING:
    from argus_ray.client import Client


@dataclass(frozen=True)
class Endpoint:
    """What was given on the command line or in the environment. An empty value is none."""

    url: str | None
    api_key: str | None

    def client(self) -> Client:
        """A client that is signed in. Raises Unauthenticated, saying how to sign in."""
        from argus_ray.cli import session
        from argus_ray.client import Client, SessionAuth

        if self.api_key:
            if not self.url:
                raise ConfigurationError("an API key needs the address of its Argus: give --url, or set ARGUS_URL")
            return Client(self.url, self.api_key)
        kept = session.load()
        if kept is None or (self.url and self.url.rstrip("/") != kept.url):
            raise Unauthenticated(
                f"not signed in{f' at {self.url}' if self.url else ''}: run `argus login`, or set ARGUS_API_KEY"
            )
        return Client(kept.url, SessionAuth(kept.credentials, session.renew))
