"""Where a video's bytes come from: a local file, or an HTTP URL (a presigned S3 GET) read by ranges or fetched whole.

    with open_source(url, size_bytes=size, scratch=folder) as file, av.open(file) as container:
        ...

A sparse plan touches the index and a few groups of pictures, so ranges move a third of a file where a download moves all
of it; a plan that needs most of a file is served better by one stream. `open_source` decides by `share`.

Two things to know. FFmpeg takes a read error in the middle of a file for its end: a failed reader therefore keeps its
error, which `check` raises at any time and `open_source` at the end, so that a lost connection never passes for a
truncated video. And the URL is a secret while it lives: no error here repeats more of it than host and path.
"""

from __future__ import annotations

import io
import os
import random
import re
import tempfile
import time
import urllib.request
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, Self, cast
from urllib.parse import urlsplit

import certifi
import urllib3

from argus_ray.errors import ArgusError, SourceChanged, SourceGone, Unavailable

BLOCK_BYTES = 256 * 2**10
"""Smaller blocks move a little less and ask three times as often (64 KiB: 29 % of a file in 151 requests; 256 KiB: 34 %
in 48; 1 MiB: 51 % in 19)."""

WHOLE_BELOW_BYTES = 4 * 2**20
"""A smaller file costs less as one request than as its blocks."""

WHOLE_ABOVE_SHARE = 0.6
"""Ranges fetch about a third more than what is asked for: from here on they would move the whole file."""

_SEQUENTIAL_BLOCKS = 2  # of one request of a sequential reader: more moves bytes that sparse plans skip
_CACHE_BLOCKS = 2048  # blocks kept on disk: 512 MiB
_PIECE_BYTES = 2**20
_ATTEMPTS = 6
_BACKOFF_S = 0.1  # doubled each time: 3 s in all
_TIMEOUT = urllib3.Timeout(connect=10, read=30)
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}


@contextmanager
def open_source(
    location: str, *, size_bytes: int | None = None, scratch: Path | None = None, share: float = 0.0
) -> Iterator[str | BinaryIO]:
    """Something that `av.open` takes: a path, or a seekable reader of a URL.

    `share` is the part of the file's bytes that the caller expects to need, from 0 to 1. What is fetched lies in
    `scratch` (the system's temporary folder by default) and is gone afterwards. Raises SourceGone, SourceChanged,
    Unavailable: on entry, from a read, or on leaving where FFmpeg has swallowed it.
    """
    if not is_url(location):
        path = Path(location).resolve()  # absolute: FFmpeg would take "a:b.mp4" for a protocol
        if not path.is_file():
            raise SourceGone("the video's file is not there any more")
        yield str(path)
    elif size_bytes is not None and not moves_fewer_bytes_by_ranges(size_bytes, share):
        with tempfile.TemporaryDirectory(prefix="argus-", dir=scratch) as folder:
            path = Path(folder) / "video"
            download(location, path, size_bytes=size_bytes)
            yield str(path)
    else:
        with RangeReader(location, size_bytes=size_bytes, scratch=scratch) as reader:
            try:
                yield cast("BinaryIO", reader)  # all of it that a reader of files may call
            except Exception as error:
                if reader.error and error is not reader.error:
                    raise reader.error from error
                raise
            check(reader)


def check(file: object) -> None:
    """Raise what FFmpeg has swallowed so far. Before that, what was made of the file may be made of half of it."""
    if isinstance(file, RangeReader) and file.error:
        raise file.error


def is_url(location: str) -> bool:
    return location.startswith(("http://", "https://"))


def moves_fewer_bytes_by_ranges(size_bytes: int, share: float) -> bool:
    """Whether reading `share` of a file's bytes here and there is cheaper than one download."""
    return size_bytes >= WHOLE_BELOW_BYTES and share < WHOLE_ABOVE_SHARE


def download(url: str, to: Path, *, size_bytes: int | None = None) -> int:
    """Stream a URL into a file and return its size; a connection that breaks goes on where it was.

    Raises SourceChanged where the size is not `size_bytes`, SourceGone, Unavailable. Then `to` is gone.
    """
    total = 0
    try:
        with _Remote(url, size_bytes) as remote, to.open("wb") as file:
            for piece in remote.stream(0, None):
                file.write(piece)
                total += len(piece)
    except BaseException:
        to.unlink(missing_ok=True)
        raise
    return total


class RangeReader(io.RawIOBase):
    """A URL as a seekable binary file. Blocks that were fetched lie in a bounded file on disk, the least used go first.

    A reader that goes on where the last request ended gets more with each request, up to 4 MiB.
    """

    def __init__(self, url: str, *, size_bytes: int | None = None, scratch: Path | None = None) -> None:
        super().__init__()
        self.error: ArgusError | None = None
        """The first failure: everything after it fails the same way."""
        self._remote = _Remote(url, size_bytes)
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="argus-", dir=scratch)  # noqa: SIM115 closed in close()
        self._slots: OrderedDict[int, int] = OrderedDict()  # block -> place in the file, least recently used first
        self._whole = False
        self._position = 0
        self._expected_block = 0
        if size_bytes is None:
            self._guarded(0)

    @property
    def bytes_fetched(self) -> int:
        return self._remote.bytes_fetched

    @property
    def requests(self) -> int:
        return self._remote.requests

    @property
    def size_bytes(self) -> int:
        assert self._remote.size_bytes is not None
        return self._remote.size_bytes

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size_bytes}[whence]
        if base + offset < 0:
            raise ValueError(f"cannot seek to {base + offset}, before the start of the file")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        wanted = min(len(view), max(0, self.size_bytes - self._position))
        done = 0
        while done < wanted:
            block, offset = divmod(self._position, BLOCK_BYTES)
            count = min(wanted - done, BLOCK_BYTES - offset)
            place = self._guarded(block)
            self._file.seek(place * BLOCK_BYTES + offset)
            view[done : done + count] = self._file.read(count)
            done += count
            self._position += count
        return done

    def close(self) -> None:
        if not self.closed:
            self._file.close()
            self._remote.close()
        super().close()

    def _guarded(self, block: int) -> int:
        if self.error:
            raise self.error
        try:
            return self._place(block)
        except ArgusError as error:
            self.error = error
            raise

    def _place(self, block: int) -> int:
        """Where in the file the block lies; fetches it and what follows where it is not there."""
        if block not in self._slots and not self._whole:
            count = _SEQUENTIAL_BLOCKS if block == self._expected_block else 1
            try:
                self._fetch(block, block + count)
            except _WholeOnlyError:
                self._fetch_all()
        if self._whole:
            return block
        self._slots.move_to_end(block)
        return self._slots[block]

    def _fetch(self, first: int, end: int) -> None:
        """One request for the missing run of blocks that begins at `first`, at most up to `end`."""
        end = next((block for block in range(first + 1, end) if block in self._slots), end)
        block, rest = first, bytearray()
        for piece in self._remote.stream(first * BLOCK_BYTES, end * BLOCK_BYTES):
            rest += piece
            while len(rest) >= BLOCK_BYTES:
                self._keep(block, rest[:BLOCK_BYTES])
                del rest[:BLOCK_BYTES]
                block += 1
        if rest or not self.size_bytes:
            self._keep(block, rest)
        self._expected_block = end

    def _keep(self, block: int, content: bytearray) -> None:
        place = len(self._slots) if len(self._slots) < _CACHE_BLOCKS else self._slots.popitem(last=False)[1]
        self._file.seek(place * BLOCK_BYTES)
        self._file.write(content)
        self._slots[block] = place

    def _fetch_all(self) -> None:
        """The server sends the whole file, whatever one asks for: take it once."""
        self._file.seek(0)
        for piece in self._remote.stream(0, None):
            self._file.write(piece)
        self._whole = True


_ODD = "it does not behave like an object store"
_CONTENT_RANGE = re.compile(r"bytes (?:(?P<first>\d{1,18})-(?P<last>\d{1,18})|\*)/(?P<total>\d{1,18}|\*)")


class _WholeOnlyError(Exception):
    """The server does not know ranges."""


class _TransientError(Exception):
    """An answer that a second request may better."""


class _Remote:
    """One object behind a URL: kept-alive connection, retries, and the certainty that it stays the same object."""

    def __init__(self, url: str, size_bytes: int | None) -> None:
        self.size_bytes: int | None = None
        self.bytes_fetched = self.requests = 0
        self._url = url
        self._etag: str | None = None
        parts = urlsplit(url)
        self._where = f"{parts.hostname}{parts.path}"  # never the query: it holds the signature
        options: dict[str, Any] = {"retries": False, "ca_certs": os.environ.get("SSL_CERT_FILE") or certifi.where()}
        proxy = urllib.request.getproxies().get(parts.scheme)
        if proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
            self._pool: urllib3.PoolManager = urllib3.ProxyManager(proxy, **options)
        else:
            self._pool = urllib3.PoolManager(**options)
        if size_bytes is not None:
            self._same_size(size_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._pool.clear()

    def stream(self, start: int, end: int | None) -> Iterator[bytes]:
        """The bytes from `start` up to `end` or the file's end. What breaks on the way goes on where it was."""
        failures = 0
        while not self._reached(start, end):
            before = start
            failure: Exception | None = None
            try:
                for piece in self._once(start, end):
                    start += len(piece)
                    failures = 0 if len(piece) == _PIECE_BYTES else failures
                    yield piece
            except (urllib3.exceptions.HTTPError, _TransientError) as error:
                failure = error
            if failure is None and start == before and not self._reached(start, end):
                failure = _TransientError("an empty answer")
            if failure is not None:
                failures += 1
                if failures == _ATTEMPTS:
                    raise Unavailable(
                        f"the video could not be read from {self._where} in {_ATTEMPTS} attempts "
                        f"({type(failure).__name__}: {failure}): is the object store up?"
                    ) from failure
                time.sleep(_BACKOFF_S * 2**failures * random.uniform(0.5, 1))  # noqa: S311 jitter, not a secret

    def _reached(self, start: int, end: int | None) -> bool:
        return (end is not None and start >= end) or (self.size_bytes is not None and start >= self.size_bytes)

    def _once(self, start: int, end: int | None) -> Iterator[bytes]:
        """One request, checked: yields bytes from `start` on, perhaps fewer than asked for, never one beyond `end`."""
        headers = {"Accept-Encoding": "identity", "Range": f"bytes={start}-{'' if end is None else end - 1}"}
        if self._etag and not self._etag.startswith("W/"):  # a weak one never matches
            headers["If-Match"] = self._etag
        response = self._pool.request(
            "GET", self._url, headers=headers, preload_content=False, redirect=False, timeout=_TIMEOUT
        )
        self.requests += 1
        try:
            skip, left = self._checked(response, start, end)
            while skip + left > 0:
                piece = response.read(min(_PIECE_BYTES, skip or left), decode_content=False)
                self.bytes_fetched += len(piece)
                if not piece:
                    return
                if skip:
                    skip -= len(piece)
                else:
                    left -= len(piece)
                    yield piece
        finally:
            response.close()  # where the answer was read to its end, its connection is back in the pool already

    def _checked(self, response: urllib3.BaseHTTPResponse, start: int, end: int | None) -> tuple[int, int]:
        """How many bytes of the answer to skip, and how many to take then."""
        status = response.status
        if status not in (200, 206, 416):
            raise self._refusal(status)
        self._same_etag(response.headers.get("ETag"))
        if status == 200:
            length = response.headers.get("Content-Length", "")
            if length.isdecimal():
                self._same_size(int(length))
            if end is not None and (start, end) != (0, self.size_bytes):
                raise _WholeOnlyError
            return start, self._size() - start
        said = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if status == 416:
            if said and said["total"] != "*":
                self._same_size(int(said["total"]))
            return 0, 0
        if not said or said["first"] is None or int(said["first"]) != start:
            content_range = response.headers.get("Content-Range")
            raise Unavailable(f"{self._where} was asked for bytes from {start} and sent {content_range!r}: {_ODD}")
        if said["total"] != "*":
            self._same_size(int(said["total"]))
        stop = min(int(said["last"]) + 1, self._size() if end is None else end, self._size())
        return 0, max(0, stop - start)

    def _refusal(self, status: int) -> Exception:
        if status in _TRANSIENT:
            return _TransientError(f"HTTP {status}")
        if status == 412:
            return self._changed("another ETag")
        if status in (404, 410):
            return SourceGone(f"{self._where} answered {status}: the object is not there any more", http_status=status)
        if status in (401, 403):
            return SourceGone(
                f"{self._where} answered {status}: the link has expired or is not valid, ask for a new one",
                http_status=status,
            )
        return Unavailable(f"{self._where} answered {status} to a GET: {_ODD}", http_status=status)

    def _same_etag(self, etag: str | None) -> None:
        if self._etag is not None and etag != self._etag:
            raise self._changed(f"ETag {etag} instead of {self._etag}")
        self._etag = etag

    def _same_size(self, size_bytes: int) -> None:
        if self.size_bytes is not None and size_bytes != self.size_bytes:
            raise self._changed(f"{size_bytes} bytes instead of {self.size_bytes}")
        self.size_bytes = size_bytes

    def _size(self) -> int:
        if self.size_bytes is None:
            raise Unavailable(f"{self._where} does not say how long the file is: {_ODD}")
        return self.size_bytes

    def _changed(self, what: str) -> SourceChanged:
        return SourceChanged(
            f"the file at {self._where} is not the one that was there before ({what}): ingest the video again"
        )
