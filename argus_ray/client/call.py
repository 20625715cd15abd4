"""One HTTP call as a value: described once, run by the synchronous and the asynchronous client alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from argus_ray.errors import ArgusError, TooManyRequests, Unavailable, kinds
from argus_ray.schemas.common import Page

T = TypeVar("T")
Row = TypeVar("Row", bound=BaseModel)

SAFE_METHODS = frozenset({"GET", "HEAD", "PUT", "DELETE"})
MEMBERS = frozenset({"type", "title", "status", "detail", "instance"})
"""What every problem has; its other members are facts."""


@dataclass(frozen=True)
class Call(Generic[T]):
    """`answer` is the type of the body, None for an empty one; what is no JSON is taken as it is, and `accept` says what.

    A POST is repeatable by its `idempotency_key`, or because it `reads` and changes nothing.
    """

    method: str
    path: str
    answer: TypeAdapter[T]
    params: Mapping[str, Any] = field(default_factory=dict)
    json: BaseModel | None = None
    if_match: int | None = None
    idempotency_key: str | None = None
    accept: str | None = None
    reads: bool = False
    timeout_s: float | None = None
    tries: int = 5

    @property
    def repeatable(self) -> bool:
        """Whether sending it twice does what sending it once does."""
        return self.method in SAFE_METHODS or self.reads or self.idempotency_key is not None

    def request(self, client: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        headers = {}
        if self.if_match is not None:
            headers["If-Match"] = f'"{self.if_match}"'
        if self.idempotency_key is not None:
            headers["Idempotency-Key"] = self.idempotency_key
        if self.accept is not None:
            headers["Accept"] = f"{self.accept}, application/problem+json"
        return client.build_request(
            self.method,
            self.path,
            params={name: value for name, value in self.params.items() if value is not None},
            json=self.json.model_dump(mode="json", exclude_unset=True) if self.json is not None else None,
            headers=headers,
            timeout=self.timeout_s if self.timeout_s is not None else httpx.USE_CLIENT_DEFAULT,
        )

    def read(self, response: httpx.Response) -> T:
        """The answer. Raises the error that the API's problem names, Unavailable for what no Argus answers."""
        if not response.is_success:
            raise problem(response)
        if self.accept is not None and response.headers.get("content-type", "").startswith(self.accept):
            return self.answer.validate_python(response.content)
        try:
            return (
                self.answer.validate_json(response.content) if response.content else self.answer.validate_python(None)
            )
        except ValidationError as error:
            raise Unavailable(
                f"{_server(response)} answers, and not as this version of Argus does: check the address and the versions",
                status=response.status_code,
            ) from error


@dataclass(frozen=True)
class Pages(Generic[Row]):
    """A list that goes on behind its cursor; iterating it fetches page after page."""

    first: Call[Page[Row]]

    def after(self, page: Page[Row]) -> Call[Page[Row]] | None:
        """The call for what follows a page; None after the last one."""
        if page.next_cursor is None:
            return None
        return replace(self.first, params={**self.first.params, "cursor": page.next_cursor})


def problem(response: httpx.Response) -> ArgusError:
    """The error that an RFC 9457 answer names, or one for what answered instead of Argus."""
    status = response.status_code
    try:
        said = response.json()
        name, detail = str(said["type"]).rsplit("/", 1)[-1], str(said["detail"])
    except (ValueError, KeyError, TypeError):
        if status == httpx.codes.TOO_MANY_REQUESTS:  # Serve's proxy says so in plain text
            return TooManyRequests(f"{_server(response)} has more to do than it can: try again a little later")
        return Unavailable(f"{_server(response)} answered {status} and not as Argus does: check the address")
    kind = next((kind for kind in kinds() if kind.type == name), None) or _of_status(status)
    found = said.get("errors")
    fields = [f"{one.get('pointer', '')}: {one.get('detail', '')}" for one in found] if isinstance(found, list) else []
    if len(fields) > 1:  # the detail names the first
        detail = f"{detail} ({'; '.join(fields)})"
    error = kind(detail, status=status)
    error.facts |= {name: value for name, value in said.items() if name not in MEMBERS}
    return error


def _of_status(status: int) -> type[ArgusError]:
    """For a problem that a newer server names and this client does not know."""
    return next((kind for kind in kinds() if kind.status == status), ArgusError)


def _server(response: httpx.Response) -> str:
    url = response.url
    return f"{url.scheme}://{url.netloc.decode('ascii')}"
