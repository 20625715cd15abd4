"""What was accepted, frozen as a dataset version and written for other tools."""

from __future__ import annotations

import json
import shutil
import zipfile
from typing import Any
from uuid import UUID

from argus_ray.cli.demonstration.steps import FOLDER, DemoFailed, Steps, tell
from argus_ray.cli.transfers import fetch
from argus_ray.client import Client
from argus_ray.schemas.dataset import DatasetCreate, ExportCreate, Format
from argus_ray.schemas.job import Job, JobState
from argus_ray.schemas.project import Project

TIMEOUT_S = 600


def freeze_and_export(argus: Client, project: Project, steps: Steps) -> None:
    """Raises DemoFailed where an export does not hold what the version says."""
    with steps.step("freeze what was accepted as a dataset version"):
        dataset = argus.datasets.create(project.id, DatasetCreate(name="demo"))
        _waited(argus, argus.datasets.freeze(dataset.id))
        (version,) = argus.datasets.versions(dataset.id)
    splits = ", ".join(f"{name} {counts['frames']}" for name, counts in version.counts["splits"].items())
    tell(f"version {version.number} ({version.content_hash[:12]}) has {version.counts['frames']} frames: {splits}")
    with steps.step("export it as COCO with its pictures, and for CVAT"):
        folder = FOLDER / "coco"
        shutil.rmtree(folder, ignore_errors=True)
        zipped = _exported(argus, version.id, "coco", pictures=True)
        with zipfile.ZipFile(zipped["file"]) as file:
            file.extractall(folder)
        _exported(argus, version.id, "cvat-video", pictures=False)
        _check_coco()
    tell(f"see {folder} and {FOLDER / 'cvat-video.zip'}")


def _exported(argus: Client, version_id: UUID, format_: Format, *, pictures: bool) -> dict[str, Any]:
    job = _waited(argus, argus.datasets.export(version_id, ExportCreate(format=format_, pictures=pictures)))
    out = FOLDER / f"{format_}.zip"
    out.unlink(missing_ok=True)
    fetch(lambda: argus.datasets.download(job.id), out)
    return {"file": out, "report": (job.result or {}).get("report")}


def _check_coco() -> None:
    """There are annotations, and every picture that they are of is there."""
    folder = FOLDER / "coco"
    documents = [json.loads(file.read_text()) for file in sorted(folder.glob("annotations/*.json"))]
    images = [image["file_name"] for document in documents for image in document["images"]]
    annotations = sum(len(document["annotations"]) for document in documents)
    tell(f"{len(images)} pictures and {annotations} annotations")
    missing = [name for name in images if not any(folder.glob(f"images/*/{name}"))]
    if not annotations or missing:
        raise DemoFailed(f"the export lacks pictures: {missing[:3]}" if missing else "the export is empty")


def _waited(argus: Client, job: Job) -> Job:
    ended = argus.jobs.wait(job.id, timeout_s=TIMEOUT_S)
    if ended.state is not JobState.SUCCEEDED:
        raise DemoFailed(f"the job {ended.kind} has {ended.state}: {ended.reason.detail if ended.reason else ''}")
    return ended
