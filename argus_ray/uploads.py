"""Bringing videos in: start, complete, abort an upload; take a file that lies in a bucket already.

    POST videos ──▶ awaiting_upload ──▶ bytes straight to S3 ──▶ complete ──▶ uploaded, and a queued ingest
                          │                                         │
                          └── aborted, or swept when it expires      └── asks S3 itself what arrived

S3 is the only witness: sizes, parts and ETags in a client's words are compared with what S3 says, never believed. State
and job are written in one transaction under a lock of the video's row, so of two completes one does the work and both
tell of the same job. A complete whose transaction is lost after S3 has joined the parts finds the object at its next try.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from argus_ray.catalog import jobs, videos
from argus_ray.catalog import uploads as rows
from argus_ray.catalog.statement import AsyncTx
from argus_ray.catalog.uploads import UploadRow
from argus_ray.catalog.videos import VideoRow
from argus_ray.errors import (
    ConfigurationError,
    Conflict,
    InvalidRequest,
    NotFound,
    UploadExpired,
    UploadIncomplete,
    UploadMismatch,
    VideoTooLarge,
)
from argus_ray.ingests import to_change
from argus_ray.s3 import S3, ArrivedPart, Location, locate, original_key, part_size_bytes
from argus_ray.schemas.job import Job
from argus_ray.schemas.video import (
    CompletedPart,
    CompleteUpload,
    Part,
    Upload,
    VideoCreate,
    VideoCreated,
    VideoImport,
    VideoState,
)
from argus_ray.settings import Settings

PARTS_AT_ONCE = 1000
LONGEST_URL_S = 7 * 24 * 3600
"""Signature Version 4 allows no more."""
NAMED = 10
"""How many parts an error names."""
_PLAIN_KEY = re.compile(r"(?!.*(^|/)\.{0,2}(/|$))[^\x00-\x1f\x7f\\]+")
"""No empty, `.` or `..` segment, since some servers and clients resolve them; no control characters."""


async def start(tx: AsyncTx, s3: S3, settings: Settings, project_id: UUID, new: VideoCreate) -> VideoCreated:
    """Announce a video; the answer says where to send its bytes. No upload where the project has these bytes already.

    Raises VideoTooLarge.
    """
    _check_size(new.size_bytes, settings)
    if new.sha256 and (existing := await tx.maybe(videos.with_bytes(project_id, new.sha256))):
        return VideoCreated(video=existing)
    video = await tx.one(videos.insert(project_id, new))
    expires_at = datetime.now(UTC) + timedelta(seconds=settings.upload_expires_s)
    if new.size_bytes < settings.multipart_threshold_bytes:
        row = await tx.one(rows.insert(project_id, video.id, expires_at=expires_at))
        return VideoCreated(video=video, upload=_put(s3, row, video))
    part_bytes = part_size_bytes(new.size_bytes)
    # where the transaction fails after this, nobody knows the upload at S3, and the sweeper finds it by its age
    key = original_key(project_id, video.id)
    s3_upload_id = await asyncio.to_thread(s3.create_multipart, key, new.content_type)
    row = await tx.one(
        rows.insert(
            project_id,
            video.id,
            expires_at=expires_at,
            s3_upload_id=s3_upload_id,
            part_size_bytes=part_bytes,
            part_count=-(-new.size_bytes // part_bytes),
        )
    )
    return VideoCreated(video=video, upload=_multipart(s3, settings, row))


async def look(tx: AsyncTx, s3: S3, settings: Settings, upload_id: UUID) -> Upload:
    """An open upload as `start` told of it, with fresh URLs."""
    row = await _open_upload(tx, upload_id)
    if row.kind == "put":
        return _put(s3, row, await tx.one(videos.get(row.video_id)))
    return _multipart(s3, settings, row)


async def fresh_parts(tx: AsyncTx, s3: S3, settings: Settings, upload_id: UUID, numbers: Sequence[int]) -> list[Part]:
    """Fresh URLs of these parts. Raises InvalidRequest for a number that the upload does not have."""
    row = await _open_upload(tx, upload_id)
    count = _part_count(row)
    if beyond := [number for number in numbers if not 1 <= number <= count]:
        raise InvalidRequest(f"the upload has the parts 1 to {count}, and {beyond[0]} is none of them")
    return _parts(s3, settings, row, numbers)


async def arrived_parts(
    tx: AsyncTx, s3: S3, upload_id: UUID, *, after: int, limit: int
) -> tuple[list[ArrivedPart], int | None]:
    """One page of the parts that S3 has, and the number after which the next page begins, or None."""
    row = await tx.one(rows.get(upload_id))
    _require_open(row)
    _part_count(row)
    video = await tx.one(videos.get(row.video_id))
    try:
        parts, following = await asyncio.to_thread(
            s3.list_parts, _key(row), row.s3_upload_id or "", after=after, limit=limit
        )
    except NotFound as error:
        raise _gone() from error
    return _one_each(row, parts, video.size_bytes or 0, None), following


async def complete(tx: AsyncTx, s3: S3, video_id: UUID, said: CompleteUpload) -> Job:
    """Check at S3 that a video's bytes have arrived, and queue its ingest; the job. Again gives the same job.

    Raises UploadIncomplete (what is missing), UploadMismatch (the upload stays open), UploadExpired.
    """
    video = await to_change(tx, videos.lock(video_id), videos.get(video_id))
    if video.state is not VideoState.AWAITING_UPLOAD:
        return await tx.one(jobs.first_of_video(video.project_id, video_id))
    upload = await tx.one(rows.open_of_video(video_id))
    _require_open(upload)
    whole = s3.at(_key(upload))
    if upload.kind == "put":
        arrived = await _arrived_whole(s3, whole)
        if not arrived:
            raise UploadIncomplete("nothing has arrived: PUT the bytes to the upload's URL, then complete again")
        _check_said(said.parts, arrived)
    else:
        await _join(s3, upload, whole, video.size_bytes or 0, said.parts)
        arrived = await _arrived_whole(s3, whole)
    size_bytes = sum(part.size_bytes for part in arrived)
    if size_bytes != video.size_bytes:
        raise UploadMismatch(
            f"{size_bytes} bytes arrived and {video.size_bytes} were announced: send the right ones to the same upload",
            arrived_bytes=size_bytes,
            announced_bytes=video.size_bytes,
        )
    await tx.one(videos.arrive(video_id))
    await tx.one(rows.end(upload.id, "completed"))
    return await tx.one(jobs.insert_ingest(video.project_id, video_id))


async def abort(tx: AsyncTx, s3: S3, upload_id: UUID) -> None:
    """Give an upload up, here and at S3; its video goes with it. Again changes nothing. Raises Conflict when completed."""
    row = await tx.one(rows.get(upload_id))
    await tx.maybe(videos.lock(row.video_id))
    row = await to_change(tx, rows.get_to_write(upload_id), rows.get(upload_id))
    if row.state == "completed":
        raise Conflict("the upload is completed: delete the video instead", video_id=str(row.video_id))
    await tx.maybe(rows.end(upload_id, "aborted"))
    if row.s3_upload_id:
        await asyncio.to_thread(s3.abort_multipart, _key(row), row.s3_upload_id)
    else:
        await asyncio.to_thread(s3.delete_many, [_key(row)])


async def import_(tx: AsyncTx, s3: S3, settings: Settings, project_id: UUID, asked: VideoImport) -> Job:
    """Take a file that lies in a bucket, without copying it, and queue its ingest; the job.

    Raises InvalidRequest for what is not below one of the settings' prefixes or cannot be read, VideoTooLarge.
    """
    at = locate(asked.uri)
    if not importable(at, settings):
        raise InvalidRequest(
            f"{asked.uri} is not below a prefix that this Argus imports from: "
            f"{', '.join(settings.import_prefixes) or 'there is none; an operator sets ARGUS_IMPORT_PREFIXES'}"
        )
    try:
        found = await asyncio.to_thread(s3.head, at)
    except ConfigurationError as error:
        raise InvalidRequest(f"this Argus may not read {asked.uri}: an operator must give it the right to") from error
    if found is None or found.size_bytes == 0:
        raise InvalidRequest(f"{asked.uri} is {'not there' if found is None else 'empty'}: nothing was imported")
    _check_size(found.size_bytes, settings)
    video = await tx.one(
        videos.insert_imported(
            project_id,
            name=asked.filename or at.key.rpartition("/")[2][-200:],
            source_uri=asked.uri,
            size_bytes=found.size_bytes,
            content_type=found.content_type,
            sampling=asked.sampling,
            metadata=asked.metadata,
        )
    )
    return await tx.one(jobs.insert_ingest(project_id, video.id))


def importable(at: Location, settings: Settings) -> bool:
    """Whether the object lies below a prefix that projects may import from, and is no project's own."""
    if not _PLAIN_KEY.fullmatch(at.key) or (at.bucket == settings.bucket and at.key.startswith("projects/")):
        return False
    for allowed in settings.import_prefixes:
        bucket, _, prefix = allowed.removeprefix("s3://").partition("/")
        folder = prefix if prefix.endswith("/") or not prefix else f"{prefix}/"
        if allowed.startswith("s3://") and at.bucket == bucket and at.key.startswith(folder):
            return True
    return False


# -- what S3 has ---------------------------------------------------------------------------------


async def _arrived_whole(s3: S3, at: Location) -> list[ArrivedPart]:
    """The object as if it were one part; empty where there is none."""
    head = await asyncio.to_thread(s3.head, at)
    return [] if head is None else [ArrivedPart(1, head.size_bytes, head.etag, head.modified_at)]


async def _join(s3: S3, upload: UploadRow, whole: Location, size_bytes: int, said: list[CompletedPart] | None) -> None:
    """Have S3 make one object of the parts, when all are there and right; or find that it has done so before."""
    s3_upload_id = upload.s3_upload_id or ""
    try:
        parts = await asyncio.to_thread(s3.all_parts, whole.key, s3_upload_id)
        arrived = _one_each(upload, parts, size_bytes, said)
        _check_parts(upload, arrived, size_bytes)
        _check_said(said, arrived)
        await asyncio.to_thread(s3.complete_multipart, whole.key, s3_upload_id, arrived)
    except NotFound as error:
        if not await _arrived_whole(s3, whole):
            raise _gone() from error


def _one_each(
    upload: UploadRow, parts: Sequence[ArrivedPart], size_bytes: int, said: Sequence[CompletedPart] | None
) -> list[ArrivedPart]:
    """Of a part that was sent more than once: the one that the client names, else one of the right size, else the last."""
    etags = {(part.number, _bare(part.etag)) for part in said or ()}

    def worth(part: ArrivedPart) -> tuple[bool, bool, datetime]:
        right = part.size_bytes == _expected_bytes(upload, part.number, size_bytes)
        return (part.number, _bare(part.etag)) in etags, right, part.modified_at

    best = {part.number: part for part in sorted(parts, key=worth)}
    return [best[number] for number in sorted(best) if number <= _part_count(upload)]


def _expected_bytes(upload: UploadRow, number: int, size_bytes: int) -> int:
    count, part_bytes = _part_count(upload), upload.part_size_bytes or 0
    return part_bytes if number < count else size_bytes - (count - 1) * part_bytes


def _bare(etag: str) -> str:
    """ETags come with their quotes or without."""
    return etag.removeprefix("W/").strip('"')


def _check_parts(upload: UploadRow, arrived: Sequence[ArrivedPart], size_bytes: int) -> None:
    count = _part_count(upload)
    for part in arrived:
        expected = _expected_bytes(upload, part.number, size_bytes)
        if part.size_bytes != expected:
            raise UploadMismatch(
                f"part {part.number} has {part.size_bytes} bytes and should have {expected}: send it again",
                part=part.number,
                arrived_bytes=part.size_bytes,
                announced_bytes=expected,
            )
    missing = sorted(set(range(1, count + 1)) - {part.number for part in arrived})
    if missing:
        some = ", ".join(map(str, missing[:NAMED])) + (", …" if len(missing) > NAMED else "")
        raise UploadIncomplete(
            f"{len(missing)} of {count} parts have not arrived ({some}): PUT them, then complete again",
            missing=missing[:PARTS_AT_ONCE],
        )


def _check_said(said: Sequence[CompletedPart] | None, arrived: Sequence[ArrivedPart]) -> None:
    """Compare a client's own list with what S3 has."""
    etags = {part.number: _bare(part.etag) for part in arrived}
    for part in said or ():
        if part.number not in etags:
            raise UploadMismatch(f"part {part.number} is in your list and S3 has none: send it again", part=part.number)
        if _bare(part.etag) != etags[part.number]:
            raise UploadMismatch(
                f"part {part.number} has the ETag {etags[part.number]} at S3 and another in your list: send it again",
                part=part.number,
            )


# -- answers -------------------------------------------------------------------------------------


def _put(s3: S3, row: UploadRow, video: VideoRow) -> Upload:
    left_s = round((row.expires_at - datetime.now(UTC)).total_seconds())
    url, headers = s3.presign_put(
        _key(row),
        expires_s=max(1, min(left_s, LONGEST_URL_S)),  # as long as the upload, so that `expires_at` is true of both
        size_bytes=video.size_bytes or 0,
        content_type=video.content_type,
        sha256=video.sha256,
    )
    return Upload(id=row.id, video_id=row.video_id, kind="put", expires_at=row.expires_at, url=url, headers=headers)


def _multipart(s3: S3, settings: Settings, row: UploadRow) -> Upload:
    count = _part_count(row)
    return Upload(
        id=row.id,
        video_id=row.video_id,
        kind="multipart",
        expires_at=row.expires_at,
        part_size_bytes=row.part_size_bytes,
        part_count=count,
        parts=_parts(s3, settings, row, range(1, min(count, PARTS_AT_ONCE) + 1)),
    )


def _parts(s3: S3, settings: Settings, row: UploadRow, numbers: Sequence[int]) -> list[Part]:
    urls = s3.presign_parts(_key(row), row.s3_upload_id or "", numbers, expires_s=settings.url_expires_s)
    return [Part(number=number, url=url) for number, url in urls]


async def _open_upload(tx: AsyncTx, upload_id: UUID) -> UploadRow:
    row = await to_change(tx, rows.get_to_write(upload_id), rows.get(upload_id))
    _require_open(row)
    return row


def _require_open(row: UploadRow) -> None:
    if row.state != "open":
        raise Conflict(f"the upload is {row.state}: there is nothing more to send", state=row.state)
    if row.expires_at <= datetime.now(UTC):
        raise UploadExpired(
            f"the upload expired at {row.expires_at:%Y-%m-%dT%H:%M:%SZ}: announce the video again and send it anew"
        )


def _part_count(row: UploadRow) -> int:
    if row.part_count is None:
        raise Conflict("the upload is a single PUT and has no parts: send the bytes to its URL")
    return row.part_count


def _key(row: UploadRow) -> str:
    return original_key(row.project_id, row.video_id)


def _gone() -> UploadExpired:
    return UploadExpired("S3 does not know this upload any more: announce the video again and send it anew")


def _check_size(size_bytes: int, settings: Settings) -> None:
    if size_bytes > settings.max_size_bytes:
        raise VideoTooLarge(
            f"the video has {size_bytes} bytes and the limit is {settings.max_size_bytes}: send a shorter or more "
            "compressed one, or have an operator raise ARGUS_MAX_SIZE_BYTES",
            size_bytes=size_bytes,
            limit_bytes=settings.max_size_bytes,
        )
