"""FrameExtractor: a claimed segment becomes chunks of frames; their JPEGs go to S3 on the way.

Ray replays a crashed actor's call for ever, with the same row, and drops by position what was delivered before. So the
video is decoded in a child process, whose death is an error here and not the actor's; the start is counted in Postgres,
under the fence; and whatever ends a segment before its last chunk, the file's own faults apart, is written here, in one
fenced statement, and yields nothing: a row could be swallowed.

    fault                                        what happens
    of the file (VideoError)                     a chunk with `error`: the segment fails
    the decoder crashed, hung                    queued again for later; fails when its attempts are used up
    S3 is away, or refuses                       given back for later; the attempt does not count
    another run holds the segment, cancelled     the work stops, nothing is written
    the actor or its node dies                   Ray calls again; an attempt counts unless it was the node
"""

from __future__ import annotations

import hashlib
import json
import logging
import random
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import cached_property
from typing import Any, cast
from uuid import UUID

import numpy as np

from argus_ray import s3 as objects
from argus_ray.catalog import ingest, segments
from argus_ray.catalog.connect import Database, worker_url
from argus_ray.catalog.ingest import Started
from argus_ray.catalog.segments import Claim
from argus_ray.errors import (
    ArgusError,
    ChecksumMismatch,
    ConfigurationError,
    FenceLost,
    NotFound,
    SourceChanged,
    SourceGone,
    Unavailable,
    VideoError,
)
from argus_ray.pipelines import settling
from argus_ray.pipelines.posters import NO_POSTER, poster_of
from argus_ray.pipelines.stages.attempts import is_preempted, this_node
from argus_ray.pipelines.stages.rows import ClaimedSegment, FrameChunk
from argus_ray.s3 import S3
from argus_ray.schemas.video import SamplingPolicy
from argus_ray.settings import Settings
from argus_ray.thumbnails import Thumbnails, thumbnail_key
from argus_ray.video import work
from argus_ray.video.decode import Kept, Summary
from argus_ray.video.limits import Limits
from argus_ray.video.pictures import Output
from argus_ray.video.probe import Probe
from argus_ray.video.process import DecodeProcess
from argus_ray.video.segments import SegmentPlan
from argus_ray.video.work import Stored, Survey

log = logging.getLogger(__name__)

URL_EXPIRES_S = 12 * 3600  # longer than any segment may take, and never shown to anybody
TOUCH_S = 10


class FrameExtractor:
    """ClaimedSegment in, FrameChunks out. `image_size` is the side of the model's input, in pixels."""

    def __init__(self, settings: Settings, image_size: int, *, patience_s: float = 60) -> None:
        self.settings = settings
        self.patience_s = patience_s
        self.output = Output(long_side=settings.frame_long_side, quality=settings.jpeg_quality, model_size=image_size)
        self.limits = Limits(
            max_duration_s=settings.max_duration_s,
            max_pixels=settings.max_pixels,
            max_video_frames=settings.max_video_frames,
            max_frames_kept=settings.max_frames_kept,
            max_size_bytes=settings.max_size_bytes,
        )
        self.database = Database(worker_url(settings))
        # this side of the network, not the clients'
        self.s3 = S3(settings.model_copy(update={"s3_public_endpoint": None}))
        self.decoder = DecodeProcess(settings.decode_memory_bytes)
        self.aside = ThreadPoolExecutor(1, thread_name_prefix="poster")

    def __call__(self, row: ClaimedSegment) -> Iterator[FrameChunk]:
        claim = Claim(UUID(row["segment_id"]), UUID(row["run_id"]), int(row["fence"]))
        segment = self._start(claim)
        if segment is None:
            return
        if segment.attempts > self.settings.max_attempts:
            self._again(segment, _used_up(segment))
            return
        chunks = _Chunks(segment, self.settings.chunk_frames)
        try:
            yield from self._extracted(segment, chunks)
        except FenceLost:
            log.info("segment %s is with another run or cancelled: its extraction stops", segment.segment_id)
        except (VideoError, SourceChanged) as error:
            yield chunks.failed(error)
        except NotFound:
            yield chunks.failed(_gone())
        except (Unavailable, ConfigurationError, SourceGone) as error:
            if isinstance(error, SourceGone) and error.facts.get("http_status") in {404, 410}:
                yield chunks.failed(error)
                return
            log.warning("segment %s is given back: %s", segment.segment_id, error)
            self.database.retry(lambda tx: tx.maybe(segments.give_back(claim)))
        except ArgusError as error:
            log.warning("segment %s, attempt %d: %s", segment.segment_id, segment.attempts, error)
            self._again(segment, error)
        except Exception as error:
            log.exception("segment %s, attempt %d", segment.segment_id, segment.attempts)
            self._again(segment, ArgusError(f"frames could not be extracted: {type(error).__name__}: {error}"))

    # -- beginning and giving up ---------------------------------------------------------------------

    def _start(self, claim: Claim) -> Started | None:
        preempted = is_preempted(self.database, claim)
        node = this_node()
        return self.database.retry(lambda tx: tx.maybe(ingest.start(claim, node=node, preempted=preempted)))

    def _again(self, segment: Started, error: ArgusError) -> None:
        """Queue the segment again, or fail it where its attempts are used up."""
        most = self.settings.max_attempts
        try:
            self.database.retry(
                lambda tx: settling.retry_or_fail(tx, segment.claim, segment.job_id, error.reason(), max_attempts=most)
            )
        except FenceLost:
            log.info("segment %s is with another run already", segment.segment_id)

    # -- the work ------------------------------------------------------------------------------------

    def _extracted(self, segment: Started, chunks: _Chunks) -> Iterator[FrameChunk]:
        source = self.s3.original(segment.project_id, segment.video_id, segment.source_uri)
        if segment.plan is None and segment.sha256_to_check:
            self._check_bytes(segment, source)
        stored = Stored(
            location=self.s3.presign_get(source, expires_s=URL_EXPIRES_S),
            filename=segment.name,
            size_bytes=segment.size_bytes or self._size_bytes(source),
            scratch=self.settings.scratch,
        )
        poster: Future[None] | None = None
        decoded = self._decoded(segment, stored, chunks)
        with closing(decoded):  # leaving early ends the child
            for item in decoded:
                if isinstance(item, Survey):
                    chunks.plan = item.segments[0]
                    self._plan(segment, item)
                    continue
                full = chunks.summed_up(item) if isinstance(item, Summary) else chunks.added(item)
                if full is None:
                    continue
                if segment.number == 0 and full.number == 0 and full.frames:
                    poster = self._store_poster(segment, full)
                self._store(segment, full)
                if full.summary and poster:
                    full.take_poster(poster)
                if not full.summary:
                    self._still_held(segment)
                yield full.row()

    def _decoded(self, segment: Started, stored: Stored, chunks: _Chunks) -> Generator[Survey | Kept | Summary]:
        """The segment in the child process; where nobody has planned the video, its survey comes first."""
        policy = SamplingPolicy.model_validate(segment.sampling)
        chunks.why = policy.policy
        limits = {"timeout_s": self.settings.decode_timeout_s, "stall_s": self.settings.decode_stall_s}
        if segment.plan is None:
            budget = self.settings.segment_decode_frames
            yield from self.decoder.run(work.begin, stored, policy, self.output, self.limits, budget, **limits)
            return
        chunks.plan = SegmentPlan.model_validate(segment.plan)
        probe = Probe.model_validate(segment.probe)
        yield from self.decoder.run(work.resume, stored, probe, chunks.plan, policy, self.output, self.limits, **limits)

    def _size_bytes(self, source: objects.Location) -> int:
        """Of an imported file. Raises SourceGone."""
        head = self.s3.head(source)
        if head is None:
            raise _gone()
        return head.size_bytes

    def _check_bytes(self, segment: Started, source: objects.Location) -> None:
        """Of an upload in parts S3 could not check the announced SHA-256: read it once. Raises ChecksumMismatch."""
        digest, touched = hashlib.sha256(), time.monotonic()
        for piece in self.s3.stream(source):
            digest.update(piece)
            if time.monotonic() - touched > TOUCH_S:
                self.database.retry(lambda tx: tx.one(segments.touch(segment.claim)))
                touched = time.monotonic()
        if digest.hexdigest() != segment.sha256_to_check:
            raise ChecksumMismatch(
                f"the bytes have the SHA-256 {digest.hexdigest()} and {segment.sha256_to_check} was announced: "
                "upload the file again",
                announced=segment.sha256_to_check,
                found=digest.hexdigest(),
            )

    def _plan(self, segment: Started, survey: Survey) -> None:
        """Keep what the probe found, and queue the video's other segments. Raises FenceLost."""
        probe = survey.probe.model_dump(mode="json")
        known = ("container", "codec", "width", "height", "duration_us", "start_us", "frame_rate")
        facts = {name: probe.get(name) for name in (*known, "variable_frame_rate")} | {"probe": probe}
        facts["warnings"] = [warning.model_dump(mode="json", exclude_none=True) for warning in survey.probe.warnings]
        plans = [plan.model_dump(mode="json") for plan in survey.segments]
        self.database.retry(lambda tx: tx.one(ingest.plan(segment.claim, facts=facts, plans=plans)))

    def _still_held(self, segment: Started) -> None:
        """Raises FenceLost where the segment was cancelled or given to another run meanwhile."""
        if self.database.retry(lambda tx: tx.maybe(segments.held(segment.claim))) is None:
            raise FenceLost(f"segment {segment.segment_id} was taken over")

    def _store(self, segment: Started, full: _Full) -> None:
        """JPEGs to S3, where every frame's key is a function of its name."""
        named = [
            (objects.frame_key(segment.project_id, segment.video_id, frame.pts_us), frame.jpeg) for frame in full.frames
        ]
        if named:
            _patiently(lambda: self.s3.put_frames(named), self.patience_s)

    def _store_poster(self, segment: Started, full: _Full) -> Future[None]:
        key = thumbnail_key(segment.project_id, segment.video_id)
        pictures, jpegs = [frame.pixels for frame in full.frames], [frame.jpeg for frame in full.frames]
        return self.aside.submit(lambda: self.thumbnails.put(key, poster_of(pictures, jpegs)))

    @cached_property
    def thumbnails(self) -> Thumbnails:
        return Thumbnails(self.settings)


class _Full:
    """A chunk that is ready to leave."""

    def __init__(self, chunks: _Chunks, number: int, frames: list[Kept], summary: Summary | None) -> None:
        self.chunks, self.number, self.frames, self.summary = chunks, number, frames, summary
        self.warnings: list[dict[str, Any]] = []
        self.has_poster = False
        if summary:
            self.warnings += [warning.model_dump(mode="json", exclude_none=True) for warning in summary.warnings]

    def take_poster(self, poster: Future[None]) -> None:
        """Wait for the poster; where it could not be stored, the video says so."""
        try:
            poster.result()
            self.has_poster = True
        except (Unavailable, ConfigurationError) as error:
            log.warning("%s", error)
            self.warnings.append(NO_POSTER)

    def row(self) -> FrameChunk:
        kept, plan = self.frames, self.chunks.plan
        assert plan is not None
        done = 1.0 if self.summary else (kept[-1].pts_us - plan.start_us) / max(plan.end_us - plan.start_us, 1)
        size = self.chunks.model_size(kept)
        row: dict[str, Any] = dict(
            **self.chunks.head(self.number),
            last=self.summary is not None,
            progress=min(max(done, 0.0), 1.0),
            dropped=self.summary.dropped if self.summary else 0,
            warnings=json.dumps(self.warnings),
            has_poster=self.has_poster,
            error="",
            is_final=False,
            why=self.chunks.why,
            pts_us=np.array([frame.pts_us for frame in kept], np.int64),
            width=np.array([frame.width for frame in kept], np.int32),
            height=np.array([frame.height for frame in kept], np.int32),
            size_bytes=np.array([len(frame.jpeg) for frame in kept], np.int32),
            pixels=np.stack([frame.pixels for frame in kept]) if kept else np.zeros((0, size, size, 3), np.uint8),
        )
        return cast("FrameChunk", row)


class _Chunks:
    """Gathers frames into chunks, and knows which one is the last: the segment's summary says so."""

    def __init__(self, segment: Started, chunk_frames: int) -> None:
        self.segment, self.chunk_frames = segment, chunk_frames
        self.plan: SegmentPlan | None = None
        self.why = ""
        self.number = 0
        self.frames: list[Kept] = []

    def added(self, frame: Kept) -> _Full | None:
        """A full chunk, once a frame is known to follow it."""
        if len(self.frames) < self.chunk_frames:
            self.frames.append(frame)
            return None
        full = self._take(None)
        self.frames.append(frame)
        return full

    def summed_up(self, summary: Summary) -> _Full:
        return self._take(summary)

    def failed(self, error: ArgusError) -> FrameChunk:
        """The row that fails the segment."""
        none = np.zeros(0, np.int32)
        row: dict[str, Any] = dict(
            **self.head(self.number),
            last=True,
            progress=0.0,
            dropped=0,
            warnings="[]",
            has_poster=False,
            error=json.dumps(error.reason()),
            is_final=True,
            why="",
            pts_us=none.astype(np.int64),
            width=none,
            height=none,
            size_bytes=none,
            pixels=np.zeros((0, 1, 1, 3), np.uint8),
        )
        return cast("FrameChunk", row)

    def head(self, number: int) -> dict[str, Any]:
        at = self.segment
        return {
            "segment_id": str(at.segment_id),
            "run_id": str(at.run_id),
            "fence": at.fence,
            "job_id": str(at.job_id),
            "project_id": str(at.project_id),
            "video_id": str(at.video_id),
            "segment": at.number,
            "chunk": number,
        }

    @staticmethod
    def model_size(frames: list[Kept]) -> int:
        return frames[0].pixels.shape[0] if frames else 1

    def _take(self, summary: Summary | None) -> _Full:
        full = _Full(self, self.number, self.frames, summary)
        self.number, self.frames = self.number + 1, []
        return full


def _gone() -> SourceGone:
    return SourceGone("the stored file is not there any more: upload it again", http_status=404)


def _used_up(segment: Started) -> ArgusError:
    return ArgusError(
        f"extraction was started {segment.attempts - 1} times and its process died each time: the file may be too heavy "
        "for this machine",
        attempts=segment.attempts - 1,
    )


def _patiently(work: Callable[[], None], patience_s: float) -> None:
    """Do it; while S3 does not answer, wait and do it again. Raises Unavailable after `patience_s`."""
    end, wait_s = time.monotonic() + patience_s, 0.25
    while True:
        try:
            work()
        except Unavailable:
            if time.monotonic() + wait_s > end:
                raise
            time.sleep(wait_s * random.uniform(0.5, 1))  # noqa: S311  # jitter, not a secret
            wait_s = min(wait_s * 2, 5)
        else:
            return
