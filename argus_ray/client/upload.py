"""Sending one file: announced, its bytes put straight to S3 in parallel, completed.

What is known of an unfinished upload is kept in the user's cache folder under the file's path, size and time of change,
so that the same call after an interruption sends only the parts that have not arrived.
"""

from __future__ import annotations

import hashlib
import mimetypes
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar
from uuid import UUID

import httpx
from pydantic import BaseModel

from argus_ray.client import calls
from argus_ray.client.call import RETRIED_STATUSES, Call, Pages, wait_before_retry
from argus_ray.errors import Conflict, InvalidRequest, NotFound, Unavailable, UploadExpired
from argus_ray.schemas.video import SamplingPolicy, Upload, Video, VideoCreate

Progress = Callable[[int, int], None]
T = TypeVar("T")
Row = TypeVar("Row", bound=BaseModel)

PARALLEL = 4
ATTEMPTS = 6
READ_BYTES = 256 * 1024
URLS_AT_ONCE = 200


class Send(Protocol):
    """Runs one call and waits for its answer."""

    def __call__(self, call: Call[T], /) -> T: ...


class _Expired(Exception):
    """S3 refused a presigned URL: a fresh one may do."""


class _Meter:
    """Bytes sent so far, told from several threads."""

    def __init__(self, size_bytes: int, progress: Progress | None) -> None:
        self.size_bytes = size_bytes
        self.sent_bytes = 0
        self._progress = progress
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self.sent_bytes += count
            if self._progress is not None:
                self._progress(self.sent_bytes, self.size_bytes)


def upload(
    send: Send,
    project_id: UUID | str,
    path: Path,
    *,
    sampling: SamplingPolicy | None = None,
    metadata: dict[str, Any] | None = None,
    progress: Progress | None = None,
) -> Video:
    """Upload one file and complete it; the video. Raises InvalidRequest for a file that is empty or missing, and
    Conflict when the file changed meanwhile.
    """
    if not path.is_file() or (size_bytes := path.stat().st_size) == 0:
        raise InvalidRequest(f"{path} is empty or not a file: nothing was uploaded", path=str(path))
    meter = _Meter(size_bytes, progress)
    memory = _memory(project_id, path)
    begun = _begun(send, memory)
    if begun is None:
        new = VideoCreate(
            filename=path.name[-200:],
            size_bytes=size_bytes,
            content_type=mimetypes.guess_type(path.name)[0],
            sha256=_sha256(path),
            sampling=sampling,
            metadata=metadata,
        )
        created = send(calls.Videos.create(project_id, new))
        if created.upload is None:  # the project has these bytes already
            return created.video
        begun = created.upload
        memory.parent.mkdir(parents=True, exist_ok=True)
        memory.write_text(begun.model_dump_json())
    with httpx.Client(timeout=httpx.Timeout(60, pool=None)) as s3:
        if begun.kind == "put":
            _put_whole(s3, path, begun, meter)
        else:
            _put_parts(send, s3, path, begun, meter)
    if path.stat().st_size != size_bytes:
        raise Conflict(f"{path} changed while it was being uploaded: upload it again", path=str(path))
    send(calls.Videos.complete(begun.video_id))
    memory.unlink(missing_ok=True)
    return send(calls.Videos.get(begun.video_id))


def _memory(project_id: UUID | str, path: Path) -> Path:
    facts = path.stat()
    key = hashlib.sha256(f"{project_id} {path.resolve()} {facts.st_size} {facts.st_mtime_ns}".encode()).hexdigest()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "argus" / "uploads" / f"{key[:32]}.json"


def _begun(send: Send, memory: Path) -> Upload | None:
    """The multipart upload that an earlier call began, if the server still knows it. A single PUT begins anew."""
    if not memory.is_file():
        return None
    begun = Upload.model_validate_json(memory.read_text())
    if begun.kind == "multipart":
        try:
            send(calls.Uploads.arrived(begun.id).first)
        except (NotFound, UploadExpired, Conflict):
            pass
        else:
            return begun
    memory.unlink()
    return None


def _put_whole(s3: httpx.Client, path: Path, begun: Upload, meter: _Meter) -> None:
    assert begun.url is not None
    try:
        _put(s3, begun.url, path, 0, meter.size_bytes, meter, begun.headers)
    except _Expired as error:
        raise UploadExpired(f"the URL for {path.name} has expired: upload it again", path=str(path)) from error


def _put_parts(send: Send, s3: httpx.Client, path: Path, begun: Upload, meter: _Meter) -> None:
    assert begun.part_size_bytes is not None
    assert begun.part_count is not None
    arrived = {part.number: part.size_bytes for part in _walk(send, calls.Uploads.arrived(begun.id))}
    meter.add(sum(arrived.values()))
    missing = [number for number in range(1, begun.part_count + 1) if number not in arrived]
    known = {part.number: part.url for part in begun.parts or []}

    def put(number: int) -> None:
        offset = (number - 1) * (begun.part_size_bytes or 0)
        length = min(begun.part_size_bytes or 0, meter.size_bytes - offset)
        url = known[number]
        try:
            _put(s3, url, path, offset, length, meter, {})
        except _Expired:
            fresh = send(calls.Uploads.fresh_parts(begun.id, [number])).items[0].url
            _put(s3, fresh, path, offset, length, meter, {})

    with ThreadPoolExecutor(PARALLEL) as threads:
        for start in range(0, len(missing), URLS_AT_ONCE):
            numbers = missing[start : start + URLS_AT_ONCE]
            unknown = [number for number in numbers if number not in known]
            if unknown:
                known |= {part.number: part.url for part in send(calls.Uploads.fresh_parts(begun.id, unknown)).items}
            for done in [threads.submit(put, number) for number in numbers]:
                done.result()


def _put(
    s3: httpx.Client, url: str, path: Path, offset: int, length: int, meter: _Meter, headers: dict[str, str]
) -> None:
    """PUT a range of the file. Retries what may heal; raises _Expired, or what S3 said."""
    for attempt in range(ATTEMPTS):
        counted = _Counted(path, offset, length, meter)
        response = None
        try:
            response = s3.put(url, content=iter(counted), headers={**headers, "Content-Length": str(length)})
        except httpx.TransportError as error:
            if attempt == ATTEMPTS - 1:
                raise Unavailable(
                    f"sending {path.name} failed: {error}: try again, it goes on where it stopped"
                ) from error
        else:
            if response.is_success:
                return
            if response.status_code == httpx.codes.FORBIDDEN:
                counted.take_back()
                raise _Expired(response.text[:500])
            if (
                response.status_code not in RETRIED_STATUSES
                and response.status_code != httpx.codes.INTERNAL_SERVER_ERROR
            ):
                raise InvalidRequest(
                    f"S3 refused the bytes of {path.name} ({response.status_code}): {response.text[:300]}"
                )
            if attempt == ATTEMPTS - 1:
                raise Unavailable(
                    f"S3 answered {response.status_code} for {path.name}: try again, it goes on where it stopped"
                )
        counted.take_back()
        time.sleep(wait_before_retry(response, attempt))


class _Counted:
    """A range of a file as an iterable of blocks; what was told of a failed try can be taken back."""

    def __init__(self, path: Path, offset: int, length: int, meter: _Meter) -> None:
        self.path, self.offset, self.length, self.meter = path, offset, length, meter
        self.told = 0

    def __iter__(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            file.seek(self.offset)
            left = self.length
            while left and (block := file.read(min(READ_BYTES, left))):
                left -= len(block)
                yield block
                self.told += len(block)
                self.meter.add(len(block))

    def take_back(self) -> None:
        self.meter.add(-self.told)


def _walk(send: Send, pages: Pages[Row]) -> Iterator[Row]:
    call = pages.first
    while True:
        page = send(call)
        yield from page.items
        if page.next_cursor is None:
            return
        call = pages.after(page.next_cursor)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
