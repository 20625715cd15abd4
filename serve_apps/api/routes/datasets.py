"""Datasets: queries over annotated frames, the versions that freeze them, what changed between two, and their exports."""

from __future__ import annotations

import asyncio
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from fastapi.responses import RedirectResponse, Response

from argus_ray import asking
from argus_ray import s3 as objects
from argus_ray.catalog import datasets, jobs
from argus_ray.datasets.diffing import diff
from argus_ray.datasets.exporting import download
from argus_ray.errors import Conflict, InvalidRequest, NotFound
from argus_ray.schemas.common import Page
from argus_ray.schemas.dataset import (
    Dataset,
    DatasetCreate,
    DatasetUpdate,
    DatasetVersion,
    Diff,
    Download,
    ExportCreate,
)
from argus_ray.schemas.job import Export, Freeze, Job, JobCreate, JobKind, JobState
from serve_apps.api.dependencies import (
    S3,
    EditableProjectId,
    IfMatch,
    NewestFirst,
    Paging,
    ProjectId,
    Settings,
    UserTx,
    edit,
    newest,
    paging,
    tagged,
)
from serve_apps.api.problems import documented
from serve_apps.api.route import Idempotent, Route

MOST_COMPARED = 200_000
"""Frames of two versions together that a request compares."""
_comparing = asyncio.Semaphore(1)

router = APIRouter(prefix="/v1", tags=["datasets"], route_class=Route, responses=documented(401))

LastFirst = Annotated[Paging[int], Depends(paging(int))]


@router.post(
    "/projects/{project_id}/datasets",
    status_code=201,
    operation_id="create_dataset",
    dependencies=[Idempotent],
    responses=documented(403, 404, 409, 422),
)
async def create_dataset(project_id: EditableProjectId, new: DatasetCreate, tx: UserTx, response: Response) -> Dataset:
    """A query with a name; versions of it freeze what it finds. Without `states` it takes accepted annotations alone."""
    dataset = await tx.one(datasets.insert(project_id, new))
    response.headers["Location"] = f"/v1/datasets/{dataset.id}"
    return tagged(dataset, response)


@router.get("/projects/{project_id}/datasets", operation_id="list_datasets", responses=documented(404, 422))
async def list_datasets(project_id: ProjectId, paging: NewestFirst, tx: UserTx) -> Page[Dataset]:
    """The project's datasets, newest first."""
    return paging.page(await tx.all(datasets.page(project_id, after=paging.after, rows=paging.rows)), newest)


@router.get("/datasets/{dataset_id}", operation_id="get_dataset", responses=documented(404, 422))
async def get_dataset(dataset_id: UUID, tx: UserTx, response: Response) -> Dataset:
    return tagged(await tx.one(datasets.get(dataset_id)), response)


@router.patch(
    "/datasets/{dataset_id}", operation_id="update_dataset", responses=documented(403, 404, 409, 412, 422, 428)
)
async def update_dataset(
    dataset_id: UUID, change: DatasetUpdate, versions: IfMatch, tx: UserTx, response: Response
) -> Dataset:
    """Rename it, or change what its next version finds; versions that are there stay as they are."""
    statement = datasets.update(dataset_id, change, versions)
    return tagged(await edit(tx, statement, datasets.get(dataset_id), versions), response)


@router.delete(
    "/datasets/{dataset_id}",
    status_code=204,
    operation_id="delete_dataset",
    responses=documented(403, 404, 412, 422, 428),
)
async def delete_dataset(dataset_id: UUID, versions: IfMatch, tx: UserTx) -> None:
    """Delete a dataset. Its versions stay, for what was made of them."""
    await edit(tx, datasets.delete(dataset_id, versions), datasets.get(dataset_id), versions)


# -- versions --------------------------------------------------------------------------------------


@router.post(
    "/datasets/{dataset_id}/versions",
    status_code=202,
    operation_id="freeze_dataset",
    dependencies=[Idempotent],
    responses=documented(403, 404, 422),
)
async def freeze_dataset(dataset_id: UUID, tx: UserTx, settings: Settings, response: Response) -> Job:
    """Freeze what the dataset finds now into a version that nobody can change; the job, whose result names the version."""
    dataset = await tx.one(datasets.get(dataset_id))
    asked = JobCreate(spec=Freeze(dataset_id=dataset_id))
    return _accepted(await asking.ask(tx, dataset.project_id, asked, sam3_model=settings.sam3_model), response)


@router.get("/datasets/{dataset_id}/versions", operation_id="list_dataset_versions", responses=documented(404, 422))
async def list_dataset_versions(dataset_id: UUID, paging: LastFirst, tx: UserTx) -> Page[DatasetVersion]:
    """The versions of a dataset, the last one first."""
    await tx.one(datasets.get(dataset_id))
    found = await tx.all(datasets.versions(dataset_id, before=paging.after, rows=paging.rows))
    return paging.page(found, lambda version: version.number)


@router.get("/dataset-versions/{version_id}", operation_id="get_dataset_version", responses=documented(404, 422))
async def get_dataset_version(version_id: UUID, tx: UserTx) -> DatasetVersion:
    return await tx.one(datasets.version(version_id))


@router.get(
    "/dataset-versions/{version_id}/diff", operation_id="diff_dataset_versions", responses=documented(404, 422, 503)
)
async def diff_dataset_versions(
    version_id: UUID,
    tx: UserTx,
    s3: S3,
    to: Annotated[UUID, Query(description="The version to compare with, of the same project.")],
) -> Diff:
    """What the version `to` has that this one has not: frames and annotations added, removed and changed, by label."""
    base, other = await tx.one(datasets.version(version_id)), await tx.one(datasets.version(to))
    if base.project_id != other.project_id:
        raise InvalidRequest("the two versions are of different projects: nothing in them is comparable")
    frames = sum(int(version.counts.get("frames", 0)) for version in (base, other))
    if frames > MOST_COMPARED:
        raise InvalidRequest(
            f"the two versions have {frames} frames together, and a request compares {MOST_COMPARED}: compare their manifests",
            frames=frames,
        )
    async with _comparing:
        return await asyncio.to_thread(_compared, s3, base, other)


def _compared(s3: objects.S3, base: DatasetVersion, other: DatasetVersion) -> Diff:
    with tempfile.TemporaryDirectory(prefix="diff-") as scratch:
        folders = Path(scratch, "base"), Path(scratch, "to")
        for folder, version in zip(folders, (base, other), strict=True):
            folder.mkdir()
            download(s3, version.manifest_key, folder)
        return diff(*folders, base_id=base.id, to_id=other.id)


# -- exports ---------------------------------------------------------------------------------------


@router.post(
    "/dataset-versions/{version_id}/exports",
    status_code=202,
    operation_id="export_dataset_version",
    dependencies=[Idempotent],
    responses=documented(403, 404, 422),
)
async def export_dataset_version(
    version_id: UUID, asked: ExportCreate, tx: UserTx, settings: Settings, response: Response
) -> Job:
    """Write a version in a format of other tools, as a zip; the job, whose result has the report of what the format could
    not hold. `GET /v1/jobs/{id}/download` says where it is then.
    """
    version = await tx.one(datasets.version(version_id))
    spec = Export(dataset_version_id=version_id, format=asked.format, pictures=asked.pictures, frames=asked.frames)
    job = await asking.ask(tx, version.project_id, JobCreate(spec=spec), sam3_model=settings.sam3_model)
    return _accepted(job, response)


@router.get(
    "/jobs/{job_id}/download",
    operation_id="download_export",
    response_model=Download,
    responses=documented(404, 409, 422) | {307: {"description": "With `redirect=1`: go there."}},
)
async def download_export(
    job_id: UUID,
    tx: UserTx,
    s3: S3,
    settings: Settings,
    redirect: Annotated[bool, Query(description="Answer 307 instead.")] = False,
) -> Download | Response:
    """A short-lived URL of what an export has made. It takes ranges: a download that was cut off can be gone on with."""
    job = await tx.one(jobs.get(job_id))
    if job.kind is not JobKind.EXPORT:
        raise NotFound("that job makes nothing to download: only an export does")
    if job.state is not JobState.SUCCEEDED or job.result is None:
        raise Conflict(f"the export is {job.state}: wait until it has succeeded", state=job.state)
    filename = str(job.result["filename"])
    at = s3.at(objects.export_key(job.project_id, job.id))
    url = s3.presign_get(at, expires_s=settings.url_expires_s, filename=filename, content_type="application/zip")
    if redirect:
        return RedirectResponse(url, 307, {"Cache-Control": "private, no-store"})
    expires_at = datetime.now(UTC) + timedelta(seconds=settings.url_expires_s)
    return Download(url=url, filename=filename, size_bytes=int(job.result["size_bytes"]), expires_at=expires_at)


def _accepted(job: Job, response: Response) -> Job:
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job
