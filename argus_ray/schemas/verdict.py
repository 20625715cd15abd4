"""Verdicts: a person's word on one (frame, label), and what models answered when they were asked."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import Field, model_validator

from argus_ray.schemas.annotation import Microseconds, Word
from argus_ray.schemas.common import Request, Schema, Timestamp
from argus_ray.schemas.job import Target


class VerdictPut(Request):
    """A person's word."""

    verdict: Word


class VerdictsPut(Request):
    """The same word on many frames: at times of one video, or on the frames that a target names."""

    video_id: UUID | None = None
    pts_us: Annotated[list[Microseconds], Field(min_length=1, max_length=10_000)] | None = None
    target: Target | None = None
    label_id: UUID
    verdict: Word

    @model_validator(mode="after")
    def _one(self) -> VerdictsPut:
        if (self.target is None) == (self.video_id is None) or (self.video_id is None) != (self.pts_us is None):
            raise ValueError("give video_id and pts_us, or a target")
        return self


class VerdictsGiven(Schema):
    """On how many frames."""

    verdicts: int


class Verdict(Schema):
    """A person's word on one (frame, label)."""

    project_id: UUID
    video_id: UUID
    pts_us: int
    label_id: UUID
    verdict: Word
    author: str | None = None
    version: int = 1
    updated_at: Timestamp


class Answer(Schema):
    """A model's word: asked for this label here, it found so many, none included."""

    project_id: UUID
    video_id: UUID
    pts_us: int
    label_id: UUID
    model_id: UUID
    found: int
    presence: float | None = None
    job_id: UUID | None = None
    at: Timestamp


class FrameVerdicts(Schema):
    """People's word on a frame's labels, and apart from it what models answered there."""

    verdicts: list[Verdict]
    answers: list[Answer]
