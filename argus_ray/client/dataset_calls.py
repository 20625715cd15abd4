"""Datasets, their versions, exports and imports: every route as a function that describes its call."""

from __future__ import annotations

from pydantic import TypeAdapter

from argus_ray.client.call import Call, Pages
from argus_ray.client.calls import NOTHING, Id, checked_id, once, pages
from argus_ray.schemas.dataset import (
    Dataset,
    DatasetCreate,
    DatasetUpdate,
    DatasetVersion,
    Diff,
    Download,
    ExportCreate,
    ImportCreate,
    ImportUpload,
)
from argus_ray.schemas.job import Job


class Datasets:
    @staticmethod
    def list(project_id: Id) -> Pages[Dataset]:
        return pages(Dataset, f"/v1/projects/{checked_id(project_id)}/datasets")

    @staticmethod
    def create(project_id: Id, new: DatasetCreate) -> Call[Dataset]:
        path = f"/v1/projects/{checked_id(project_id)}/datasets"
        return Call("POST", path, TypeAdapter(Dataset), json=new, idempotency_key=once())

    @staticmethod
    def get(dataset_id: Id) -> Call[Dataset]:
        return Call("GET", f"/v1/datasets/{checked_id(dataset_id)}", TypeAdapter(Dataset))

    @staticmethod
    def update(dataset: Dataset, change: DatasetUpdate) -> Call[Dataset]:
        return Call("PATCH", f"/v1/datasets/{dataset.id}", TypeAdapter(Dataset), json=change, if_match=dataset.version)

    @staticmethod
    def delete(dataset: Dataset) -> Call[None]:
        """Its versions stay."""
        return Call("DELETE", f"/v1/datasets/{dataset.id}", NOTHING, if_match=dataset.version)

    @staticmethod
    def freeze(dataset_id: Id) -> Call[Job]:
        """The job that makes a version; its result names it."""
        path = f"/v1/datasets/{checked_id(dataset_id)}/versions"
        return Call("POST", path, TypeAdapter(Job), idempotency_key=once())

    @staticmethod
    def versions(dataset_id: Id) -> Pages[DatasetVersion]:
        """The last one first."""
        return pages(DatasetVersion, f"/v1/datasets/{checked_id(dataset_id)}/versions")

    @staticmethod
    def version(version_id: Id) -> Call[DatasetVersion]:
        return Call("GET", f"/v1/dataset-versions/{checked_id(version_id)}", TypeAdapter(DatasetVersion))

    @staticmethod
    def diff(version_id: Id, to: Id) -> Call[Diff]:
        """What the version `to` has that this one has not."""
        path = f"/v1/dataset-versions/{checked_id(version_id)}/diff"
        return Call("GET", path, TypeAdapter(Diff), params={"to": checked_id(to)}, timeout_s=300)

    @staticmethod
    def export(version_id: Id, asked: ExportCreate) -> Call[Job]:
        path = f"/v1/dataset-versions/{checked_id(version_id)}/exports"
        return Call("POST", path, TypeAdapter(Job), json=asked, idempotency_key=once())

    @staticmethod
    def download(job_id: Id) -> Call[Download]:
        """Where what an export has made lies. Raises Conflict before it has succeeded."""
        return Call("GET", f"/v1/jobs/{checked_id(job_id)}/download", TypeAdapter(Download))

    @staticmethod
    def announce_import(project_id: Id, size_bytes: int) -> Call[ImportUpload]:
        """Where to send a file of annotations, before a job of kind `import` reads it."""
        path = f"/v1/projects/{checked_id(project_id)}/imports"
        return Call("POST", path, TypeAdapter(ImportUpload), json=ImportCreate(size_bytes=size_bytes), reads=True)
