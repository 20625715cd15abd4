"""Sending one file: announced, its bytes put straight to S3, completed.

It is written as steps: a generator that yields calls to the API, and functions that block (they hash, send, wait). The
synchronous and the asynchronous client run them, each in its way.

The id of an unfinished upload is kept in the user's cache folder, under a name made of the project, the file with its
size and time of change, and how it is to be sampled: the same call after an interruption, or after the process was
killed, asks S3 what has arrived and sends the rest.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mimetypes
import os
import stat
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from pydantic import BaseModel

from argus_ray.client import calls
from argus_ray.client.call import Call, Pages
from argus_ray.client.pieces import Address, Meter, Piece, Progress, Round, Sender, Stopped, sender
from argus_ray.client.transport import pause_s
from argus_ray.errors import Conflict, InvalidRequest, NotFound, UploadExpired, UploadIncomplete, UploadMismatch
from argus_ray.schemas.common import Page
from argus_ray.schemas.video import Part, SamplingPolicy, Upload, UploadedPart, Video, VideoCreate, VideoCreated

T = TypeVar("T")
Row = TypeVar("Row", bound=BaseModel)
Steps = Generator[Call[Any] | Callable[[], Any], Any, T]
"""Work of several steps: what is yielded is sent or called, and its answer sent back or its error thrown in."""

AT_ONCE = 32
"""Pieces of one round: few enough that their URLs are young when they are used."""
FRUITLESS = 8
"""Rounds in a row, some 30 s, in which nothing arrived, before S3 counts as gone."""
HASHED_BYTES = 2**20
LONGEST_NAME = 200
FORGOTTEN_S = 7 * 24 * 3600


def upload(
    project_id: UUID | str,
    path: Path,
    *,
    sampling: SamplingPolicy | None,
    metadata: dict[str, Any] | None,
    progress: Progress | None,
    stop: threading.Event,
) -> Steps[Video]:
    """The steps that upload one file; the video. Setting `stop` ends what blocks.

    Raises InvalidRequest for a file that is empty or cannot be read, Conflict when it changes meanwhile.
    """
    seen = _look(path)
    meter = Meter(seen.size_bytes, progress)
    memory = _memory(project_id, path, seen, sampling, metadata)
    begun: Upload | None = yield from _begun(memory)
    resumed = begun is not None
    if begun is None:
        sha256: str = yield partial(_sha256, path, stop)
        new = VideoCreate(
            filename=_name(path),
            size_bytes=seen.size_bytes,
            content_type=mimetypes.guess_type(path.name)[0],
            sha256=sha256,
            sampling=sampling,
            metadata=metadata,
        )
        created: VideoCreated = yield calls.Videos.create(project_id, new)
        if created.upload is None:  # the project has these bytes already
            meter.finish()
            return created.video
        begun = created.upload
        _keep(memory, begun.id)
    s3 = sender(path, meter, stop)
    try:
        yield from _send_all(begun, resumed, seen.size_bytes, s3)
    except (Conflict, InvalidRequest) as error:
        yield from _give_up_if_changed(path, seen, begun, memory)
        raise type(error)(f"{path.name!r} was not uploaded: {error.detail}", **error.facts) from error
    except UploadExpired as error:
        _forget(memory)
        raise UploadExpired(f"the upload of {path.name!r} has expired: upload it again") from error
    finally:
        s3.http.close()
    yield from _give_up_if_changed(path, seen, begun, memory)
    yield calls.Videos.complete(begun.video_id)
    _forget(memory)
    meter.finish()
    video: Video = yield calls.Videos.get(begun.video_id)
    return video


# -- the file ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """What tells whether a file is still the same."""

    size_bytes: int
    mtime_ns: int


def _look(path: Path) -> Seen:
    """Raises InvalidRequest, saying what is wrong with the file."""
    try:
        facts = path.stat()
        if stat.S_ISDIR(facts.st_mode):
            raise InvalidRequest(f"{str(path)!r} is a folder: name the files in it")
        if not stat.S_ISREG(facts.st_mode):  # opening a pipe would wait for its other end
            raise InvalidRequest(f"{str(path)!r} is no ordinary file: copy it to one, since its size must be known")
        path.open("rb").close()
    except FileNotFoundError:
        what = f"is a link to {str(path.readlink())!r}, which is not there" if path.is_symlink() else "is not there"
        raise InvalidRequest(f"{str(path)!r} {what}") from None
    except OSError as error:
        raise InvalidRequest(f"{str(path)!r} cannot be read: {error.strerror}") from None
    if facts.st_size == 0:
        raise InvalidRequest(f"{str(path)!r} is empty: there is nothing to upload")
    return Seen(facts.st_size, facts.st_mtime_ns)


def _give_up_if_changed(path: Path, seen: Seen, begun: Upload, memory: Path) -> Steps[None]:
    """Abort the upload and raise Conflict if the file is not what it was."""
    try:
        same = _look(path) == seen
    except InvalidRequest:
        same = False
    if same:
        return
    _forget(memory)
    yield calls.Uploads.abort(begun.id)
    raise Conflict(
        f"{str(path)!r} changed while it was being uploaded, and was not uploaded: try again when it is done"
    )


def _name(path: Path) -> str:
    """The file's name as text that can be kept: bytes that are no UTF-8 become marks; of a long name the end is kept."""
    return os.fsencode(path.name).decode(errors="replace")[-LONGEST_NAME:]


def _sha256(path: Path, stop: threading.Event) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(HASHED_BYTES):
            if stop.is_set():
                raise Stopped
            digest.update(block)
    return digest.hexdigest()


# -- the bytes -----------------------------------------------------------------------------------


def _send_all(begun: Upload, resumed: bool, size_bytes: int, s3: Sender) -> Steps[None]:
    """Send what has not arrived. Raises what S3 last said when nothing arrives any more."""
    missing = _pieces(begun, size_bytes)
    if resumed:
        missing = yield from _not_arrived(begun, missing)
        s3.meter.add(size_bytes - sum(piece.size_bytes for piece in missing))
    addresses = _addresses(begun)
    fruitless = 0
    while missing:
        now = missing[:AT_ONCE]
        if unknown := [piece.number for piece in now if piece.number not in addresses]:
            addresses |= yield from _fresh(begun, unknown)
        done: Round = yield partial(s3.send, now, addresses)
        missing = [piece for piece in missing if piece.number not in done.arrived]
        if done.failure is None:
            continue
        addresses = {}  # they may be too old by now
        fruitless = 0 if done.arrived else fruitless + 1
        if fruitless == FRUITLESS:
            raise type(done.failure)(f"{done.failure.detail}: try again later, it goes on where it stopped")
        yield partial(_pause, fruitless, s3.stop)


def _pieces(begun: Upload, size_bytes: int) -> list[Piece]:
    part_bytes = begun.part_size_bytes or size_bytes
    return [
        Piece(number, offset, min(part_bytes, size_bytes - offset))
        for number, offset in enumerate(range(0, size_bytes, part_bytes), start=1)
    ]


def _not_arrived(begun: Upload, pieces: Sequence[Piece]) -> Steps[list[Piece]]:
    """Of a resumed upload: what S3 does not have yet, whole."""
    if begun.kind == "put":
        try:  # the process may have died between the last byte and this very call
            yield calls.Videos.complete(begun.video_id)
        except (UploadIncomplete, UploadMismatch):
            return [*pieces]
        return []
    parts: list[UploadedPart] = yield from _rows(calls.Uploads.arrived(begun.id))
    arrived = {(part.number, part.size_bytes) for part in parts}
    return [piece for piece in pieces if (piece.number, piece.size_bytes) not in arrived]


def _addresses(begun: Upload) -> dict[int, Address]:
    """Those that came with the upload."""
    if begun.url is not None:
        return {1: Address(begun.url, begun.headers)}
    return {part.number: Address(part.url, {}) for part in begun.parts or []}


def _fresh(begun: Upload, numbers: Sequence[int]) -> Steps[dict[int, Address]]:
    if begun.kind == "put":
        again: Upload = yield calls.Uploads.get(begun.id)
        return _addresses(again)
    page: Page[Part] = yield calls.Uploads.fresh_parts(begun.id, numbers)
    return {part.number: Address(part.url, {}) for part in page.items}


def _rows(pages: Pages[Row]) -> Steps[list[Row]]:
    rows: list[Row] = []
    call: Call[Page[Row]] | None = pages.first
    while call is not None:
        page: Page[Row] = yield call
        rows += page.items
        call = pages.after(page)
    return rows


def _pause(fruitless: int, stop: threading.Event) -> None:
    if stop.wait(pause_s(fruitless)):
        raise Stopped


# -- what was begun ------------------------------------------------------------------------------


def _memory(
    project_id: UUID | str, path: Path, seen: Seen, sampling: SamplingPolicy | None, metadata: dict[str, Any] | None
) -> Path:
    """The file that holds the id of this upload while it is unfinished."""
    named = [str(project_id), str(path.resolve()), seen.size_bytes, seen.mtime_ns, metadata]
    named.append(sampling.model_dump(mode="json") if sampling else None)
    key = hashlib.sha256(json.dumps(named, sort_keys=True, default=str).encode()).hexdigest()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "argus" / "uploads" / key[:32]


def _begun(memory: Path) -> Steps[Upload | None]:
    """The upload that an earlier call began, with fresh URLs, if the server still takes its bytes."""
    try:
        upload_id = UUID(memory.read_text())
    except (OSError, ValueError):  # there is none, or its writing was cut off
        return None
    try:
        begun: Upload = yield calls.Uploads.get(upload_id)
    except (NotFound, Conflict, UploadExpired):
        _forget(memory)
        return None
    return begun


def _keep(memory: Path, upload_id: UUID) -> None:
    """Remember an upload. Where the cache cannot be written, it works as well, and is not resumed if interrupted."""
    with contextlib.suppress(OSError):
        memory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        memory.write_text(str(upload_id))
        for other in memory.parent.iterdir():
            if time.time() - other.stat().st_mtime > FORGOTTEN_S:
                other.unlink()


def _forget(memory: Path) -> None:
    with contextlib.suppress(OSError):  # where it could not be written it is not there
        memory.unlink()
