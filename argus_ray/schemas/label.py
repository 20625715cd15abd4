"""Labels: the project's ontology, what there is to find and what people call it."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, Field, model_validator

from argus_ray.schemas.common import Name, Request, Schema, Text, Timestamp

Colour = Annotated[str, Field(pattern=r"^#[0-9a-f]{6}$", description="#rrggbb, lower case.", examples=["#0072b2"])]

PALETTE = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442",
    "#332288", "#88ccee", "#44aa99", "#117733", "#999933", "#ddcc77", "#cc6677", "#882255", "#aa4499",
)  # fmt: skip
"""Colours that those who do not tell red from green tell apart: Okabe and Ito's, then Paul Tol's muted ones."""


def _trimmed(phrase: str) -> str:
    if not phrase.strip():
        raise ValueError("a phrase needs at least one word")
    return " ".join(phrase.split())


Phrase = Annotated[
    Text,
    Field(max_length=200, description="A short English noun phrase, as SAM 3 reads it.", examples=["red car"]),
    AfterValidator(_trimmed),
]
"""SAM 3 reads English, at most about thirty tokens; the model says so where a phrase is too long for it."""

Title = Annotated[Name, AfterValidator(_trimmed), Field(examples=["red car"])]
Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$", description="BCP 47, such as `de`.")]


class Attribute(Request):
    """Something to say of each object of a label.

    `values` are those of a `select`; `min` and `max` those of a `number`. An attribute that is `per_frame` may change along
    a track, another holds for the whole track.
    """

    name: Name
    kind: Literal["select", "number", "text", "checkbox"]
    values: Annotated[list[Name], Field(max_length=200)] = []
    min: Annotated[float, Field(allow_inf_nan=False)] | None = None
    max: Annotated[float, Field(allow_inf_nan=False)] | None = None
    per_frame: bool = False
    default: Annotated[Text, Field(max_length=1000)] | float | bool | None = None

    @model_validator(mode="after")
    def _belongs(self) -> Attribute:
        if (self.kind == "select") != bool(self.values):
            raise ValueError("an attribute of kind select has values, and no other kind has")
        if len(set(self.values)) != len(self.values):
            raise ValueError("the values of an attribute differ from each other")
        if self.kind != "number" and (self.min is not None or self.max is not None):
            raise ValueError(f"min and max belong to the kind number, not to {self.kind}")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("min is not larger than max")
        return self


def _distinct(attributes: list[Attribute]) -> list[Attribute]:
    names = [one.name for one in attributes]
    if len(set(names)) != len(names):
        raise ValueError("attributes of one label have different names")
    return attributes


Attributes = Annotated[list[Attribute], Field(max_length=50), AfterValidator(_distinct)]
Names = Annotated[dict[Language, Name], Field(max_length=50)]
Phrases = Annotated[list[Phrase], Field(min_length=1, max_length=8)]


class LabelCreate(Request):
    """`name` is unique in the project, in any case, and may be in any language, as may `names` by language.

    `prompts` are what the model is asked for, each of them; without them it is the name. SAM 3 reads English only: a label
    of another name needs prompts in English. Without a `colour` it gets one that colour-blind people tell from the others.
    """

    name: Title
    names: Names = {}
    colour: Colour | None = None
    prompts: Phrases | None = None
    attributes: Attributes = []


class LabelUpdate(Request):
    """What can be edited; absent fields stay, lists are replaced whole. `prompts` are in English, which is what SAM 3 reads.
    `threshold` is the score from which a proposal counts, null: the model's.
    """

    name: Title | None = None
    names: Names | None = None
    colour: Colour | None = None
    prompts: Phrases | None = None
    attributes: Attributes | None = None
    threshold: Annotated[float, Field(ge=0, le=1)] | None = None


class LabelMerge(Request):
    """The label that takes all that the other one has."""

    into: UUID


class Label(Schema):
    """An entry of the ontology. `number` counts from 1 in its project and is never used again: it is the category id of
    exports. An archived label keeps its annotations and takes no new ones; a merged one has given them to `merged_into`.
    """

    id: UUID
    project_id: UUID
    number: int
    name: str
    names: dict[str, str] = {}
    colour: str
    prompts: list[str]
    attributes: list[Attribute] = []
    threshold: float | None = None
    learnt: dict[str, Any] | None = None
    archived_at: Timestamp | None = None
    merged_into: UUID | None = None
    version: int = 1
    created_at: Timestamp
    updated_at: Timestamp
