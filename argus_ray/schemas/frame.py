"""Frames, and moments: what search answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, model_validator

from argus_ray.schemas.common import JsonObject, Request, Schema, Text, Timestamp


class Frame(Schema):
    """A picture kept from a video, named by (video_id, pts_us). Width and height in pixels of the picture kept."""

    id: UUID
    video_id: UUID
    pts_us: int
    width: int
    height: int
    why: str
    url: str | None = None


class ImageTerm(Request):
    """A picture given in the request: base64 of JPEG, PNG or WebP bytes."""

    base64: Annotated[str, Field(max_length=16 * 2**20)]


class QueryTerm(Request):
    """One part of a mix; a negative weight says "not like this"."""

    text: Annotated[Text, Field(min_length=1, max_length=1000)] | None = None
    image: ImageTerm | None = None
    frame_id: UUID | None = None
    weight: Annotated[float, Field(ge=-10, le=10, allow_inf_nan=False)] = 1.0

    @model_validator(mode="after")
    def _one(self) -> QueryTerm:
        if sum(x is not None for x in (self.text, self.image, self.frame_id)) != 1:
            raise ValueError("give exactly one of text, image and frame_id")
        return self


class SearchFilter(Request):
    video_ids: Annotated[list[UUID], Field(min_length=1, max_length=1000)] | None = None
    from_us: Annotated[int, Field(ge=-(2**62), le=2**62)] | None = None
    to_us: Annotated[int, Field(ge=-(2**62), le=2**62)] | None = None
    why: (
        Annotated[list[Literal["fps", "keyframes", "scenes", "uniform", "every_frame"]], Field(min_length=1)] | None
    ) = None
    metadata: JsonObject | None = None
    uploaded_after: Timestamp | None = None
    uploaded_before: Timestamp | None = None


class Search(Request):
    """Text, a picture, a frame, or a weighted mix of them in `terms`."""

    text: Annotated[Text, Field(min_length=1, max_length=1000)] | None = None
    image: ImageTerm | None = None
    frame_id: UUID | None = None
    terms: Annotated[list[QueryTerm], Field(min_length=1, max_length=16)] | None = None
    filter: SearchFilter = SearchFilter()
    group_by: Literal["moment", "video", "none"] = "moment"
    moment_gap_s: Annotated[float, Field(ge=0, le=600)] = 5.0
    limit: Annotated[int, Field(ge=1, le=200)] = 20
    cursor: Annotated[Text, Field(max_length=1000)] | None = None

    @model_validator(mode="after")
    def _asked(self) -> Search:
        if sum(x is not None for x in (self.text, self.image, self.frame_id, self.terms)) != 1:
            raise ValueError("give exactly one of text, image, frame_id and terms")
        if self.terms is not None and all(term.weight <= 0 for term in self.terms):
            raise ValueError("at least one term needs a positive weight")
        return self


class Hit(Schema):
    """A frame, or a moment with its best frame. `score` is the cosine; `probability` is the sigmoid of the model's own
    scale and bias: it compares within one model only, and no threshold on it is a truth.
    """

    video_id: UUID
    video_name: str
    frame_id: UUID
    pts_us: int
    score: float
    probability: float | None = None
    start_us: int
    end_us: int
    frames: int = 1
    url: str
    video_url: str


class SearchAnswer(Schema):
    """`model` is the one that embedded both the query and the frames; `exact` says that no index stood between."""

    items: list[Hit]
    next_cursor: str | None = None
    model: dict[str, Any]
    exact: bool
