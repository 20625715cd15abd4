"""A described call becomes a method, of a resource of either client."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from pydantic import BaseModel

from argus_ray.client.call import Call, Pages

if TYPE_CHECKING:
    from argus_ray.client.client import AsyncClient, Client

P = ParamSpec("P")
T = TypeVar("T")
Row = TypeVar("Row", bound=BaseModel)


class Resource:
    def __init__(self, client: Client) -> None:
        self.client = client


class AsyncResource:
    def __init__(self, client: AsyncClient) -> None:
        self.client = client


class Method(Generic[P, T]):
    """A described call as a method: sent at once on a synchronous resource, awaited on the other."""

    def __init__(self, describe: Callable[P, Call[T]]) -> None:
        self.describe = describe

    @overload
    def __get__(self, resource: Resource, _: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, resource: AsyncResource, _: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, resource: Any, _: type) -> Any:
        @functools.wraps(self.describe)
        def send(*args: P.args, **kwargs: P.kwargs) -> Any:
            return resource.client.send(self.describe(*args, **kwargs))

        return send


class Listing(Generic[P, Row]):
    """A described list as a method: an iterator over all of its rows."""

    def __init__(self, describe: Callable[P, Pages[Row]]) -> None:
        self.describe = describe

    @overload
    def __get__(self, resource: Resource, _: type) -> Callable[P, Iterator[Row]]: ...
    @overload
    def __get__(self, resource: AsyncResource, _: type) -> Callable[P, AsyncIterator[Row]]: ...
    def __get__(self, resource: Any, _: type) -> Any:
        @functools.wraps(self.describe)
        def walk(*args: P.args, **kwargs: P.kwargs) -> Any:
            return resource.client.walk(self.describe(*args, **kwargs))

        return walk
