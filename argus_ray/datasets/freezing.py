"""Freezing: a dataset's query, answered once in one snapshot, becomes a version that never changes.

    one snapshot of Postgres ──▶ scratch/frames.parquet ──▶ components, splits (kept for good) ──▶ manifest ──▶ S3
                                                                                                         └──▶ its row

The manifest's place in S3 is named by its contents, so that a second try, or a run that was taken for dead, writes the
same bytes to the same place or others elsewhere. The row is written with the end of the job; the job makes one.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np

from argus_ray.catalog import datasets, freezing
from argus_ray.catalog.connect import Database, worker_url
from argus_ray.catalog.datasets import VideoSplit
from argus_ray.catalog.statement import Tx
from argus_ray.catalog.work import Started
from argus_ray.datasets import manifest
from argus_ray.datasets.splits import alike, assign, components
from argus_ray.datasets.sweep import Sweep
from argus_ray.errors import NothingToFreeze
from argus_ray.s3 import S3, dataset_prefix, video_prefix
from argus_ray.schemas.dataset import Dataset, Splits
from argus_ray.schemas.job import Freeze
from argus_ray.settings import Settings

Tell = Callable[[float], None]
Effects = Callable[[Tx], dict[str, Any]]

VECTORS_OF_EACH = 32
"""Frames of a video, evenly spread, that are compared with those of the others."""


def freeze(settings: Settings, started: Started, tell: Tell) -> Effects:
    """Make a version of the dataset; what is returned writes its row. Raises NothingToFreeze, NotFound."""
    asked = Freeze.model_validate(started.spec)
    with (
        tempfile.TemporaryDirectory(prefix="freeze-", dir=settings.scratch) as scratch,
        closing(Database(worker_url(settings))) as database,
        closing(S3(settings)) as s3,
    ):
        folder = Path(scratch)
        found = database.retry(lambda tx: _collected(tx, asked.dataset_id, folder, tell))
        together = database.retry(lambda tx: _alike(tx, found, folder))
        split_of, warnings = database.retry(lambda tx: _split(tx, found, together))
        tell(0.6)
        (folder / "manifest").mkdir()
        pictures = _with_etags(s3, found, manifest.rows(folder / "frames.parquet"))
        written = manifest.write(
            folder / "manifest",
            pictures,
            manifest.rows(folder / "keyframes.parquet"),
            split_of,
            query=found.dataset.query.model_dump(mode="json"),
            ontology=found.ontology,
        )
        tell(0.8)
        prefix = dataset_prefix(found.dataset.project_id, asked.dataset_id, written.content_hash)
        for file in sorted((folder / "manifest").iterdir()):
            s3.put_file(prefix + file.name, file)
            tell(0.9)
    row = datasets.insert_version(
        found.dataset.project_id,
        asked.dataset_id,
        job_id=started.job_id,
        schema_version=manifest.SCHEMA_VERSION,
        content_hash=written.content_hash,
        manifest_key=prefix + "dataset.json",
        query=found.dataset.query.model_dump(mode="json"),
        ontology=found.ontology,
        counts=written.counts,
        warnings=found.warnings + warnings,
    )

    def effects(tx: Tx) -> dict[str, Any]:
        tx.run(datasets.lock_splits(found.dataset.project_id, asked.dataset_id))
        made = tx.maybe(row) or tx.one(datasets.version_of_job(started.job_id))
        return {
            "dataset_version_id": str(made.id),
            "number": made.number,
            "content_hash": made.content_hash,
            "counts": made.counts,
            "warnings": made.warnings,
        }

    return effects


class _Found:
    """What the query has found, with its frames in a file."""

    def __init__(
        self, dataset: Dataset, ontology: list[dict[str, Any]], videos: Mapping[UUID, Mapping[str, Any]]
    ) -> None:
        self.dataset, self.videos = dataset, videos
        self.ontology = ontology
        self.content: dict[str, dict[str, int]] = {}
        self.warnings: list[dict[str, Any]] = []


def _collected(tx: Tx, dataset_id: UUID, folder: Path, tell: Tell) -> _Found:
    """Read the query's answer into `frames.parquet` and `keyframes.parquet`."""
    tx.run(freezing.repeatable())
    dataset = tx.one(datasets.get(dataset_id))
    project_id, query = dataset.project_id, dataset.query
    videos = {row["id"]: row for row in tx.stream(freezing.videos(project_id, query))}
    found = _Found(dataset, [_plain(row) for row in tx.all(freezing.ontology(project_id, query.label_ids))], videos)
    frames = manifest.Table(folder / "frames.parquet", manifest.FRAMES)
    keyframes = manifest.Table(folder / "keyframes.parquet", manifest.TRACKS)
    sweep = Sweep(
        project_id,
        videos,
        tx.stream(freezing.frames(project_id, query)),
        tx.stream(freezing.selected(project_id, query)),
        tx.stream(freezing.verdicts(project_id, query)),
        interpolate=query.interpolate,
        keyframe=keyframes.add,
    )
    for number, row in enumerate(sweep):
        frames.add(row)
        if number % 500 == 0:
            tell(0.5 * len(sweep.content) / (len(videos) + 1))
    frames.close()
    keyframes.close()
    if not frames.rows:
        raise NothingToFreeze(
            f"no picture of the project's ready videos has an annotation or verdict of what dataset {dataset.name!r} asks "
            "for: accept some, or change its query",
            query=query.model_dump(mode="json", exclude_none=True),
        )
    if sweep.unpictured:
        found.warnings.append(
            {
                "code": "without-picture",
                "detail": f"{sweep.unpictured} annotations are at times of which no picture is kept, and are not in this "
                "version: keep more frames, or annotate kept ones",
                "annotations": sweep.unpictured,
            }
        )
    found.content = {video: dict(counts) for video, counts in sweep.content.items()}
    return found


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """An ontology's entry as JSON has it."""
    return dict(row)


def _alike(tx: Tx, found: _Found, folder: Path) -> list[tuple[str, str]]:
    """Pairs of videos that are the same, or look so."""
    by_bytes = defaultdict(list)
    for video_id, video in found.videos.items():
        if video["sha256"] and str(video_id) in found.content:
            by_bytes[video["sha256"]].append(str(video_id))
    pairs = [(same[0], other) for same in by_bytes.values() for other in same[1:]]
    owners: list[str] = []
    file = folder / "vectors"
    dim = 0
    asked = freezing.vectors(
        found.dataset.project_id, [UUID(video) for video in found.content], of_each=VECTORS_OF_EACH
    )
    with file.open("wb") as out:
        for row in tx.stream(asked):
            vector = np.asarray(row["vector"], dtype=np.float16)
            dim = len(vector)
            owners.append(str(row["video_id"]))
            out.write(vector.tobytes())
    if owners:
        vectors = np.memmap(file, dtype=np.float16, mode="r", shape=(len(owners), dim))
        pairs += alike(vectors, owners, found.dataset.splits.alike)
    missing = sorted(set(found.content) - set(owners))
    if missing:
        found.warnings.append(
            {
                "code": "not-compared",
                "detail": f"{len(missing)} videos have no vectors: whether they look like others is not known",
                "videos": missing[:10],
            }
        )
    return pairs


def _split(
    tx: Tx, found: _Found, together: Iterable[tuple[str, str]]
) -> tuple[dict[str, tuple[str, int]], list[dict[str, Any]]]:
    """The split and component of each video, kept for good before anything is written by them."""
    project_id, dataset_id = found.dataset.project_id, found.dataset.id
    tx.run(datasets.lock_splits(project_id, dataset_id))
    before = {str(row.video_id): row for row in tx.all(datasets.splits(project_id, dataset_id))}
    component_of = components({*found.content, *before}, [*together, *_earlier(before)])
    fixed = {video: row.split for video, row in before.items()}
    dealt = assign(found.content, component_of, fixed, _shares(found.dataset.splits))
    numbers: dict[str, int] = {}
    for video, row in before.items():
        numbers[component_of[video]] = min(row.component, numbers.get(component_of[video], row.component))
    unused = max((row.component for row in before.values()), default=0)
    for video in sorted(found.content):
        if component_of[video] not in numbers:
            unused += 1
            numbers[component_of[video]] = unused
    chosen = [VideoSplit(UUID(video), split, numbers[component_of[video]]) for video, split in dealt.split_of.items()]
    tx.run(datasets.keep_splits(project_id, dataset_id, chosen))
    return {str(one.video_id): (one.split, one.component) for one in chosen}, dealt.warnings


def _earlier(before: Mapping[str, VideoSplit]) -> Iterator[tuple[str, str]]:
    """Videos that were in one component stay in one."""
    first: dict[int, str] = {}
    for video, row in sorted(before.items()):
        yield first.setdefault(row.component, video), video


def _shares(splits: Splits) -> dict[str, float]:
    return {"train": splits.train, "val": splits.val, "test": splits.test}


def _with_etags(s3: S3, found: _Found, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The rows with what S3 says of their pictures, by one listing a video."""
    gone = 0
    for video_id, of_video in groupby(rows, key=lambda row: row["video_id"]):
        prefix = video_prefix(found.dataset.project_id, UUID(video_id)) + "frames/"
        etags = dict(s3.etags_under(prefix))
        for row in of_video:
            etag = etags.get(row["object_key"])
            gone += etag is None
            yield {**row, "etag": etag}
    if gone:
        found.warnings.append(
            {
                "code": "picture-missing",
                "detail": f"the pictures of {gone} frames are not in S3: ingest their videos again",
                "frames": gone,
            }
        )
