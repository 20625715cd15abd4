"""Videos, uploads and sampling policies: what rows, answers and the client share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, model_validator

from argus_ray.schemas.common import JsonObject, Name, Reason, Request, Schema, Text, Timestamp


class VideoState(StrEnum):
    """awaiting_upload -> uploaded -> processing -> ready | failed, and deleted."""

    AWAITING_UPLOAD = "awaiting_upload"
    UPLOADED = "uploaded"
    PROCESSING = "processing"
    READY = "ready"
    FAILED = "failed"
    DELETED = "deleted"


class SamplingPolicy(Request):
    """Which frames to keep: a function of the file and this alone.

    `fps` keeps the frame shown at each 1/fps seconds; `keyframes` the encoder's; `scenes` the first of each scene;
    `uniform` `count` frames spread over the video; `every_frame` all. `tolerance_s` lets the nearest keyframe stand for
    a wanted time when it is that close, which decodes many times less.
    """

    policy: Literal["fps", "keyframes", "scenes", "uniform", "every_frame"] = "fps"
    fps: Annotated[float, Field(gt=0, le=240)] | None = None
    count: Annotated[int, Field(ge=1, le=100_000)] | None = None
    tolerance_s: Annotated[float, Field(ge=0, le=3600)] | None = None
    dedupe: bool = True
    max_frames: Annotated[int, Field(ge=1, le=1_000_000)] | None = None

    @model_validator(mode="after")
    def _belongs(self) -> SamplingPolicy:
        if self.fps is not None and self.policy != "fps":
            raise ValueError(f"fps belongs to the policy fps, not to {self.policy}")
        if self.count is not None and self.policy != "uniform":
            raise ValueError(f"count belongs to the policy uniform, not to {self.policy}")
        if self.policy == "uniform" and self.count is None:
            raise ValueError("the policy uniform needs a count")
        if self.tolerance_s is not None and self.policy not in {"fps", "uniform"}:
            raise ValueError(f"tolerance_s belongs to the policies fps and uniform, not to {self.policy}")
        return self

    @property
    def rate(self) -> float:
        """Frames a second of the policy `fps`: 1 unless said."""
        return self.fps or 1.0


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the bytes, lower-case hex.")]


class VideoCreate(Request):
    """Announce one file. The answer says where to send its bytes."""

    filename: Name
    size_bytes: Annotated[int, Field(ge=1, le=2**50)]
    content_type: Annotated[Text, Field(max_length=200, pattern=r"^[\w.+-]+/[\w.+-]+$")] | None = None
    sha256: Sha256 | None = None
    sampling: SamplingPolicy | None = None
    metadata: JsonObject | None = None


class VideoImport(Request):
    """Take a file that already lies in a bucket, without copying it."""

    uri: Annotated[Text, Field(pattern=r"^s3://[^/\s]+/.+$", max_length=1500)]
    filename: Name | None = None
    sampling: SamplingPolicy | None = None
    metadata: JsonObject | None = None


class VideoUpdate(Request):
    """What can be edited; absent fields stay."""

    name: Name | None = None
    metadata: JsonObject | None = None


class Reingest(Request):
    sampling: SamplingPolicy | None = None


class VideoWarning(Schema):
    """Something a person should know about a ready video."""

    type: str
    detail: str
    ranges_us: list[tuple[int, int]] | None = None


class Video(Schema):
    """One uploaded file and what is known of it. Width and height are as displayed, in pixels."""

    id: UUID
    project_id: UUID
    name: str
    state: VideoState
    reason: Reason | None = None
    warnings: list[VideoWarning] = []
    size_bytes: int | None = None
    content_type: str | None = None
    sha256: str | None = None
    sampling: SamplingPolicy | None = None
    metadata: dict[str, Any] = {}
    container: str | None = None
    codec: str | None = None
    width: int | None = None
    height: int | None = None
    duration_us: int | None = None
    start_us: int | None = None
    frame_rate: float | None = None
    variable_frame_rate: bool | None = None
    probe: dict[str, Any] | None = None
    frames_kept: int = 0
    frames_dropped: int = 0
    progress: float = 0
    poster_url: str | None = None
    source_uri: str | None = None
    version: int = 1
    created_at: Timestamp
    updated_at: Timestamp
    uploaded_at: Timestamp | None = None
    ready_at: Timestamp | None = None


class Part(Schema):
    """One part of a multipart upload and where to PUT it."""

    number: int
    url: str


class UploadedPart(Schema):
    number: int
    size_bytes: int
    etag: str


class Upload(Schema):
    """Where the bytes go: one PUT, or the parts of a multipart upload."""

    id: UUID
    video_id: UUID
    kind: Literal["put", "multipart"]
    expires_at: Timestamp
    url: str | None = None
    headers: dict[str, str] = {}
    part_size_bytes: int | None = None
    part_count: int | None = None
    parts: list[Part] | None = None


class VideoCreated(Schema):
    """`upload` is null when the project already has these bytes."""

    video: Video
    upload: Upload | None = None


class PartRequest(Request):
    """Ask for fresh URLs of these parts."""

    numbers: Annotated[list[Annotated[int, Field(ge=1, le=10_000)]], Field(min_length=1, max_length=1000)]


class CompletedPart(Request):
    number: Annotated[int, Field(ge=1, le=10_000)]
    etag: Annotated[Text, Field(max_length=200)]


class CompleteUpload(Request):
    """The parts are a cross-check only: S3 itself is asked what arrived."""

    parts: Annotated[list[CompletedPart], Field(max_length=10_000)] | None = None


class Media(Schema):
    """A short-lived URL of the original bytes."""

    url: str
    expires_at: Timestamp
