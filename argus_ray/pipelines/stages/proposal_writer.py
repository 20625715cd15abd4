"""ProposalWriter and TrackWriter: a chunk's answers are one fenced transaction with its number, and with what it has cost."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from functools import partial
from typing import Any, Literal, cast
from uuid import UUID, uuid5

from argus_ray import thresholds
from argus_ray.catalog import arriving, budgets, retracks, segments, tracklets, work
from argus_ray.catalog.arriving import Arriving, Asked
from argus_ray.catalog.connect import Database
from argus_ray.catalog.statement import Tx
from argus_ray.errors import ArgusError, Conflict, FenceLost, Unavailable
from argus_ray.pipelines import ends
from argus_ray.pipelines.ends import LastOfVideo
from argus_ray.pipelines.joining import join_pieces
from argus_ray.pipelines.stages.attempts import claim_of
from argus_ray.pipelines.stages.rows import Answered, AnsweredChunk, FollowedSegment

log = logging.getLogger(__name__)

Outcome = Literal["kept", "done", "succeeded", "failed", "lost", "again", "stopped"]


class ProposalWriter:
    """AnsweredChunk in, Answered out. Raises Unavailable only, when Postgres is gone for longer than `patience_s`.

    `device` is where the model runs, for the rate that is learnt.
    """

    def __init__(
        self, database_url: str, model_id: UUID, device: str, max_attempts: int, patience_s: float = 300
    ) -> None:
        self.database = Database(database_url, patience_s=patience_s)
        self.model_id, self.device, self.max_attempts = model_id, device, max_attempts

    def __call__(self, chunk: AnsweredChunk) -> Answered:
        outcome = self._outcome(chunk)
        wrote = outcome in {"kept", "done", "succeeded", "stopped"}
        return Answered(
            job_id=chunk["job_id"],
            outcome=outcome,
            frames=chunk["frames"] if wrote else 0,
            found=len(json.loads(chunk["found"])) if wrote else 0,
            compute_s=chunk["compute_s"] if wrote else 0.0,
        )

    def write(self, tx: Tx, chunk: AnsweredChunk, asked: list[Asked], found: list[Arriving]) -> None:
        """The effects of a chunk that is new."""
        arriving.propose(tx, UUID(chunk["project_id"]), self.model_id, UUID(chunk["job_id"]), asked, found)

    def last_of_video(self, chunk: AnsweredChunk) -> LastOfVideo | None:  # noqa: ARG002  # see TrackWriter
        """What is to happen when the last segment of the chunk's video ends."""
        return None

    def _outcome(self, chunk: AnsweredChunk) -> Outcome:
        claim, job_id = claim_of(chunk), UUID(chunk["job_id"])
        try:
            return self.database.retry(partial(self._keep, chunk=chunk))
        except FenceLost:
            log.info("segment %s is not with this run: chunk %d was not written", claim.segment_id, chunk["chunk"])
            return "lost"
        except Unavailable:
            raise
        except Exception as error:  # whatever is wrong with this chunk must not stop the others
            log.exception("chunk %d of segment %s could not be written", chunk["chunk"], claim.segment_id)
            reason = (
                error if isinstance(error, ArgusError) else ArgusError(f"what was found could not be written: {error}")
            )
        try:
            return self.database.retry(
                lambda tx: ends.retry_or_fail(
                    tx,
                    claim,
                    job_id,
                    reason.reason(),
                    max_attempts=self.max_attempts,
                    last_of_video=self.last_of_video(chunk),
                )
            )
        except FenceLost:
            return "lost"

    def _keep(self, tx: Tx, *, chunk: AnsweredChunk) -> Outcome:
        claim, job_id, project_id = claim_of(chunk), UUID(chunk["job_id"]), UUID(chunk["project_id"])
        tx.maybe(segments.lock_job(job_id))
        found = [_arriving(one) for one in json.loads(chunk["found"])]
        joined = tx.one(
            work.join(
                claim,
                chunk=chunk["chunk"],
                last=chunk["last"],
                frames=chunk["frames"],
                found=len(found),
                compute_s=chunk["compute_s"],
                progress=chunk["progress"],
                warnings=json.loads(chunk["warnings"]),
            )
        )
        if joined.is_new:
            self.write(tx, chunk, [_asked(one) for one in json.loads(chunk["asked"])], found)
            seconds = chunk["compute_s"]
            tx.run(budgets.spend(project_id, kind=chunk["kind"], gpu_seconds=seconds, frames=chunk["frames"]))
        if joined.is_complete:
            rate = budgets.measure(
                claim.segment_id, kind=chunk["kind"], model_id=self.model_id, device=self.device, labels=chunk["labels"]
            )
            tx.run(rate)
            ended = ends.finish(tx, claim, job_id, self.last_of_video(chunk))
            if ended == "succeeded":
                thresholds.auto_accept_after(tx, project_id)
            return ended
        spent = tx.one(budgets.spent(project_id))
        if spent.is_used_up:
            tx.maybe(work.stop(job_id, spent.reached().reason()))
            return "stopped"
        return "kept"


class TrackWriter(ProposalWriter):
    """FollowedSegment in, Answered out: tracklets with their keyframes, which are joined when a video's last segment ends."""

    def write(self, tx: Tx, chunk: AnsweredChunk, asked: list[Asked], found: list[Arriving]) -> None:
        followed = cast("FollowedSegment", chunk)
        project_id, job_id = UUID(followed["project_id"]), UUID(followed["job_id"])
        if followed["track_id"]:
            self._replace(tx, followed, found)
            return
        rows = json.loads(followed["tracks"])
        tx.run(
            tracklets.insert(
                project_id,
                UUID(followed["video_id"]),
                job_id=job_id,
                model_id=self.model_id,
                segment_number=followed["segment"],
                rows=rows,
            )
        )
        super().write(tx, chunk, asked, found)
        ids = [UUID(row["id"]) for row in rows]
        lost = tracklets.mark_outside(
            project_id, ids, job_id=job_id, model_id=self.model_id, until_us=followed["until_us"]
        )
        tx.run(lost)

    def _replace(self, tx: Tx, followed: FollowedSegment, found: list[Arriving]) -> None:
        """The model's keyframes between those of people become others. Raises Conflict where a person was quicker."""
        project_id, track_id = UUID(followed["project_id"]), UUID(followed["track_id"])
        tx.one(retracks.hold(project_id, track_id))
        people_us = [key.pts_us for key in tx.all(retracks.keys(project_id, track_id)) if key.is_human]
        if people_us != json.loads(followed["people_us"]):
            raise Conflict("somebody has changed the track meanwhile: it is followed again")
        tx.run(retracks.take_back(project_id, track_id, json.loads(followed["replaced_us"])))
        # ids of other rows than before, which history may know
        arriving.copy(tx, [replace(one, id=uuid5(UUID(followed["job_id"]), str(one.pts_us))) for one in found])
        tx.run(arriving.insert(project_id, self.model_id, UUID(followed["job_id"])))

    def last_of_video(self, chunk: AnsweredChunk) -> LastOfVideo:
        followed = cast("FollowedSegment", chunk)
        return partial(
            join_pieces,
            project_id=UUID(followed["project_id"]),
            job_id=UUID(followed["job_id"]),
            video_id=UUID(followed["video_id"]),
            model_id=self.model_id,
        )


def _asked(one: dict[str, Any]) -> Asked:
    return Asked(UUID(one["video_id"]), one["pts_us"], UUID(one["label_id"]), one["presence"])


def _arriving(one: dict[str, Any]) -> Arriving:
    ids: dict[str, Any] = {name: UUID(one[name]) for name in ("video_id", "label_id", "track_id") if name in one}
    return Arriving(**{**one, **ids})
