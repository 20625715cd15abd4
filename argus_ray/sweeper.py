"""Sweeping: what was given up, deleted or has grown old goes, in the database and at S3 and Storage.

Run it now and then; one run takes about `budget_s` and leaves the rest to the next. Every deletion may happen twice, and
a store that does not answer is left alone for a while, longer each time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from argus_ray.catalog import sweeps
from argus_ray.catalog.connect import Database
from argus_ray.catalog.sweeps import Doomed
from argus_ray.errors import ConfigurationError, Unavailable
from argus_ray.s3 import S3
from argus_ray.thumbnails import Thumbnails

KEEP_ANSWERS = timedelta(hours=24)
KEEP_SEGMENTS = timedelta(days=7)
KEEP_DELETED = timedelta(days=30)
STALE_UPLOAD = timedelta(days=1)
"""An upload at S3 that no row knows is left from a transaction that failed, when it is older than any transaction."""


@dataclass(frozen=True)
class Swept:
    """How much went. `put_off` counts objects whose store did not answer, or whose video is being ingested."""

    uploads: int = 0
    objects: int = 0
    put_off: int = 0
    videos: int = 0
    segments: int = 0
    answers: int = 0


def sweep(db: Database, s3: S3, thumbnails: Thumbnails | None, now: datetime, *, budget_s: float = 5) -> Swept:
    """One run. `thumbnails` is None where no Storage is configured. Raises Unavailable when Postgres is gone."""
    end = time.monotonic() + budget_s
    with db.transaction() as tx:
        uploads = len(tx.all(sweeps.expire_uploads(now)))
        videos = len(tx.all(sweeps.prune_videos(now - KEEP_DELETED)))
        segments = len(tx.all(sweeps.prune_segments(now - KEEP_SEGMENTS)))
        answers = tx.run(sweeps.prune_answers(now - KEEP_ANSWERS))
    done, put_off = _delete_objects(db, s3, thumbnails, now, end)
    frames, frames_put_off = _delete_frames(db, s3, now, end)
    stale, stale_put_off = _abort_stale(db, s3, now)
    return Swept(
        uploads=uploads + stale,
        objects=done + frames,
        put_off=put_off + frames_put_off + stale_put_off,
        videos=videos,
        segments=segments,
        answers=answers,
    )


def _delete_objects(db: Database, s3: S3, thumbnails: Thumbnails | None, now: datetime, end: float) -> tuple[int, int]:
    with db.transaction() as tx:
        claimed = tx.all(sweeps.claim(now))
    done: list[int] = []
    failed: list[int] = []
    away: set[str] = set()
    for doomed in claimed:
        if time.monotonic() > end:
            break
        if doomed.store in away:
            failed.append(doomed.id)
            continue
        try:
            if _delete(doomed, s3, thumbnails, end):
                done.append(doomed.id)
        except (Unavailable, ConfigurationError):  # the claim has put it off already
            away.add(doomed.store)
            failed.append(doomed.id)
    with db.transaction() as tx:
        tx.run(sweeps.forget(done))
        tx.run(sweeps.again([doomed.id for doomed in claimed if doomed.id not in {*done, *failed}], now))
    return len(done), len(failed)


def _delete(doomed: Doomed, s3: S3, thumbnails: Thumbnails | None, end: float) -> bool:
    """Whether it is all gone: a prefix may hold more than there is time for."""
    match doomed.store:
        case "s3-prefix":
            while s3.delete_below(doomed.key):
                if time.monotonic() > end:
                    return False
        case "s3-upload":
            s3.abort_multipart(doomed.key, doomed.s3_upload_id or "")
        case "thumbnails" if thumbnails is not None:
            thumbnails.delete([doomed.key])
    return True


def _delete_frames(db: Database, s3: S3, now: datetime, end: float) -> tuple[int, int]:
    """Delete frames' objects while their videos are held, so that no ingest writes them at the same time."""
    deleted = put_off = 0
    while time.monotonic() <= end:
        with db.transaction() as tx:
            frames = tx.all(sweeps.lock_frames(now))
            held = [frame for frame in frames if frame.held]
            doomed = [frame.key for frame in held if not frame.named]
            try:
                s3.delete_many(doomed)
            except (Unavailable, ConfigurationError):
                held, doomed = [], []
            left = {frame.id for frame in frames} - {frame.id for frame in held}
            tx.run(sweeps.forget([frame.id for frame in held]))
            tx.run(sweeps.put_off(list(left), now))
        deleted, put_off = deleted + len(doomed), put_off + len(left)
        if not held:
            break
    return deleted, put_off


def _abort_stale(db: Database, s3: S3, now: datetime) -> tuple[int, int]:
    try:
        stale = s3.stale_multiparts("projects/", now - STALE_UPLOAD)
    except (Unavailable, ConfigurationError):
        return 0, 0
    with db.transaction() as tx:
        known = set(tx.all(sweeps.open_uploads([s3_upload_id for _, s3_upload_id in stale])))
    unknown = [(key, s3_upload_id) for key, s3_upload_id in stale if s3_upload_id not in known]
    for aborted, (key, s3_upload_id) in enumerate(unknown):
        try:
            s3.abort_multipart(key, s3_upload_id)
        except (Unavailable, ConfigurationError):
            return aborted, len(unknown) - aborted
    return len(unknown), 0
