"""What can be asked of projects, members, keys, videos, uploads, frames and jobs, of either client.

What a resource can do is said once, in a class that both clients mix in: its parameters and answers come from its
description in `calls`. What is more than one call (an upload, the wait for a job) stands here in both forms.
"""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload
from uuid import UUID

from pydantic import BaseModel

from argus_ray.client import calls
from argus_ray.client.call import Call, Pages
from argus_ray.client.pieces import Progress
from argus_ray.client.upload import upload
from argus_ray.errors import Unavailable
from argus_ray.schemas.job import ENDED, Job
from argus_ray.schemas.video import SamplingPolicy, Video

if TYPE_CHECKING:
    from argus_ray.client.client import AsyncClient, Client

P = ParamSpec("P")
T = TypeVar("T")
Row = TypeVar("Row", bound=BaseModel)

LONGEST_WAIT_S, LOOK_EVERY_S = 30, 2


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
    def __get__(self, resource: _AsyncResource, _: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, resource: Any, _: type) -> Any:
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
    def __get__(self, resource: Any, _: type) -> Any:
        @functools.wraps(self.describe)
        def walk(*args: P.args, **kwargs: P.kwargs) -> Any:
            return resource.client.walk(self.describe(*args, **kwargs))

        return walk


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
    get = _Method(calls.Members.get)
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
    get = _Method(calls.Uploads.get)
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
        """Send a file's bytes straight to S3, parts in parallel, and say that they are there; the video.

        Called again after an interruption, it sends only what has not arrived. A project that has these bytes gets none,
        and the video that it has is the answer. `progress(sent_bytes, size_bytes)` is told how far it is, by one thread
        at a time; what is sent again after a failure does not count twice.
        """
        steps = upload(
            project_id,
            Path(path),
            sampling=sampling,
            metadata=metadata,
            progress=progress,
            stop=threading.Event(),
        )
        return self.client.run(steps)


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
        """As `Videos.upload`; the bytes travel in threads, and `progress` is called in the event loop."""
        loop, stop = asyncio.get_running_loop(), threading.Event()

        def tell(sent_bytes: int, size_bytes: int) -> None:
            assert progress is not None
            loop.call_soon_threadsafe(progress, sent_bytes, size_bytes)

        steps = upload(
            project_id,
            Path(path),
            sampling=sampling,
            metadata=metadata,
            progress=None if progress is None else tell,
            stop=stop,
        )
        return await self.client.run(steps, stop)


class Jobs(_Jobs, _Resource):
    def wait(
        self, job_id: UUID | str, *, timeout_s: float = 3600, progress: Callable[[Job], None] | None = None
    ) -> Job:
        """The job when it has ended; `progress` is told of it meanwhile. Raises Unavailable after `timeout_s`."""
        end = time.monotonic() + timeout_s
        while True:
            asked = time.monotonic()
            job = self.client.send(calls.Jobs.get(job_id, wait_s=_wait_s(end, often=progress is not None)))
            if progress is not None:
                progress(job)
            if job.state in ENDED:
                return job
            _still_time(end, job)
            time.sleep(max(0, asked + LOOK_EVERY_S - time.monotonic()))  # it answers at once when too many wait


class AsyncJobs(_Jobs, _AsyncResource):
    async def wait(
        self, job_id: UUID | str, *, timeout_s: float = 3600, progress: Callable[[Job], None] | None = None
    ) -> Job:
        """The job when it has ended; `progress` is told of it meanwhile. Raises Unavailable after `timeout_s`."""
        end = time.monotonic() + timeout_s
        while True:
            asked = time.monotonic()
            job = await self.client.send(calls.Jobs.get(job_id, wait_s=_wait_s(end, often=progress is not None)))
            if progress is not None:
                progress(job)
            if job.state in ENDED:
                return job
            _still_time(end, job)
            await asyncio.sleep(
                max(0, asked + LOOK_EVERY_S - time.monotonic())
            )  # it answers at once when too many wait


def _wait_s(end: float, *, often: bool) -> int:
    """Whole seconds of the next request, at least one: less would be a busy loop."""
    return max(1, round(min(LOOK_EVERY_S if often else LONGEST_WAIT_S, end - time.monotonic())))


def _still_time(end: float, job: Job) -> None:
    if time.monotonic() >= end:
        raise Unavailable(f"job {job.id} is still {job.state} ({job.progress:.0%}): wait longer", job_id=str(job.id))
