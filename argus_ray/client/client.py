"""The client, synchronous and asynchronous: it sends calls, walks pages and runs steps for the same resources.

What may be sent twice is retried while the server is busy or the line broken.
"""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self, TypeVar
from uuid import UUID

import httpx
from pydantic import BaseModel

from argus_ray.client import annotation_resources, calls, dataset_resources, resources
from argus_ray.client.call import Call, Pages
from argus_ray.client.session import ApiKeyAuth
from argus_ray.client.transport import Tries, checked_url, options
from argus_ray.client.upload import Steps
from argus_ray.schemas.frame import Hit, Search, SearchAnswer
from argus_ray.schemas.project import SignIn

T = TypeVar("T")
Row = TypeVar("Row", bound=BaseModel)

STOPPING_S = 5


class Client:
    """`Client(url, "argus_…")` with a project's key, or with a `SessionAuth`. Close it, or use it in a `with`.

    It may be used from several threads.
    """

    def __init__(self, url: str, auth: httpx.Auth | str | None = None, *, timeout_s: float = 30) -> None:
        self.url = checked_url(url)
        self._http = httpx.Client(base_url=self.url, auth=_auth(auth), **options(timeout_s))
        self.me = resources.Me(self)
        self.projects = resources.Projects(self)
        self.members = resources.Members(self)
        self.api_keys = resources.ApiKeys(self)
        self.videos = resources.Videos(self)
        self.uploads = resources.Uploads(self)
        self.frames = resources.Frames(self)
        self.concepts = resources.Concepts(self)
        self.jobs = resources.Jobs(self)
        self.labels = annotation_resources.Labels(self)
        self.annotations = annotation_resources.Annotations(self)
        self.tracks = annotation_resources.Tracks(self)
        self.verdicts = annotation_resources.Verdicts(self)
        self.review = annotation_resources.Review(self)
        self.datasets = dataset_resources.Datasets(self)

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
        self.me = resources.AsyncMe(self)
        self.projects = resources.AsyncProjects(self)
        self.members = resources.AsyncMembers(self)
        self.api_keys = resources.AsyncApiKeys(self)
        self.videos = resources.AsyncVideos(self)
        self.uploads = resources.AsyncUploads(self)
        self.frames = resources.AsyncFrames(self)
        self.concepts = resources.AsyncConcepts(self)
        self.jobs = resources.AsyncJobs(self)
        self.labels = annotation_resources.AsyncLabels(self)
        self.annotations = annotation_resources.AsyncAnnotations(self)
        self.tracks = annotation_resources.AsyncTracks(self)
        self.verdicts = annotation_resources.AsyncVerdicts(self)
        self.review = annotation_resources.AsyncReview(self)
        self.datasets = dataset_resources.AsyncDatasets(self)

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
