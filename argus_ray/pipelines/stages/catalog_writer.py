"""CatalogWriter: each chunk is one fenced transaction, and the only stage that writes results."""

from __future__ import annotations

import json
import logging
from functools import partial
from typing import Any, Literal
from uuid import UUID

import numpy as np

from argus_ray.catalog.connect import Database
from argus_ray.catalog.frames import Arriving
from argus_ray.catalog.segments import Claim
from argus_ray.errors import ArgusError, FenceLost, Unavailable
from argus_ray.pipelines import settling
from argus_ray.pipelines.stages.rows import EmbeddedChunk, Written

log = logging.getLogger(__name__)

Outcome = Literal["kept", "done", "ready", "failed", "lost", "again"]


class CatalogWriter:
    """EmbeddedChunk in, Written out. Raises Unavailable only, when Postgres is gone for longer than `patience_s`."""

    def __init__(self, database_url: str, model_number: int, max_attempts: int, patience_s: float = 300) -> None:
        self.database = Database(database_url, patience_s=patience_s)
        self.model_number = model_number
        self.max_attempts = max_attempts

    def __call__(self, chunk: EmbeddedChunk) -> Written:
        outcome = self._outcome(chunk)
        kept = outcome in {"kept", "done", "ready"} and not chunk["error"]
        return Written(
            job_id=chunk["job_id"],
            outcome=outcome,
            frames=len(chunk["pts_us"]) if kept else 0,
            dropped=chunk["dropped"] if kept else 0,
        )

    def _outcome(self, chunk: EmbeddedChunk) -> Outcome:
        claim = Claim(UUID(chunk["segment_id"]), UUID(chunk["run_id"]), chunk["fence"])
        job_id = UUID(chunk["job_id"])
        try:
            if chunk["error"]:
                return self._failed(claim, job_id, json.loads(chunk["error"]), is_final=chunk["is_final"])
            return self.database.retry(partial(self._keep, claim=claim, chunk=chunk))
        except FenceLost:
            log.info("segment %s is with another run: chunk %d was not written", claim.segment_id, chunk["chunk"])
            return "lost"
        except Unavailable:
            raise
        except Exception as error:  # whatever is wrong with this chunk must not stop the others
            log.exception("chunk %d of segment %s could not be written", chunk["chunk"], claim.segment_id)
            reason = error if isinstance(error, ArgusError) else ArgusError(f"the frames could not be written: {error}")
            return self._given_up(claim, job_id, reason.reason())

    def _keep(self, tx: Any, *, claim: Claim, chunk: EmbeddedChunk) -> Outcome:
        arriving = Arriving(
            pts_us=np.asarray(chunk["pts_us"]),
            width=np.asarray(chunk["width"]),
            height=np.asarray(chunk["height"]),
            size_bytes=np.asarray(chunk["size_bytes"]),
            vectors=np.asarray(chunk["vectors"]),
        )
        return settling.keep(
            tx,
            claim,
            arriving,
            job_id=UUID(chunk["job_id"]),
            project_id=UUID(chunk["project_id"]),
            video_id=UUID(chunk["video_id"]),
            segment=chunk["segment"],
            chunk=chunk["chunk"],
            last=chunk["last"],
            progress=chunk["progress"],
            dropped=chunk["dropped"],
            warnings=json.loads(chunk["warnings"]),
            has_poster=chunk["has_poster"],
            why=chunk["why"],
            model_number=self.model_number,
        )

    def _failed(self, claim: Claim, job_id: UUID, reason: dict[str, Any], *, is_final: bool) -> Outcome:
        if is_final:
            return self.database.retry(lambda tx: settling.fail(tx, claim, job_id, reason))
        return self.database.retry(
            lambda tx: settling.retry_or_fail(tx, claim, job_id, reason, max_attempts=self.max_attempts)
        )

    def _given_up(self, claim: Claim, job_id: UUID, reason: dict[str, Any]) -> Outcome:
        try:
            return self._failed(claim, job_id, reason, is_final=False)
        except FenceLost:
            return "lost"
