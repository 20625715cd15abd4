"""Datasets: queries over annotated frames, and the versions that freeze them."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, model_validator

from argus_ray.schemas.annotation import Source, State
from argus_ray.schemas.common import JsonObject, Name, Request, Schema, Timestamp

Split = Literal["train", "val", "test"]
Format = Literal["coco", "coco-video", "yolo-detect", "yolo-segment", "yolo-track", "cvat-video", "mot", "parquet"]
ImportFormat = Literal[
    "coco", "coco-video", "yolo-detect", "yolo-segment", "yolo-track", "cvat-video", "cvat-images", "mot", "voc", "sav", "parquet"
]


class DatasetQuery(Request):
    """Which annotated frames. `accepted` annotations unless it says otherwise; every label unless it names some."""

    video_ids: Annotated[list[UUID], Field(min_length=1, max_length=100_000)] | None = None
    label_ids: Annotated[list[UUID], Field(min_length=1, max_length=200)] | None = None
    states: Annotated[list[State], Field(min_length=1)] = [State.ACCEPTED]
    sources: Annotated[list[Source], Field(min_length=1)] | None = None
    min_score: Annotated[float, Field(ge=0, le=1)] | None = None
    metadata: JsonObject | None = None
    interpolate: bool = True


class Splits(Request):
    """Shares of train, val and test; they add up to 1. Videos of which two frames are `alike` (the cosine of their vectors)
    stay together; 1 keeps only videos of the same bytes together.
    """

    train: Annotated[float, Field(ge=0, le=1)] = 0.8
    val: Annotated[float, Field(ge=0, le=1)] = 0.1
    test: Annotated[float, Field(ge=0, le=1)] = 0.1
    alike: Annotated[float, Field(ge=0, le=1)] = 0.95

    @model_validator(mode="after")
    def _whole(self) -> Splits:
        if abs(self.train + self.val + self.test - 1) > 1e-6:
            raise ValueError("train, val and test add up to 1")
        return self


class DatasetCreate(Request):
    name: Name
    query: DatasetQuery = DatasetQuery()
    splits: Splits = Splits()


class DatasetUpdate(Request):
    name: Name | None = None
    query: DatasetQuery | None = None
    splits: Splits | None = None


class Dataset(Schema):
    id: UUID
    project_id: UUID
    name: str
    query: DatasetQuery
    splits: Splits
    versions: int = 0
    version: int = 1
    created_at: Timestamp
    updated_at: Timestamp


class DatasetVersion(Schema):
    """A frozen dataset: its manifest in S3, one Parquet file a split, with the hash of its contents."""

    id: UUID
    project_id: UUID
    dataset_id: UUID
    number: int
    parent_id: UUID | None = None
    schema_version: int
    content_hash: str
    manifest_key: str
    query: DatasetQuery
    ontology: list[dict[str, Any]]
    counts: dict[str, Any]
    warnings: list[dict[str, Any]] = []
    author: str | None = None
    created_at: Timestamp
