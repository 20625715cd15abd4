"""Review: what to look at next, what people have finished with, and the thresholds learnt from it."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, model_validator

from argus_ray.schemas.annotation import Microseconds, Word
from argus_ray.schemas.common import Request, Schema, Text, Timestamp

LabelIds = Annotated[list[UUID], Field(min_length=1, max_length=200)]


class Order(StrEnum):
    """`uncertainty`: where the model is least sure, or contradicts itself. `diversity`: what looks least like anything
    reviewed. `age`: what has waited longest. `assigned`: what was given to the caller.
    """

    UNCERTAINTY = "uncertainty"
    DIVERSITY = "diversity"
    AGE = "age"
    ASSIGNED = "assigned"


class ReviewNext(Request):
    """What to take. `hold_s`: for how long it is the caller's alone; taken or finished by nobody else meanwhile."""

    order: Order = Order.UNCERTAINTY
    unit: Literal["frame", "segment"] = "frame"
    label_ids: LabelIds | None = None
    video_ids: Annotated[list[UUID], Field(min_length=1, max_length=1000)] | None = None
    count: Annotated[int, Field(ge=1, le=50)] = 10
    hold_s: Annotated[int, Field(ge=10, le=86_400)] = 900

    @property
    def hold(self) -> timedelta:
        return timedelta(seconds=self.hold_s)


class Place(Request):
    """A frame, or with `end_us`, which is later and not included, a segment."""

    video_id: UUID
    pts_us: Microseconds
    end_us: Microseconds | None = None

    @model_validator(mode="after")
    def _forward(self) -> Place:
        if self.end_us is not None and self.end_us <= self.pts_us:
            raise ValueError("end_us is later than pts_us")
        return self

    @property
    def ends_us(self) -> int:
        """Before which it ends."""
        return self.pts_us + 1 if self.end_us is None else self.end_us


Places = Annotated[list[Place], Field(min_length=1, max_length=1000)]


class ReviewAssign(Request):
    """Give items to a member who may annotate; without `hold_s` for good."""

    items: Places
    user_id: UUID
    hold_s: Annotated[int, Field(ge=10, le=31_536_000)] | None = None

    @property
    def hold(self) -> timedelta | None:
        return None if self.hold_s is None else timedelta(seconds=self.hold_s)


class ReviewRelease(Request):
    items: Places


class ReviewAccept(Request):
    """Accept what is proposed there, of these labels or of all. With `verdict` the labels have to be named."""

    item: Place
    label_ids: LabelIds | None = None
    verdict: Word | None = None

    @model_validator(mode="after")
    def _named(self) -> ReviewAccept:
        if self.verdict is not None and self.label_ids is None:
            raise ValueError("a verdict is about labels: name them in label_ids")
        return self


class ReviewReject(ReviewAccept):
    """The same, rejected."""

    reason: Annotated[Text, Field(min_length=1, max_length=1000)]


class Why(Schema):
    """The numbers by which an item was chosen; those that had no part in it are null.

    `uncertainty` (0 to 1) is the largest of: 1 - 2 x `from_threshold`, the distance of the nearest score from its
    threshold; `disagreement`, of presence and detections: the presence where nothing was found, 1 - presence where
    something was; 0.75 for a `track_break`, the end of a model's track amid the picture and the video; and
    1 - `link_score`, where a job has joined two pieces of a track. `distance`: 1 - cosine to the most similar frame that
    is reviewed or was chosen before. `waiting_since`: when its oldest proposal was made.
    """

    uncertainty: float | None = None
    from_threshold: float | None = None
    disagreement: float | None = None
    track_break: bool | None = None
    link_score: float | None = None
    distance: float | None = None
    waiting_since: Timestamp | None = None


class ReviewItem(Schema):
    """A frame or a segment in review. `frame_id`: the picture of a frame, of a segment its first; null where none was kept.
    `until` is null where an assignment does not lapse. `proposals`: the annotations proposed there, at most 1000.
    """

    project_id: UUID
    video_id: UUID
    pts_us: int
    end_us: int | None = None
    frame_id: UUID | None = None
    state: Literal["open", "accepted", "rejected"]
    reason: str | None = None
    assignee: str | None = None
    assigned_by: str | None = None
    until: Timestamp | None = None
    why: Why | None = None
    proposals: list[UUID] = []
    version: int = 1
    updated_at: Timestamp


class ReviewItems(Schema):
    items: list[ReviewItem]


class Released(Schema):
    """How many items nobody holds by this."""

    items: int


class ReviewDone(Schema):
    """How many annotations, tracks and verdicts finishing an item has changed."""

    item: ReviewItem
    annotations: int
    tracks: int
    verdicts: int


class LabelProgress(Schema):
    """How many annotations of a label are in each state, in the whole project."""

    label_id: UUID
    name: str
    proposed: int
    accepted: int
    rejected: int


class ReviewCounts(Schema):
    """`open`: touched by somebody, and free now. `mine`, `others`: held by the caller, by others. `accepted`, `rejected`:
    finished.
    """

    open: int
    mine: int
    others: int
    accepted: int
    rejected: int


class ReviewQueue(Schema):
    """Items that somebody has touched, the last change first, and how far the project is."""

    items: list[ReviewItem]
    next_cursor: str | None = None
    counts: ReviewCounts
    labels: list[LabelProgress]


# -- thresholds ------------------------------------------------------------------------------------


class Learnt(Schema):
    """What people's words say about the scores of one model for one label. A track counts once.

    `threshold`: the score from which the precision is above `target` with 95 % confidence, null where there is none yet.
    `precision` and `bound` are the share accepted from there on and its lower confidence bound; without a threshold, of
    the scores where that bound is highest. `missing`: how many more have to be reviewed before any threshold is possible,
    0 where there are enough and too many were rejected.
    """

    threshold: float | None
    accepted: int
    rejected: int
    precision: float | None
    bound: float | None
    target: float
    missing: int


class Threshold(Learnt):
    """The same, with whose it is. It is `labels.learnt` by the model's id."""

    label_id: UUID
    name: str
    model_id: UUID
    at: Timestamp


class Thresholds(Schema):
    items: list[Threshold]


class ThresholdsLearn(Request):
    """Of these labels, or all."""

    label_ids: LabelIds | None = None


class AutoAcceptRequest(Request):
    """Of these labels, or all. `dry_run` counts and changes nothing."""

    label_ids: LabelIds | None = None
    dry_run: bool = False


class AutoAcceptedLabel(Schema):
    label_id: UUID
    model_id: UUID
    threshold: float
    annotations: int
    tracks: int


class AutoAccepted(Schema):
    """What was accepted, or would be, and `thresholds`, learnt anew before it."""

    dry_run: bool
    annotations: int
    tracks: int
    labels: list[AutoAcceptedLabel]
    thresholds: list[Threshold]
