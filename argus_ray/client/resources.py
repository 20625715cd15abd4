"""What can be asked of projects, members, keys, videos, uploads, frames, concepts and jobs, of either client.

What a resource can do is said once, in a class that both clients mix in: its parameters and answers come from its
description in `calls`. What is more than one call (an upload, the wait for a job) stands here in both forms.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from argus_ray.client import calls
from argus_ray.client.pieces import Progress
from argus_ray.client.resource import AsyncResource, Listing, Method, Resource
from argus_ray.client.upload import upload
from argus_ray.errors import Unavailable
from argus_ray.schemas.job import ENDED, Job
from argus_ray.schemas.video import SamplingPolicy, Video

LONGEST_WAIT_S, LOOK_EVERY_S = 30, 2


class _Me:
    get = Method(calls.Account.get)
    update = Method(calls.Account.update)


class _Projects:
    list = Listing(calls.Projects.list)
    create = Method(calls.Projects.create)
    get = Method(calls.Projects.get)
    update = Method(calls.Projects.update)
    delete = Method(calls.Projects.delete)
    audit = Listing(calls.Projects.audit)


class _Members:
    list = Listing(calls.Members.list)
    get = Method(calls.Members.get)
    invite = Method(calls.Members.invite)
    change_role = Method(calls.Members.change_role)
    remove = Method(calls.Members.remove)


class _ApiKeys:
    list = Listing(calls.ApiKeys.list)
    create = Method(calls.ApiKeys.create)
    revoke = Method(calls.ApiKeys.revoke)


class _Videos:
    list = Listing(calls.Videos.list)
    create = Method(calls.Videos.create)
    import_ = Method(calls.Videos.import_)
    complete = Method(calls.Videos.complete)
    get = Method(calls.Videos.get)
    update = Method(calls.Videos.update)
    delete = Method(calls.Videos.delete)
    reingest = Method(calls.Videos.reingest)
    media = Method(calls.Videos.media)
    frames = Listing(calls.Videos.frames)


class _Uploads:
    get = Method(calls.Uploads.get)
    arrived = Listing(calls.Uploads.arrived)
    fresh_parts = Method(calls.Uploads.fresh_parts)
    abort = Method(calls.Uploads.abort)


class _Frames:
    get = Method(calls.Frames.get)
    overlay = Method(calls.Frames.overlay)
    predict = Method(calls.Frames.predict)


class _Concepts:
    preview = Method(calls.Concepts.preview)
    preview_sheet = Method(calls.Concepts.preview_sheet)


class _Jobs:
    list = Listing(calls.Jobs.list)
    create = Method(calls.Jobs.create)
    estimate = Method(calls.Jobs.estimate)
    get = Method(calls.Jobs.get)
    cancel = Method(calls.Jobs.cancel)
    retry = Method(calls.Jobs.retry)


class Me(_Me, Resource): ...


class AsyncMe(_Me, AsyncResource): ...


class Projects(_Projects, Resource): ...


class AsyncProjects(_Projects, AsyncResource): ...


class Members(_Members, Resource): ...


class AsyncMembers(_Members, AsyncResource): ...


class ApiKeys(_ApiKeys, Resource): ...


class AsyncApiKeys(_ApiKeys, AsyncResource): ...


class Uploads(_Uploads, Resource): ...


class AsyncUploads(_Uploads, AsyncResource): ...


class Frames(_Frames, Resource): ...


class AsyncFrames(_Frames, AsyncResource): ...


class Concepts(_Concepts, Resource): ...


class AsyncConcepts(_Concepts, AsyncResource): ...


class Videos(_Videos, Resource):
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


class AsyncVideos(_Videos, AsyncResource):
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


class Jobs(_Jobs, Resource):
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


class AsyncJobs(_Jobs, AsyncResource):
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
