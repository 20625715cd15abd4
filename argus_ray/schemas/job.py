"""Jobs: rows that ask for work."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from argus_ray.schemas.common import Reason, Request, Schema, Timestamp
from argus_ray.schemas.dataset import Format, ImportFormat
from argus_ray.schemas.frame import SearchFilter


class JobKind(StrEnum):
    """`freeze` makes a dataset version."""

    INGEST = "ingest"
    AUTOLABEL = "autolabel"
    TRACK = "track"
    FREEZE = "freeze"
    EXPORT = "export"
    IMPORT = "import"


class JobState(StrEnum):
    """queued -> running -> succeeded | failed | cancelled."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})


class Target(Request):
    """Which frames of ready videos: those that the filter lets through, or those named; all of the project's otherwise.

    What a search has found is given as `frame_ids`.
    """

    filter: SearchFilter = SearchFilter()
    frame_ids: Annotated[list[UUID], Field(min_length=1, max_length=100_000)] | None = None


class Ask(Request):
    """A label to look for; `threshold` is the lowest score of a proposal, else the label's, else the model's."""

    label_id: UUID
    threshold: Annotated[float, Field(ge=0, le=1)] | None = None


class Autolabel(Request):
    """Propose every instance of these labels on every frame of the target."""

    kind: Literal[JobKind.AUTOLABEL] = JobKind.AUTOLABEL
    target: Target = Target()
    labels: Annotated[list[Ask], Field(min_length=1, max_length=50)]


class TrackObjects(Request):
    """Follow every instance of these labels through whole videos: at the times of their kept frames, or `fps` times a
    second.
    """

    kind: Literal[JobKind.TRACK] = JobKind.TRACK
    target: Target = Target()
    labels: Annotated[list[Ask], Field(min_length=1, max_length=50)]
    fps: Annotated[float, Field(gt=0, le=60)] | None = None


class Retrack(Request):
    """Follow one track again from a corrected keyframe, both ways, as far as the next keyframe that a person made."""

    kind: Literal["retrack"] = "retrack"
    track_id: UUID
    pts_us: int


class Freeze(Request):
    """Make a version of a dataset."""

    kind: Literal[JobKind.FREEZE] = JobKind.FREEZE
    dataset_id: UUID


class Export(Request):
    """Write a dataset version in a format of other tools. `frames` is `all` for every frame with interpolation between
    keyframes, `sampled` for the kept ones.
    """

    kind: Literal[JobKind.EXPORT] = JobKind.EXPORT
    dataset_version_id: UUID
    format: Format
    pictures: bool = False
    frames: Literal["sampled", "all"] = "sampled"


class Import(Request):
    """Read an annotation file that was sent to `object_key`. A dry run reports and changes nothing.

    `videos` maps a name in the file (an image's, a video's, a task's) to the video that it means; without it names are
    compared with those of the project's videos. `labels` maps names of classes to labels; `create_labels` makes those that
    are missing.
    """

    kind: Literal[JobKind.IMPORT] = JobKind.IMPORT
    object_key: Annotated[str, Field(min_length=1, max_length=1000)]
    format: ImportFormat
    dry_run: bool = True
    videos: dict[str, UUID] = {}
    labels: dict[str, UUID] = {}
    create_labels: bool = False
    state: Literal["proposed", "accepted"] = "proposed"


Spec = Annotated[Autolabel | TrackObjects | Retrack | Freeze | Export | Import, Field(discriminator="kind")]


class JobCreate(Request):
    """Ask for work."""

    spec: Spec
    priority: Annotated[int, Field(ge=-100, le=100)] = 0


class Estimate(Schema):
    """What a job is thought to take. `gpu_seconds` comes from rates measured on this installation; null: it has none yet."""

    frames: int
    segments: int
    gpu_seconds: float | None = None
    basis: str


class Job(Schema):
    """`progress` runs from 0 to 1; `attempts` counts starts of the work. `spec` is what was asked for, `estimate` what it
    was thought to take. While it runs, `frames_per_s` is how fast it has been, and `eta_s` how long the rest takes at that.
    """

    id: UUID
    project_id: UUID
    kind: JobKind
    state: JobState
    video_id: UUID | None = None
    spec: dict[str, Any] = {}
    estimate: Estimate | None = None
    priority: int = 0
    progress: float = 0
    frames_per_s: float | None = None
    eta_s: float | None = None
    attempts: int = 0
    reason: Reason | None = None
    result: dict[str, Any] | None = None
    cancel_requested_at: Timestamp | None = None
    created_at: Timestamp
    started_at: Timestamp | None = None
    finished_at: Timestamp | None = None
