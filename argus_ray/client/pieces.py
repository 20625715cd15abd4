"""Bytes of one file on their way to S3: pieces of it, put in parallel to presigned URLs.

A round ends at its first failure, since what fails is most often all of S3, or every URL of the same age; the caller
finds out what has arrived and begins another. Memory: a block a thread.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx

from argus_ray.client.transport import options
from argus_ray.errors import ArgusError, Conflict, InvalidRequest, Unavailable, UploadExpired

Progress = Callable[[int, int], None]

PARALLEL = 4
BLOCK_BYTES = 256 * 1024
TIMEOUT_S = 60
HEALING = frozenset({403, 408, 425, 429, 500, 502, 503, 504})
"""Statuses after which another try may do: 403 is what an expired URL gets."""
HEALING_CODES = frozenset({"RequestTimeout", "ExpiredToken"})
"""The same, of those that S3 calls a bad request."""


@dataclass(frozen=True)
class Piece:
    """A range of the file. A single PUT is one piece with the number 1."""

    number: int
    offset: int
    size_bytes: int


@dataclass(frozen=True)
class Address:
    """Where a piece goes, and the headers that its URL was signed with."""

    url: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Round:
    """What one round did: the numbers of the pieces that arrived, and why it ended early."""

    arrived: frozenset[int]
    failure: ArgusError | None


class Stopped(Exception):
    """The upload was cancelled in the middle of its work."""


class Meter:
    """Bytes that have arrived or are on their way, told by one thread at a time, and never fewer than before."""

    def __init__(self, size_bytes: int, progress: Progress | None) -> None:
        self._size_bytes = size_bytes
        self._progress = progress
        self._sent_bytes = 0
        self._told_bytes = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        """Count bytes that were sent, or take back (a negative count) what did not arrive."""
        with self._lock:
            self._sent_bytes += count
            if self._sent_bytes > self._told_bytes:
                self._told_bytes = self._sent_bytes
                if self._progress is not None:
                    self._progress(self._told_bytes, self._size_bytes)

    def finish(self) -> None:
        self.add(self._size_bytes - self._sent_bytes)


@dataclass(frozen=True)
class Sender:
    """Sends pieces of one file. Setting `stop` ends its work at the next block."""

    http: httpx.Client
    path: Path
    meter: Meter
    stop: threading.Event

    def send(self, pieces: Sequence[Piece], addresses: Mapping[int, Address]) -> Round:
        """Put these pieces. Raises Conflict when the file has become shorter, or what no other try would mend."""
        ended = threading.Event()

        def put(piece: Piece) -> ArgusError | bool:
            if ended.is_set():
                return False
            arrived = False
            try:
                failure = self._put(piece, addresses[piece.number])
                arrived = failure is None
            finally:
                if not arrived:
                    ended.set()
            return failure or True

        with ThreadPoolExecutor(PARALLEL, thread_name_prefix="argus-upload") as threads:
            try:
                outcomes = [*threads.map(put, pieces)]
            except BaseException:
                ended.set()
                self.stop.set()  # an interrupt does not wait for the pieces that are under way
                raise
        arrived = frozenset(piece.number for piece, outcome in zip(pieces, outcomes, strict=True) if outcome is True)
        return Round(arrived, next((one for one in outcomes if isinstance(one, ArgusError)), None))

    def _put(self, piece: Piece, to: Address) -> ArgusError | None:
        """Put one piece; what may heal is returned, and what may not is raised."""
        told = 0

        def blocks() -> Iterator[bytes]:
            nonlocal told
            for block in _blocks(self.path, piece, self.stop):
                yield block
                told += len(block)
                self.meter.add(len(block))

        headers = {**to.headers, "Content-Length": str(piece.size_bytes)}
        try:
            answer = self.http.put(to.url, content=blocks(), headers=headers)
        except httpx.TransportError as error:
            self.meter.add(-told)
            return Unavailable(f"S3 does not answer: {error or type(error).__name__}")
        if answer.is_success:
            return None
        self.meter.add(-told)
        code, said = _said(answer)
        if answer.status_code in HEALING or code in HEALING_CODES:
            return Unavailable(f"S3 answers {said}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise UploadExpired(f"S3 does not know this upload any more ({said})")
        raise InvalidRequest(f"S3 refuses the bytes: {said}")


def sender(path: Path, meter: Meter, stop: threading.Event) -> Sender:
    """A sender with connections of its own: close its `http`."""
    return Sender(httpx.Client(**options(TIMEOUT_S)), path, meter, stop)


def _blocks(path: Path, piece: Piece, stop: threading.Event) -> Iterator[bytes]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise Conflict(f"the file cannot be read any more: {error.strerror}") from error
    with file:
        file.seek(piece.offset)
        left = piece.size_bytes
        while left:
            if stop.is_set():
                raise Stopped
            block = file.read(min(BLOCK_BYTES, left))
            if not block:
                raise Conflict("the file has become shorter while it was being sent")
            left -= len(block)
            yield block


def _said(answer: httpx.Response) -> tuple[str, str]:
    """S3's code, and its answer in a few words."""
    code, message = (_element(name, answer.text) for name in ("Code", "Message"))
    return code, " ".join(word for word in (str(answer.status_code), code, message) if word)


def _element(name: str, xml: str) -> str:
    found = re.search(rf"<{name}>([^<]{{1,300}})</{name}>", xml)
    return found[1] if found else ""
