"""The client, synchronous and asynchronous: the same resources over the same calls.

Each method's parameters and answer come from its description in `calls`; here it is only said that it is sent, or that
its pages are walked. What may be sent twice is retried while the server is busy or the line broken.
"""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Generic, ParamSpec, Self, TypeVar, overload
from uuid import UUID

import httpx
from pydantic import BaseModel

from argus_ray.client import calls
from argus_ray.client.call import Call, Pages
from argus_ray.client.pieces import Progress
from argus_ray.client.session import ApiKeyAuth
from argus_ray.client.transport import Tries, checked_url, options
from argus_ray.client.upload import Steps, upload
from argus_ray.errors import Unavailable
from argus_ray.schemas.frame import Hit, Search, SearchAnswer
from argus_ray.schemas.job import ENDED, Job
from argus_ray.schemas.project import SignIn
from argus_ray.schemas.video import SamplingPolicy, Video

P = ParamSpec("P")
T = TypeVar("T")
Row = TypeVar("Row", bound=BaseModel)

LONGEST_WAIT_S, LOOK_EVERY_S = 30, 2
STOPPING_S = 5


class Client:
    """`Client(url, "argus_…")` with a project's key, or with a `SessionAuth`. Close it, or use it in a `with`.

    It may be used from several threads.
    """

    def __init__(self, url: str, auth: httpx.Auth | str | None = None, *, timeout_s: float = 30) -> None:
        self.url = checked_url(url)
        self._http = httpx.Client(base_url=self.url, auth=_auth(auth), **options(timeout_s))
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
        tries = Tries(call, self.url)
        while True:
            try:
                response = self._http.send(call.request(self._http))
            except httpx.RequestError as error:
                pause_s = tries.after_failure(error)
            else:
                again_s = tries.after_answer(response)
                if again_s is None:
                    return call.read(response)
                pause_s = again_s
            time.sleep(pause_s)

    def walk(self, pages: Pages[Row]) -> Iterator[Row]:
        """Every row of a list, page after page."""
        call: Call[Any] | None = pages.first
        while call is not None:
            page = self.send(call)
            yield from page.items
            call = pages.after(page)

    def run(self, steps: Steps[T]) -> T:
        """Work that is described step by step: calls are sent, and the rest is done here."""
        go_on: Callable[[], Any] = functools.partial(next, steps)
        try:
            while True:
                step = go_on()
                try:
                    answer = self.send(step) if isinstance(step, Call) else step()
                except Exception as error:  # noqa: BLE001  # the steps know what can be done about it
                    go_on = functools.partial(steps.throw, error)
                else:
                    go_on = functools.partial(steps.send, answer)
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            steps.close()

    def search(self, project_id: UUID | str, query: Search | str) -> SearchAnswer:
        """One page of moments, best first, and which model answered."""
        return self.send(calls.search(project_id, query))

    def hits(self, project_id: UUID | str, query: Search | str) -> Iterator[Hit]:
        """Moments one by one, best first, page after page for as long as they are asked for."""
        asked: Search | str | None = query
        while asked is not None:
            answer = self.search(project_id, asked)
            yield from answer.items
            asked = _following(asked, answer)

    def sign_in(self) -> SignIn:
        """Where people of this Argus sign in."""
        return self.send(calls.sign_in())

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient:
    """The same, awaited."""

    def __init__(self, url: str, auth: httpx.Auth | str | None = None, *, timeout_s: float = 30) -> None:
        self.url = checked_url(url)
        self._http = httpx.AsyncClient(base_url=self.url, auth=_auth(auth), **options(timeout_s))
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
        tries = Tries(call, self.url)
        while True:
            try:
                response = await self._http.send(call.request(self._http))
            except httpx.RequestError as error:
                pause_s = tries.after_failure(error)
            else:
                again_s = tries.after_answer(response)
                if again_s is None:
                    return call.read(response)
                pause_s = again_s
            await asyncio.sleep(pause_s)

    async def walk(self, pages: Pages[Row]) -> AsyncIterator[Row]:
        """Every row of a list, page after page."""
        call: Call[Any] | None = pages.first
        while call is not None:
            page = await self.send(call)
            for row in page.items:
                yield row
            call = pages.after(page)

    async def run(self, steps: Steps[T], stop: threading.Event) -> T:
        """Work that is described step by step: calls are awaited, and what blocks is done in a thread of its own.

        It is no thread of asyncio's, which are few and may all wait for this loop. Cancelled, it sets `stop`.
        """
        go_on: Callable[[], Any] = functools.partial(next, steps)
        with _Thread(stop) as thread:
            try:
                while True:
                    step = go_on()
                    try:
                        answer = await (self.send(step) if isinstance(step, Call) else thread.run(step))
                    except Exception as error:  # noqa: BLE001  # the steps know what can be done about it
                        go_on = functools.partial(steps.throw, error)
                    else:
                        go_on = functools.partial(steps.send, answer)
            except StopIteration as end:
                result: T = end.value
                return result
            finally:
                steps.close()

    async def search(self, project_id: UUID | str, query: Search | str) -> SearchAnswer:
        """One page of moments, best first, and which model answered."""
        return await self.send(calls.search(project_id, query))

    async def hits(self, project_id: UUID | str, query: Search | str) -> AsyncIterator[Hit]:
        """Moments one by one, best first, page after page for as long as they are asked for."""
        asked: Search | str | None = query
        while asked is not None:
            answer = await self.search(project_id, asked)
            for hit in answer.items:
                yield hit
            asked = _following(asked, answer)

    async def sign_in(self) -> SignIn:
        """Where people of this Argus sign in."""
        return await self.send(calls.sign_in())

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _auth(auth: httpx.Auth | str | None) -> httpx.Auth | None:
    return ApiKeyAuth(auth) if isinstance(auth, str) else auth


def _following(asked: Search | str, answer: SearchAnswer) -> Search | None:
    """What to ask for the page after an answer; None after the last one."""
    if answer.next_cursor is None:
        return None
    whole = Search(text=asked) if isinstance(asked, str) else asked
    return whole.model_copy(update={"cursor": answer.next_cursor})


class _Thread:
    """One thread for what blocks. `stop` is set when the wait for it is cancelled, and its work is to heed it."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="argus-upload")

    async def run(self, work: Callable[[], T]) -> T:
        future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            self._stop.set()
            await asyncio.wait([future], timeout=STOPPING_S)
            if future.done() and not future.cancelled():
                future.exception()  # it was stopped: nobody wants to hear how
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(wait=False)


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
