"""Jobs: rows that ask for work."""

from __future__ import annotations

from enum import StrEnum
from typing import Any
from uuid import UUID

from argus_ray.schemas.common import Reason, Schema, Timestamp


class JobKind(StrEnum):
    INGEST = "ingest"


class JobState(StrEnum):
    """queued -> running -> succeeded | failed | cancelled."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})


class Job(Schema):
    """`progress` runs from 0 to 1; `attempts` counts starts of the work."""

    id: UUID
    project_id: UUID
    kind: JobKind
    state: JobState
    video_id: UUID | None = None
    priority: int = 0
    progress: float = 0
    attempts: int = 0
    reason: Reason | None = None
    result: dict[str, Any] | None = None
    cancel_requested_at: Timestamp | None = None
    created_at: Timestamp
    started_at: Timestamp | None = None
    finished_at: Timestamp | None = None
