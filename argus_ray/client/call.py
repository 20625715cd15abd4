"""One HTTP call as a value: described once, run by the synchronous and the asynchronous client alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import httpx
from pydantic import BaseModel, TypeAdapter

from argus_ray import errors
from argus_ray.errors import ArgusError, Unavailable
from argus_ray.schemas.common import Page

T = TypeVar("T")
Row = TypeVar("Row", bound=BaseModel)

RETRIED_STATUSES = frozenset({429, 502, 503, 504})
SAFE_METHODS = frozenset({"GET", "HEAD", "PUT", "DELETE"})


@dataclass(frozen=True)
class Call(Generic[T]):
    """`answer` is the type of the body, None for an empty one. `idempotency_key` makes a POST safe to repeat."""

    method: str
    path: str
    answer: TypeAdapter[T]
    params: Mapping[str, Any] = field(default_factory=dict)
    json: Any = None
    if_match: int | None = None
    idempotency_key: str | None = None
    timeout_s: float | None = None

    @property
    def repeatable(self) -> bool:
        """Whether sending it twice does what sending it once does."""
        return self.method in SAFE_METHODS or self.idempotency_key is not None

    def request(self, client: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        headers = {}
        if self.if_match is not None:
            headers["If-Match"] = f'"{self.if_match}"'
        if self.idempotency_key is not None:
            headers["Idempotency-Key"] = self.idempotency_key
        body = self.json.model_dump(mode="json", exclude_unset=True) if isinstance(self.json, BaseModel) else self.json
        return client.build_request(
            self.method,
            self.path,
            params={name: value for name, value in self.params.items() if value is not None},
            json=body,
            headers=headers,
            timeout=self.timeout_s if self.timeout_s is not None else httpx.USE_CLIENT_DEFAULT,
        )

    def read(self, response: httpx.Response) -> T:
        """The answer. Raises the error that the API's problem names."""
        if response.is_error:
            raise problem(response)
        return self.answer.validate_json(response.content) if response.content else self.answer.validate_python(None)


@dataclass(frozen=True)
class Pages(Generic[Row]):
    """A list that goes on behind its cursor; iterating it fetches page after page."""

    first: Call[Page[Row]]

    def after(self, cursor: str) -> Call[Page[Row]]:
        return replace(self.first, params={**self.first.params, "cursor": cursor})


_BY_TYPE = {
    kind.type: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ArgusError)
}


def problem(response: httpx.Response) -> ArgusError:
    """The error that an RFC 9457 answer names, or one for what answered instead of Argus."""
    try:
        said = response.json()
        kind = _BY_TYPE.get(str(said["type"]).rsplit("/", 1)[-1], ArgusError)
        detail = str(said["detail"])
    except (ValueError, KeyError, TypeError):
        return Unavailable(
            f"{response.url.host} answered {response.status_code} and not as Argus does: check the address"
        )
    fields = "; ".join(f"{error.get('pointer', '')}: {error.get('detail', '')}" for error in said.get("errors") or [])
    error = kind(
        f"{detail} ({fields})" if fields else detail, request_id=said.get("request_id"), status=response.status_code
    )
    error.facts |= {"errors": said["errors"]} if said.get("errors") else {}
    return error


def wait_before_retry(response: httpx.Response | None, attempt: int) -> float:
    """Seconds: what the server asks for, else doubling from half a second to eight."""
    asked = response.headers.get("Retry-After", "") if response is not None else ""
    return min(float(asked), 60.0) if asked.isdigit() else min(8.0, 0.5 * 2**attempt)
