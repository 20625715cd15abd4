"""The client, synchronous and asynchronous: the same resources over the same calls.

Each method's parameters and answer come from its description in `calls`; here it is only said that it is sent, or that
its pages are walked. What may be sent twice is retried while the server is busy or the line broken.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Generic, ParamSpec, Self, TypeVar, overload
from uuid import UUID

import httpx
from pydantic import BaseModel

from argus_ray import __version__
from argus_ray.client import calls
from argus_ray.client.call import RETRIED_STATUSES, Call, Pages, wait_before_retry
from argus_ray.client.session import ApiKeyAuth
from argus_ray.client.upload import Progress, upload
from argus_ray.errors import Unavailable
from argus_ray.schemas.frame import Search, SearchAnswer
from argus_ray.schemas.job import Job, JobState
from argus_ray.schemas.video import SamplingPolicy, Video

P = ParamSpec("P")
T = TypeVar("T")
Row = TypeVar("Row", bound=BaseModel)

ATTEMPTS = 5
LONGEST_WAIT_S = 30
ENDED = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})


class _Connection:
    """Settings that both clients share."""

    def __init__(self, url: str, auth: httpx.Auth | str | None = None, *, timeout_s: float = 30) -> None:
        self.url = url.rstrip("/")
        self.auth = ApiKeyAuth(auth) if isinstance(auth, str) else auth
        self.timeout_s = timeout_s

    def options(self) -> dict[str, Any]:
        return {
            "base_url": self.url,
            "auth": self.auth,
            "timeout": self.timeout_s,
            "headers": {"User-Agent": f"argus-python/{__version__}"},
        }


class Client:
    """`Client(url, "argus_…")` with a project's key, or with a `SessionAuth`. Close it, or use it in a `with`."""

    def __init__(self, url: str, auth: httpx.Auth | str | None = None, *, timeout_s: float = 30) -> None:
        self.connection = _Connection(url, auth, timeout_s=timeout_s)
        self._http = httpx.Client(**self.connection.options())
        self.me = Me(self)
        self.projects = Projects(self)
        self.members = Members(self)
        self.api_keys = ApiKeys(self)
        self.videos = Videos(self)
        self.uploads = Uploads(self)
        self.frames = Frames(self)
        self.jobs = Jobs(self)

    def send(self, call: Call[T]) -> T:
        """Run one call. Raises what the API's problem names, or Unavailable when nothing answers."""
        for attempt in range(ATTEMPTS):
            last = attempt == ATTEMPTS - 1 or not call.repeatable
            response = None
            try:
                response = self._http.send(call.request(self._http))
            except httpx.TransportError as error:
                if last:
                    raise Unavailable(f"{self.connection.url} does not answer: {error}") from error
            else:
                if last or response.status_code not in RETRIED_STATUSES:
                    return call.read(response)
            time.sleep(wait_before_retry(response, attempt))
        raise AssertionError

    def walk(self, pages: Pages[Row]) -> Iterator[Row]:
        """Every row of a list, page after page."""
        call = pages.first
        while True:
            page = self.send(call)
            yield from page.items
            if page.next_cursor is None:
                return
            call = pages.after(page.next_cursor)

    def search(self, project_id: UUID | str, query: Search | str) -> SearchAnswer:
        """One page of moments, best first."""
        return self.send(calls.search(project_id, query))

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient:
    """The same, awaited."""

    def __init__(self, url: str, auth: httpx.Auth | str | None = None, *, timeout_s: float = 30) -> None:
        self.connection = _Connection(url, auth, timeout_s=timeout_s)
        self._http = httpx.AsyncClient(**self.connection.options())
        self.me = AsyncMe(self)
        self.projects = AsyncProjects(self)
        self.members = AsyncMembers(self)
        self.api_keys = AsyncApiKeys(self)
        self.videos = AsyncVideos(self)
        self.uploads = AsyncUploads(self)
        self.frames = AsyncFrames(self)
        self.jobs = AsyncJobs(self)

    async def send(self, call: Call[T]) -> T:
        """Run one call. Raises what the API's problem names, or Unavailable when nothing answers."""
        for attempt in range(ATTEMPTS):
            last = attempt == ATTEMPTS - 1 or not call.repeatable
            response = None
            try:
                response = await self._http.send(call.request(self._http))
            except httpx.TransportError as error:
                if last:
                    raise Unavailable(f"{self.connection.url} does not answer: {error}") from error
            else:
                if last or response.status_code not in RETRIED_STATUSES:
                    return call.read(response)
            await asyncio.sleep(wait_before_retry(response, attempt))
        raise AssertionError

    async def walk(self, pages: Pages[Row]) -> AsyncIterator[Row]:
        """Every row of a list, page after page."""
        call = pages.first
        while True:
            page = await self.send(call)
            for row in page.items:
                yield row
            if page.next_cursor is None:
                return
            call = pages.after(page.next_cursor)

    async def search(self, project_id: UUID | str, query: Search | str) -> SearchAnswer:
        """One page of moments, best first."""
        return await self.send(calls.search(project_id, query))

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class _Resource:
    def __init__(self, client: Client) -> None:
        self.client = client


class _AsyncResource:
    def __init__(self, client: AsyncClient) -> None:
        self.client = client


class _Method(Generic[P, T]):
    """A described call as a method: sent at once on a synchronous resource, awaited on the other."""

    def __init__(self, describe: Callable[P, Call[T]]) -> None:
        self.describe = describe

    @overload
    def __get__(self, resource: _Resource, _: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, resource: _AsyncResource, _: type) -> Callable[P, Awaitable[T]]: ...
    def __get__(self, resource: Any, _: type) -> Callable[P, Any]:
        @functools.wraps(self.describe)
        def send(*args: P.args, **kwargs: P.kwargs) -> Any:
            return resource.client.send(self.describe(*args, **kwargs))

        return send


class _Listing(Generic[P, Row]):
    """A described list as a method: an iterator over all of its rows."""

    def __init__(self, describe: Callable[P, Pages[Row]]) -> None:
        self.describe = describe

    @overload
    def __get__(self, resource: _Resource, _: type) -> Callable[P, Iterator[Row]]: ...
    @overload
    def __get__(self, resource: _AsyncResource, _: type) -> Callable[P, AsyncIterator[Row]]: ...
    def __get__(self, resource: Any, _: type) -> Callable[P, Any]:
        @functools.wraps(self.describe)
        def walk(*args: P.args, **kwargs: P.kwargs) -> Any:
            return resource.client.walk(self.describe(*args, **kwargs))

        return walk


# What each resource can do is said once, in a class that both clients mix in.


class _Me:
    get = _Method(calls.Account.get)
    update = _Method(calls.Account.update)


class _Projects:
    list = _Listing(calls.Projects.list)
    create = _Method(calls.Projects.create)
    get = _Method(calls.Projects.get)
    update = _Method(calls.Projects.update)
    delete = _Method(calls.Projects.delete)
    audit = _Listing(calls.Projects.audit)


class _Members:
    list = _Listing(calls.Members.list)
    invite = _Method(calls.Members.invite)
    change_role = _Method(calls.Members.change_role)
    remove = _Method(calls.Members.remove)


class _ApiKeys:
    list = _Listing(calls.ApiKeys.list)
    create = _Method(calls.ApiKeys.create)
    revoke = _Method(calls.ApiKeys.revoke)


class _Videos:
    list = _Listing(calls.Videos.list)
    create = _Method(calls.Videos.create)
    import_ = _Method(calls.Videos.import_)
    complete = _Method(calls.Videos.complete)
    get = _Method(calls.Videos.get)
    update = _Method(calls.Videos.update)
    delete = _Method(calls.Videos.delete)
    reingest = _Method(calls.Videos.reingest)
    media = _Method(calls.Videos.media)
    frames = _Listing(calls.Videos.frames)


class _Uploads:
    arrived = _Listing(calls.Uploads.arrived)
    fresh_parts = _Method(calls.Uploads.fresh_parts)
    abort = _Method(calls.Uploads.abort)


class _Frames:
    get = _Method(calls.Frames.get)


class _Jobs:
    list = _Listing(calls.Jobs.list)
    get = _Method(calls.Jobs.get)
    cancel = _Method(calls.Jobs.cancel)
    retry = _Method(calls.Jobs.retry)


class Me(_Me, _Resource): ...


class AsyncMe(_Me, _AsyncResource): ...


class Projects(_Projects, _Resource): ...


class AsyncProjects(_Projects, _AsyncResource): ...


class Members(_Members, _Resource): ...


class AsyncMembers(_Members, _AsyncResource): ...


class ApiKeys(_ApiKeys, _Resource): ...


class AsyncApiKeys(_ApiKeys, _AsyncResource): ...


class Uploads(_Uploads, _Resource): ...


class AsyncUploads(_Uploads, _AsyncResource): ...


class Frames(_Frames, _Resource): ...


class AsyncFrames(_Frames, _AsyncResource): ...


class Videos(_Videos, _Resource):
    def upload(
        self,
        project_id: UUID | str,
        path: Path | str,
        *,
        sampling: SamplingPolicy | None = None,
        metadata: dict[str, Any] | None = None,
        progress: Progress | None = None,
    ) -> Video:
        """Send a file's bytes straight to S3, parts in parallel, and say that they are there. Called again after an
        interruption, it sends only what has not arrived. `progress(sent_bytes, size_bytes)` is told how far it is.
        """
        return upload(self.client.send, project_id, Path(path), sampling=sampling, metadata=metadata, progress=progress)


class AsyncVideos(_Videos, _AsyncResource):
    async def upload(
        self,
        project_id: UUID | str,
        path: Path | str,
        *,
        sampling: SamplingPolicy | None = None,
        metadata: dict[str, Any] | None = None,
        progress: Progress | None = None,
    ) -> Video:
        """As `Videos.upload`; the bytes travel in threads."""
        loop = asyncio.get_running_loop()

        def send(call: Call[T]) -> T:
            return asyncio.run_coroutine_threadsafe(self.client.send(call), loop).result()

        return await asyncio.to_thread(
            upload, send, project_id, Path(path), sampling=sampling, metadata=metadata, progress=progress
        )


class Jobs(_Jobs, _Resource):
    def wait(self, job_id: UUID | str, *, timeout_s: float = 3600) -> Job:
        """The job when it has ended. Raises Unavailable after `timeout_s`."""
        end = time.monotonic() + timeout_s
        while True:
            job = self.client.send(calls.Jobs.get(job_id, wait_s=_wait_s(end)))
            if job.state in ENDED:
                return job
            _still_time(end, job)


class AsyncJobs(_Jobs, _AsyncResource):
    async def wait(self, job_id: UUID | str, *, timeout_s: float = 3600) -> Job:
        """The job when it has ended. Raises Unavailable after `timeout_s`."""
        end = time.monotonic() + timeout_s
        while True:
            job = await self.client.send(calls.Jobs.get(job_id, wait_s=_wait_s(end)))
            if job.state in ENDED:
                return job
            _still_time(end, job)


def _wait_s(end: float) -> int:
    return max(1, min(LONGEST_WAIT_S, round(end - time.monotonic())))


def _still_time(end: float, job: Job) -> None:
    if time.monotonic() >= end:
        raise Unavailable(f"job {job.id} is still {job.state} ({job.progress:.0%}): wait longer", job_id=str(job.id))
