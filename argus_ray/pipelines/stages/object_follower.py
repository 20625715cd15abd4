"""ObjectFollower: every instance of a job's labels is followed through one segment of a video; or one track again, from
a keyframe that a person has corrected.

A segment is followed on its own; what it shares with its neighbours is looked at by both, so that the pieces can be
joined when all have ended. It is one chunk: its tracklets, their keyframes and its end are one transaction.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from argus_ray import rle
from argus_ray.catalog import labelling, retracks, segments
from argus_ray.catalog.connect import Database, worker_url
from argus_ray.catalog.labelling import Asking, Filmed
from argus_ray.catalog.statement import Tx
from argus_ray.catalog.work import Started
from argus_ray.errors import NotFound
from argus_ray.models import sam3, siglip2
from argus_ray.models.concepts import box_of
from argus_ray.pipelines.joining import join_pieces
from argus_ray.pipelines.stages.attempts import attempt
from argus_ray.pipelines.stages.concept_finder import Questions
from argus_ray.pipelines.stages.decoded_pictures import DecodedPictures
from argus_ray.pipelines.stages.following import Followed, Pictures, Tracklet, follow, tracklet_id
from argus_ray.pipelines.stages.frame_pictures import FramePictures
from argus_ray.pipelines.stages.retracking import Correction, Retracked, follow_again, read_correction
from argus_ray.pipelines.stages.rows import ClaimedSegment, FollowedSegment
from argus_ray.settings import Settings
from argus_ray.weights import fetcher

ENOUGH = 960
"""Long side of a picture in pixels: crops of small things must still look like something."""
TOUCH_S = 10.0
BLOCK_TIMES = 64
"""Decoded pictures in memory at a time, where they are wanted backwards."""


class ObjectFollower:
    """ClaimedSegment in, one FollowedSegment out."""

    def __init__(self, settings: Settings, model_id: UUID) -> None:
        self.settings, self.model_id = settings, model_id
        self.database = Database(worker_url(settings))
        fetch = fetcher(settings)
        self.model = sam3.load(settings.sam3_model, settings.device, parts=("concepts", "video"), fetch=fetch)
        self.looks = siglip2.load(settings.siglip2_model, settings.device, towers="vision", fetch=fetch)
        enough = max(self.model.image_size, ENOUGH)
        self.kept = FramePictures(settings, enough=enough)
        self.decoded = DecodedPictures(settings, enough=enough)

    def __call__(self, row: ClaimedSegment) -> Iterator[FollowedSegment]:
        yield from attempt(
            self.database,
            row,
            lambda segment: self._retracked(segment) if segment.spec["kind"] == "retrack" else self._followed(segment),
            max_attempts=self.settings.max_attempts,
            last_of_video=self._join,
        )

    def _join(self, tx: Tx, segment: Started) -> None:
        assert segment.video_id is not None
        join_pieces(
            tx,
            project_id=segment.project_id,
            job_id=segment.job_id,
            video_id=segment.video_id,
            model_id=self.model_id,
        )

    def _followed(self, segment: Started) -> Iterator[FollowedSegment]:
        assert segment.video_id is not None
        project_id, video_id = segment.project_id, segment.video_id
        asking = self.database.retry(lambda tx: tx.all(labelling.asking(project_id, segment.spec["labels"])))
        video = self.database.retry(lambda tx: tx.one(labelling.filmed(project_id, video_id)))
        if not asking:
            raise NotFound("the job's labels are gone")
        questions = Questions.of(asking, self.model.score_threshold)
        began = time.perf_counter()
        waited = _Waiting(self._frames(segment, video))
        pictures = Pictures(self._touching(segment, waited))
        answers = self.model.track(
            pictures, concepts=questions.prompts, size=(video.height, video.width), threshold=questions.lowest
        )
        followed = follow(pictures, answers, questions.owner, questions.thresholds, self._squash)
        vectors = self._vectors(followed.tracklets)
        compute_s = time.perf_counter() - began - waited.seconds
        yield self._row(segment, video, asking, followed, vectors, compute_s)

    def _frames(self, segment: Started, video: Filmed) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        assert segment.plan is not None
        fps = segment.spec.get("fps")
        if fps is not None:
            start_us, end_us = segment.plan["start_us"], segment.plan["end_us"]
            yield from self.decoded.read(segment.project_id, video, fps=fps, start_us=start_us, end_us=end_us)
            return
        for pts_us, picture in self.kept.read(segment.project_id, video.video_id, segment.plan["pts_us"]):
            if picture is not None:
                yield pts_us, picture

    def _touching(
        self, segment: Started, frames: Iterator[tuple[int, NDArray[np.uint8]]]
    ) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """The same, saying now and then that the work goes on. Raises FenceLost where it was cancelled."""
        touched = time.monotonic()
        for one in frames:
            if time.monotonic() - touched > TOUCH_S:
                self.database.retry(lambda tx: tx.one(segments.touch(segment.claim)))
                touched = time.monotonic()
            yield one

    def _squash(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        small: NDArray[np.uint8] = self.looks.squash(np.ascontiguousarray(picture)[None])[0]
        return small

    def _vectors(self, tracklets: list[Tracklet]) -> list[tuple[list[float], list[float]] | None]:
        """Of each tracklet what it looked like first and last, as vectors of unit length."""
        looks = [look for one in tracklets for look in (one.first_look, one.last_look) if look is not None]
        if not looks:
            return [None] * len(tracklets)
        vectors = self.looks.embed_images(np.stack(looks)).tolist()
        return [(vectors[2 * place], vectors[2 * place + 1]) for place in range(len(tracklets))]

    def _row(
        self,
        segment: Started,
        video: Filmed,
        asking: list[Asking],
        followed: Followed,
        vectors: list[tuple[list[float], list[float]] | None],
        compute_s: float,
    ) -> FollowedSegment:
        labels = [str(one.label_id) for one in asking]
        tracks: list[dict[str, Any]] = []
        found: list[dict[str, Any]] = []
        for place, (one, looks) in enumerate(zip(followed.tracklets, vectors, strict=True)):
            track_id = str(tracklet_id(segment.job_id, video.video_id, segment.number, place))
            tracks.append(
                {
                    "id": track_id,
                    "label_id": labels[one.label],
                    "score": sum(one.scores.values()) / len(one.scores),
                    "method": followed.method,
                    "first_vector": looks and looks[0],
                    "last_vector": looks and looks[1],
                }
            )
            for pts_us, mask in sorted(one.masks.items()):
                x, y, w, h = box_of(mask)
                found.append({
                    "video_id": str(video.video_id), "pts_us": pts_us, "label_id": labels[one.label], "x": x, "y": y, "w": w,
                    "h": h, "counts": mask.counts, "area_px": rle.area(mask), "score": one.scores[pts_us],
                    "presence": followed.presence[pts_us][one.label], "method": followed.method, "track_id": track_id,
                })  # fmt: skip
        asked = [
            {"video_id": str(video.video_id), "pts_us": pts_us, "label_id": label, "presence": presence}
            for pts_us in followed.times_us
            for label, presence in zip(labels, followed.presence[pts_us], strict=True)
        ]
        return FollowedSegment(
            segment_id=str(segment.segment_id),
            run_id=str(segment.run_id),
            fence=segment.fence,
            job_id=str(segment.job_id),
            project_id=str(segment.project_id),
            video_id=str(video.video_id),
            kind=segment.kind,
            segment=segment.number,
            chunk=0,
            last=True,
            progress=1.0,
            frames=len(followed.times_us),
            labels=len(asking),
            compute_s=max(compute_s, 0.0),
            warnings="[]",
            asked=json.dumps(asked),
            found=json.dumps(found),
            tracks=json.dumps(tracks),
            until_us=max(followed.times_us, default=0),
            track_id="",
            replaced_us="[]",
            people_us="[]",
        )

    def _retracked(self, segment: Started) -> Iterator[FollowedSegment]:
        """One track again, from a corrected keyframe both ways."""
        assert segment.video_id is not None
        project_id, video_id = segment.project_id, segment.video_id
        track_id, pts_us = UUID(segment.spec["track_id"]), int(segment.spec["pts_us"])
        correction = self.database.retry(lambda tx: read_correction(tx, project_id, track_id, pts_us))
        video = self.database.retry(lambda tx: tx.one(labelling.filmed(project_id, video_id)))
        waiting: list[_Waiting] = []

        def read(from_us: int, to_us: int, backwards: bool) -> Iterator[tuple[int, NDArray[np.uint8]]]:
            waiting.append(_Waiting(self._again(segment, video, correction, from_us, to_us, backwards=backwards)))
            return self._touching(segment, waiting[-1])

        began = time.perf_counter()
        done = follow_again(self.model, correction, video, read)
        compute_s = time.perf_counter() - began - sum(one.seconds for one in waiting)
        yield FollowedSegment(
            segment_id=str(segment.segment_id),
            run_id=str(segment.run_id),
            fence=segment.fence,
            job_id=str(segment.job_id),
            project_id=str(project_id),
            video_id=str(video_id),
            kind=segment.kind,
            segment=segment.number,
            chunk=0,
            last=True,
            progress=1.0,
            frames=done.frames,
            labels=1,
            compute_s=max(compute_s, 0.0),
            warnings="[]",
            asked="[]",
            found=json.dumps(_keyframes(correction, done)),
            tracks="[]",
            until_us=0,
            track_id=str(track_id),
            replaced_us=json.dumps(done.replaced_us),
            people_us=json.dumps(correction.people_us),
        )

    def _again(
        self, segment: Started, video: Filmed, correction: Correction, from_us: int, to_us: int, *, backwards: bool
    ) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """The pictures that the track was followed at, in the order asked for; a block of them at a time in memory."""
        project_id, fps = segment.project_id, correction.track.fps
        if fps is None:
            kept = retracks.times(project_id, video.video_id, from_us=from_us, to_us=to_us)
            times_us = self.database.retry(lambda tx: tx.all(kept))
            for pts_us, picture in self.kept.read(project_id, video.video_id, times_us[:: -1 if backwards else 1]):
                if picture is not None:
                    yield pts_us, picture
            return
        block_us = round(BLOCK_TIMES * 1e6 / fps)
        starts = range(from_us, to_us + 1, block_us)
        for start_us in reversed(starts) if backwards else starts:
            end_us = min(start_us + block_us - 1, to_us)
            block = list(self.decoded.read(segment.project_id, video, fps=fps, start_us=start_us, end_us=end_us))
            yield from reversed(block) if backwards else block


def _keyframes(correction: Correction, done: Retracked) -> list[dict[str, Any]]:
    """Of an object that is lost the keyframe says so, with the shape of the corrected one."""
    track, key = correction.track, correction.corrected
    head = {"video_id": str(track.video_id), "label_id": str(track.label_id), "track_id": str(track.track_id)}
    rows: list[dict[str, Any]] = []
    for pts_us, seen in done.keyframes:
        row = {**head, "pts_us": pts_us, "method": done.method}
        if seen is None:
            shape = {"x": key.x, "y": key.y, "w": key.w, "h": key.h, "kind": "box", "outside": True}
        else:
            x, y, w, h = box_of(seen[0])
            shape = {"x": x, "y": y, "w": w, "h": h, "counts": seen[0].counts, "area_px": rle.area(seen[0])}
            shape["score"] = min(max(seen[1], 0.0), 1.0)
        rows.append(row | shape)
    return rows


class _Waiting:
    """Frames, and how long one has waited for them: reading is no work of the model's device."""

    def __init__(self, frames: Iterator[tuple[int, NDArray[np.uint8]]]) -> None:
        self.frames, self.seconds = frames, 0.0

    def __iter__(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        return self

    def __next__(self) -> tuple[int, NDArray[np.uint8]]:
        began = time.perf_counter()
        try:
            return next(self.frames)
        finally:
            self.seconds += time.perf_counter() - began
