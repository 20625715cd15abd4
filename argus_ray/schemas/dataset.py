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
    "coco",
    "coco-video",
    "yolo-detect",
    "yolo-segment",
    "yolo-track",
    "cvat-video",
    "cvat-images",
    "mot",
    "voc",
    "sav",
    "parquet",
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


class ExportCreate(Request):
    """`frames` is `all` for every frame of the videos, interpolated between keyframes, `sampled` for the kept ones."""

    format: Format
    pictures: bool = False
    frames: Literal["sampled", "all"] = "sampled"


class ImportCreate(Request):
    """Announce a file of annotations: JSON, XML, text, or a zip of them."""

    size_bytes: Annotated[int, Field(ge=1, le=2**50)]


class ImportUpload(Schema):
    """Where to send the file: PUT its bytes to `url` with `headers`, then ask for a job of kind `import` with
    `object_key`.
    """

    object_key: str
    url: str
    headers: dict[str, str]
    expires_at: Timestamp


class Download(Schema):
    """A short-lived URL of what a job has made; it takes ranges, so that a download can be gone on with."""

    url: str
    filename: str
    size_bytes: int
    expires_at: Timestamp


class Changed(Schema):
    added: int = 0
    removed: int = 0
    changed: int = 0


class LabelChanged(Changed):
    """A label of two versions, by its name in the later one; how many annotations it has in each."""

    label_id: UUID
    name: str
    before: int = 0
    after: int = 0


class Diff(Schema):
    """What a version has that another has not. A frame is changed when an annotation or verdict of it is; `frame_ids` are
    the first of each.
    """

    base_id: UUID
    to_id: UUID
    same: bool
    frames: Changed
    annotations: Changed
    labels: list[LabelChanged]
    moved_videos: list[UUID] = []
    added_frame_ids: list[UUID] = []
    removed_frame_ids: list[UUID] = []
    changed_frame_ids: list[UUID] = []
