"""Asking a model about pictures while somebody waits: what to look for, what it finds."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, model_validator

from argus_ray.schemas.annotation import Box, Fraction, Mask
from argus_ray.schemas.common import Request, Schema, Text

Phrase = Annotated[
    Text,
    Field(
        max_length=1_000_000,
        description="A short English noun phrase. How long it may be the model says: about twenty words.",
        examples=["red car"],
    ),
]
Examples = Annotated[list[Box], Field(max_length=64)]


class Click(Request):
    """A point on the object, or (`positive` false) on what is not part of it."""

    x: Fraction
    y: Fraction
    positive: bool = True


class Predict(Request):
    """A concept or an object to find in one frame.

    A *concept*, every instance of it: `text`, `boxes` around examples and `negative_boxes` around what it is not, together
    or alone; without any of them, the phrases of the label `label_id`.

    An *object*: `points` on it and beside it, a box around it as the only one of `boxes`, and `mask`, what the model made
    of it before, to be bettered. With `what` "object" and no points, each of `boxes` is an object.

    `save` "proposed" keeps what is found as proposals of the model under the label `label_id`.
    """

    what: Literal["concept", "object"] | None = None
    """Without it: an object where there are points or a mask, else a concept."""
    text: Phrase | None = None
    boxes: Examples = []
    negative_boxes: Examples = []
    points: Annotated[list[Click], Field(max_length=256)] = []
    mask: Mask | None = None
    label_id: UUID | None = None
    threshold: Fraction | None = None
    """Least score of an instance; without it the label's, or else the model's own."""
    save: Literal[False, "proposed"] = False

    @property
    def is_object(self) -> bool:
        return self.what == "object" or (self.what is None and bool(self.points or self.mask))

    @model_validator(mode="after")
    def _asked(self) -> Predict:
        if self.save and self.label_id is None:
            raise ValueError("say with label_id under which label to save it")
        if self.is_object:
            if self.text is not None or self.negative_boxes:
                raise ValueError("an object is pointed at: text and negative_boxes belong to a concept")
            if not (self.points or self.boxes or self.mask):
                raise ValueError("point at the object: give points on it, a box around it, or its mask")
            if (self.points or self.mask) and len(self.boxes) > 1:
                raise ValueError("points and a mask are of one object: give at most one box around it")
        else:
            if self.points or self.mask:
                raise ValueError("points and a mask belong to an object")
            if self.text is None and not self.boxes and self.label_id is None:
                raise ValueError("say what to find: a text, boxes around examples, or a label_id whose phrases to use")
        return self


class Candidate(Schema):
    """A mask of the video's displayed size and the box around it. `score` is the model's: of an instance, how sure it is;
    of an object, how well it thinks that the mask fits.
    """

    score: float
    box: Box
    mask: Mask


class Predicted(Candidate):
    """One instance or object. `alternatives` are other readings of a single click, less likely ones; `annotation_id` is
    the proposal that was saved.
    """

    alternatives: list[Candidate] = []
    annotation_id: UUID | None = None


class AnsweredBy(Schema):
    """The weights that answered."""

    family: Literal["sam3"] = "sam3"
    uri: str
    weights_id: str


class FramePrediction(Schema):
    """What was found in a frame, the surest first. `presence` is the model's word on whether there is any at all: low where
    nothing is found, it is "asked, and not there".
    """

    frame_id: UUID
    video_id: UUID
    pts_us: int
    presence: float
    items: list[Predicted]


class Prediction(FramePrediction):
    """The answer of one frame."""

    method: Literal["sam3", "sam3-clicks"]
    model: AnsweredBy


class ConceptPreview(Request):
    """One phrase, or the phrases of a label, over a handful of frames of the project."""

    text: Phrase | None = None
    label_id: UUID | None = None
    frame_ids: Annotated[list[UUID], Field(min_length=1, max_length=16)]
    threshold: Fraction | None = None

    @model_validator(mode="after")
    def _asked(self) -> ConceptPreview:
        if (self.text is None) == (self.label_id is None):
            raise ValueError("give a text, or a label_id whose phrases to use: one of the two")
        if len(set(self.frame_ids)) != len(self.frame_ids):
            raise ValueError("each frame once")
        return self


class Preview(Schema):
    """In the order of the frames asked for."""

    items: list[FramePrediction]
    model: AnsweredBy
