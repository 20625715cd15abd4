"""Annotations and tracks. Coordinates are fractions of the displayed picture, origin top left."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, model_validator

from argus_ray.schemas.common import JsonObject, Request, Schema, Text, Timestamp

MOST_POINTS = 10_000
"""Points of one polygon, all its rings together."""

Microseconds = Annotated[int, Field(ge=-(2**62), le=2**62)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Point = tuple[Fraction, Fraction]
Ring = Annotated[list[Point], Field(min_length=3, max_length=MOST_POINTS)]
Part = Annotated[list[Ring], Field(min_length=1, max_length=1000)]
"""A ring around it, then its holes."""


class Kind(StrEnum):
    BOX = "box"
    POLYGON = "polygon"
    MASK = "mask"
    POINTS = "points"
    TAG = "tag"


class Source(StrEnum):
    HUMAN = "human"
    MODEL = "model"
    IMPORT = "import"


class State(StrEnum):
    """proposed -> accepted | rejected, and between the two."""

    PROPOSED = "proposed"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


class Box(Request):
    """The top left corner, width and height."""

    x: Fraction
    y: Fraction
    w: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
    h: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]

    @model_validator(mode="after")
    def _inside(self) -> Box:
        if self.x + self.w > 1 + 1e-9 or self.y + self.h > 1 + 1e-9:
            raise ValueError("the box ends outside of the picture: x + w and y + h are at most 1")
        return self


class Mask(Request):
    """COCO compressed run-length encoding: `size` is [height, width] of the video as displayed, in pixels."""

    size: tuple[Annotated[int, Field(ge=1, le=65_535)], Annotated[int, Field(ge=1, le=65_535)]]
    counts: Annotated[Text, Field(min_length=1, max_length=4 * 2**20)]


class Shape(Request):
    """Exactly one of box, polygon, mask, points and tag; `end_us` belongs to a tag that lasts."""

    box: Box | None = None
    polygon: Annotated[list[Part], Field(min_length=1, max_length=1000)] | None = None
    mask: Mask | None = None
    points: Annotated[list[Point], Field(min_length=1, max_length=1000)] | None = None
    tag: Literal[True] | None = None
    end_us: Microseconds | None = None

    @model_validator(mode="after")
    def _one(self) -> Shape:
        given = [name for name in Kind if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of box, polygon, mask, points and tag")
        if self.end_us is not None and self.tag is None:
            raise ValueError("end_us belongs to a tag")
        return self

    @property
    def kind(self) -> Kind:
        return next(name for name in Kind if getattr(self, name) is not None)


class AnnotationCreate(Shape):
    """A person's annotation: accepted from the start. With `track_id` it is a keyframe of that track."""

    id: UUID | None = None
    video_id: UUID
    pts_us: Microseconds
    label_id: UUID
    track_id: UUID | None = None
    outside: bool = False
    occluded: bool = False
    attributes: JsonObject = {}

    @model_validator(mode="after")
    def _time(self) -> AnnotationCreate:
        if self.end_us is not None and self.end_us <= self.pts_us:
            raise ValueError("end_us is later than pts_us")
        if self.outside and self.track_id is None:
            raise ValueError("outside belongs to a keyframe of a track")
        return self


class AnnotationsCreate(Request):
    """Up to a thousand at once: all of them are kept, or none."""

    annotations: Annotated[list[AnnotationCreate], Field(min_length=1, max_length=1000)]


class AnnotationsCreated(Schema):
    """In the order in which they were sent."""

    items: list[Annotation]


class AnnotationUpdate(Request):
    """What can be edited; absent fields stay. A new shape replaces the old one, and makes it a person's."""

    label_id: UUID | None = None
    box: Box | None = None
    polygon: Annotated[list[Part], Field(min_length=1, max_length=1000)] | None = None
    mask: Mask | None = None
    points: Annotated[list[Point], Field(min_length=1, max_length=1000)] | None = None
    end_us: Microseconds | None = None
    outside: bool | None = None
    occluded: bool | None = None
    attributes: JsonObject | None = None
    state: State | None = None
    reason: Annotated[Text, Field(min_length=1, max_length=1000)] | None = None


class Annotation(Schema):
    """A label on a frame. `box` bounds every shape but a tag; `interpolated` says that the server has put it between two
    keyframes of its track, and nothing of it is stored. `author` is `user:…` or `key:…`.
    """

    id: UUID | None = None
    project_id: UUID
    video_id: UUID
    pts_us: int
    end_us: int | None = None
    label_id: UUID
    track_id: UUID | None = None
    kind: Kind
    box: Box | None = None
    polygon: list[list[list[tuple[float, float]]]] | None = None
    mask: Mask | None = None
    points: list[tuple[float, float]] | None = None
    area_px: int | None = None
    outside: bool = False
    occluded: bool = False
    interpolated: bool = False
    attributes: dict[str, Any] = {}
    source: Source
    state: State
    reason: str | None = None
    score: float | None = None
    presence: float | None = None
    method: str | None = None
    model_id: UUID | None = None
    job_id: UUID | None = None
    author: str | None = None
    reviewed_by: str | None = None
    reviewed_at: Timestamp | None = None
    version: int = 1
    created_at: Timestamp | None = None
    updated_at: Timestamp | None = None


class AnnotationFilter(Request):
    """Which annotations; absent fields do not restrict."""

    video_ids: Annotated[list[UUID], Field(min_length=1, max_length=1000)] | None = None
    label_ids: Annotated[list[UUID], Field(min_length=1, max_length=200)] | None = None
    track_ids: Annotated[list[UUID], Field(min_length=1, max_length=1000)] | None = None
    job_id: UUID | None = None
    model_id: UUID | None = None
    source: Annotated[list[Source], Field(min_length=1)] | None = None
    state: Annotated[list[State], Field(min_length=1)] | None = None
    from_us: Microseconds | None = None
    to_us: Microseconds | None = None
    min_score: Fraction | None = None
    max_score: Fraction | None = None


class Accept(Request):
    """Which: of what is proposed, unless the filter's `state` says otherwise."""

    filter: AnnotationFilter


class Reject(Request):
    """Which, and why: of what is proposed, unless the filter's `state` says otherwise."""

    filter: AnnotationFilter
    reason: Annotated[Text, Field(min_length=1, max_length=1000)]


class Reviewed(Schema):
    """How many annotations and tracks a bulk review has changed."""

    annotations: int
    tracks: int = 0


class TrackCreate(Request):
    """A new track, with its first keyframes: at different times, of one label."""

    label_id: UUID
    attributes: JsonObject = {}
    keyframes: Annotated[list[Keyframe], Field(min_length=1, max_length=10_000)]


class Keyframe(Shape):
    pts_us: Microseconds
    outside: bool = False
    occluded: bool = False
    attributes: JsonObject = {}


class TrackUpdate(Request):
    label_id: UUID | None = None
    attributes: JsonObject | None = None
    state: State | None = None
    reason: Annotated[Text, Field(min_length=1, max_length=1000)] | None = None


class Track(Schema):
    """One object through time. `number` counts from 1 in its video; `start_us` and `end_us` are its first and last
    keyframes.
    """

    id: UUID
    project_id: UUID
    video_id: UUID
    number: int
    label_id: UUID
    attributes: dict[str, Any] = {}
    start_us: int
    end_us: int
    keyframes: int
    source: Source
    state: State
    reason: str | None = None
    score: float | None = None
    method: str | None = None
    model_id: UUID | None = None
    job_id: UUID | None = None
    author: str | None = None
    version: int = 1
    created_at: Timestamp
    updated_at: Timestamp


class TrackLink(Schema):
    """Two pieces of one track that a job has joined over a border of segments, and why. A cut one joins nothing: what
    comes after it is `other_track_id` now.
    """

    id: UUID
    project_id: UUID
    video_id: UUID
    job_id: UUID | None = None
    track_id: UUID
    other_track_id: UUID | None = None
    border_us: int
    iou: float | None = None
    similarity: float | None = None
    score: float | None = None
    state: Literal["joined", "cut"]
    author: str | None = None


class TrackSplit(Request):
    """The time from which on it is another track."""

    at_us: Microseconds


class TrackEnd(Request):
    """The time from which on it is deleted."""

    at_us: Microseconds


class TrackMerge(Request):
    """The track whose keyframes it takes."""

    track_id: UUID


class TrackRetrack(Request):
    """The time of the corrected keyframe from which the model follows again."""

    pts_us: Microseconds


class Pieces(Schema):
    """A track, and what was part of it."""

    track: Track
    other: Track


class Window(Schema):
    """Everything in a time window of a video, interpolated between keyframes where asked."""

    items: list[Annotation]
    tracks: list[Track] = []
    next_cursor: str | None = None


class Word(StrEnum):
    """`exhaustive_present`: every instance in the frame is annotated. `exhaustive_absent`: there is none. `partial`: some
    are, and others may be missing.
    """

    EXHAUSTIVE_PRESENT = "exhaustive_present"
    EXHAUSTIVE_ABSENT = "exhaustive_absent"
    PARTIAL = "partial"


class HistoryEntry(Schema):
    """An earlier version of an annotation, track or label, and who replaced it when."""

    version: int
    row: dict[str, Any]
    actor: str | None = None
    at: Timestamp


class Restore(Request):
    """The earlier version that comes back."""

    version: Annotated[int, Field(ge=1)]


TrackCreate.model_rebuild()
AnnotationsCreated.model_rebuild()
