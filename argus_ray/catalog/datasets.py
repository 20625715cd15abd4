"""Datasets, their versions, and the splits that videos have in them for good."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from psycopg.types.json import Jsonb

from argus_ray.catalog.statement import Statement
from argus_ray.errors import NotFound
from argus_ray.schemas.dataset import Dataset, DatasetCreate, DatasetUpdate, DatasetVersion

COLUMNS: LiteralString = """
    d.id, d.project_id, d.name, d.query, d.splits, d.version, d.created_at, d.updated_at,
    (select count(*) from dataset_versions n where n.project_id = d.project_id and n.dataset_id = d.id) as versions
"""
VERSION_COLUMNS: LiteralString = """
    v.id, v.project_id, v.dataset_id, v.number, v.parent_id, v.schema_version, v.content_hash, v.manifest_key, v.query,
    v.ontology, v.counts, v.warnings, v.author, v.created_at
"""
_NO_DATASET = NotFound("there is no such dataset, or it is not yours")
_NO_VERSION = NotFound("there is no such dataset version, or it is not yours")


def insert(project_id: UUID, new: DatasetCreate) -> Statement[Dataset]:
    return Statement(
        Dataset,
        f"""
        insert into datasets as d (project_id, name, query, splits)
        values (%(project_id)s, %(name)s, %(query)s, %(splits)s)
        returning {COLUMNS}
        """,
        project_id=project_id,
        name=new.name,
        query=new.query,
        splits=new.splits,
    )


def get(dataset_id: UUID) -> Statement[Dataset]:
    return Statement(
        Dataset, f"select {COLUMNS} from datasets d where id = %(id)s and deleted_at is null", id=dataset_id
    ).or_raise(_NO_DATASET)


def page(project_id: UUID, *, after: tuple[datetime, UUID] | None, rows: int) -> Statement[Dataset]:
    """Newest first."""
    created_at, dataset_id = after or (None, None)
    return Statement(
        Dataset,
        f"""
        select {COLUMNS} from datasets d
        where project_id = %(project_id)s and deleted_at is null
          and (%(created_at)s::timestamptz is null or (created_at, id) < (%(created_at)s, %(id)s::uuid))
        order by created_at desc, id desc limit %(rows)s
        """,
        project_id=project_id,
        created_at=created_at,
        id=dataset_id,
        rows=rows,
    )


def update(dataset_id: UUID, change: DatasetUpdate, versions: list[int] | None) -> Statement[Dataset]:
    """Its versions stay as they are. No row: it is not there, not the caller's to change, or of another version."""
    return Statement(
        Dataset,
        f"""
        update datasets d set
          name = coalesce(%(name)s, name), query = coalesce(%(query)s, query), splits = coalesce(%(splits)s, splits)
        where id = %(id)s and deleted_at is null and (%(versions)s::integer[] is null or version = any (%(versions)s))
          and project_id in (select my_projects('editor'))
        returning {COLUMNS}
        """,
        id=dataset_id,
        name=change.name,
        query=change.query,
        splits=change.splits,
        versions=versions,
    )


def delete(dataset_id: UUID, versions: list[int] | None) -> Statement[Dataset]:
    """Its versions stay, for what was made of them."""
    return Statement(
        Dataset,
        f"""
        update datasets d set deleted_at = now()
        where id = %(id)s and deleted_at is null and (%(versions)s::integer[] is null or version = any (%(versions)s))
          and project_id in (select my_projects('editor'))
        returning {COLUMNS}
        """,
        id=dataset_id,
        versions=versions,
    )


def version(version_id: UUID) -> Statement[DatasetVersion]:
    return Statement(
        DatasetVersion, f"select {VERSION_COLUMNS} from dataset_versions v where id = %(id)s", id=version_id
    ).or_raise(_NO_VERSION)


def versions(dataset_id: UUID, *, before: int | None, rows: int) -> Statement[DatasetVersion]:
    """The last one first."""
    return Statement(
        DatasetVersion,
        f"""
        select {VERSION_COLUMNS} from dataset_versions v
        where dataset_id = %(id)s and (%(before)s::integer is null or number < %(before)s)
        order by number desc limit %(rows)s
        """,
        id=dataset_id,
        before=before,
        rows=rows,
    )


def version_of_job(job_id: UUID) -> Statement[DatasetVersion]:
    return Statement(
        DatasetVersion, f"select {VERSION_COLUMNS} from dataset_versions v where job_id = %(job_id)s", job_id=job_id
    )


# -- freezing ------------------------------------------------------------------------------------


def lock_splits(project_id: UUID, dataset_id: UUID) -> Statement[None]:
    """Hold the dataset's splits and its next number until the transaction ends."""
    return Statement(
        type(None),
        "select pg_advisory_xact_lock(hashtext('argus.datasets'), hashtext(%(project_id)s::text || %(dataset_id)s::text))",
        project_id=project_id,
        dataset_id=dataset_id,
    )


@dataclass(frozen=True)
class VideoSplit:
    """The split that a video has in a dataset, for good, and the component it was in then."""

    video_id: UUID
    split: str
    component: int


def splits(project_id: UUID, dataset_id: UUID) -> Statement[VideoSplit]:
    return Statement(
        VideoSplit,
        """
        select video_id, split, component from dataset_splits
        where project_id = %(project_id)s and dataset_id = %(dataset_id)s
        """,
        project_id=project_id,
        dataset_id=dataset_id,
    )


def keep_splits(project_id: UUID, dataset_id: UUID, chosen: list[VideoSplit]) -> Statement[None]:
    """Write the splits of videos that have none yet."""
    return Statement(
        type(None),
        """
        insert into dataset_splits (project_id, dataset_id, video_id, split, component)
        select %(project_id)s, %(dataset_id)s, c.* from unnest(%(videos)s::uuid[], %(splits)s::text[], %(components)s::integer[]) c
        on conflict (project_id, dataset_id, video_id) do update set component = excluded.component
          where dataset_splits.component <> excluded.component
        """,
        project_id=project_id,
        dataset_id=dataset_id,
        videos=[one.video_id for one in chosen],
        splits=[one.split for one in chosen],
        components=[one.component for one in chosen],
    )


def insert_version(
    project_id: UUID,
    dataset_id: UUID,
    *,
    job_id: UUID,
    schema_version: int,
    content_hash: str,
    manifest_key: str,
    query: dict[str, Any],
    ontology: list[dict[str, Any]],
    counts: dict[str, Any],
    warnings: list[dict[str, Any]],
) -> Statement[DatasetVersion]:
    """The next version, by whoever asked for the job. Run it under `lock_splits`; a job makes one, however often it is run.

    No row: the job has made it already.
    """
    return Statement(
        DatasetVersion,
        f"""
        insert into dataset_versions as v (project_id, dataset_id, job_id, number, parent_id, schema_version, content_hash,
          manifest_key, query, ontology, counts, warnings, author)
        select %(project_id)s, %(dataset_id)s, %(job_id)s, coalesce(max(p.number), 0) + 1,
          (array_agg(p.id order by p.number desc))[1], %(schema_version)s, %(content_hash)s, %(manifest_key)s, %(query)s,
          %(ontology)s, %(counts)s, %(warnings)s,
          (select 'user:' || j.created_by from jobs j where j.id = %(job_id)s)
        from dataset_versions p where p.project_id = %(project_id)s and p.dataset_id = %(dataset_id)s
        on conflict (job_id) do nothing
        returning {VERSION_COLUMNS}
        """,
        project_id=project_id,
        dataset_id=dataset_id,
        job_id=job_id,
        schema_version=schema_version,
        content_hash=content_hash,
        manifest_key=manifest_key,
        query=query,
        ontology=Jsonb(ontology),
        counts=counts,
        warnings=Jsonb(warnings),
    )
