"""Labels: a project's ontology as people see and change it.

A merge points a label at the one it went into, and never at one that went on itself: `merged_into` is one step.
"""

from __future__ import annotations

from datetime import datetime
from typing import LiteralString
from uuid import UUID

from psycopg.types.json import Jsonb

from argus_ray.catalog.statement import Statement
from argus_ray.errors import NotFound
from argus_ray.schemas.label import PALETTE, Attribute, Label, LabelCreate, LabelUpdate

COLUMNS: LiteralString = """
    l.id, l.project_id, l.number, l.name, l.names, l.colour, l.prompts, l.attributes, l.threshold, l.learnt, l.archived_at,
    l.merged_into, l.version, l.created_at, l.updated_at
"""
_NO_LABEL = NotFound("there is no such label, or it is not yours")


def insert(project_id: UUID, new: LabelCreate) -> Statement[Label]:
    """Without a colour it gets the one of the palette that the project's labels use least."""
    return Statement(
        Label,
        f"""
        insert into labels as l (project_id, name, names, colour, prompts, attributes)
        values (
          %(project_id)s, %(name)s, %(names)s,
          coalesce(%(colour)s, (
            select p.colour from unnest(%(palette)s::text[]) with ordinality p (colour, place)
            order by (select count(*) from labels o
                      where o.project_id = %(project_id)s and o.colour = p.colour and o.archived_at is null), p.place
            limit 1)),
          %(prompts)s, %(attributes)s)
        returning {COLUMNS}
        """,
        project_id=project_id,
        name=new.name,
        names=dict(new.names),
        colour=new.colour,
        palette=list(PALETTE),
        prompts=new.prompts or [new.name],
        attributes=_attributes(new.attributes),
    )


def get(label_id: UUID) -> Statement[Label]:
    return Statement(Label, f"select {COLUMNS} from labels l where id = %(id)s", id=label_id).or_raise(_NO_LABEL)


def named(project_id: UUID, label_ids: list[UUID]) -> Statement[Label]:
    """Those of these labels that the project has, archived ones too."""
    return Statement(
        Label,
        f"select {COLUMNS} from labels l where project_id = %(project_id)s and id = any (%(ids)s)",
        project_id=project_id,
        ids=label_ids,
    )


def lock(label_ids: list[UUID]) -> Statement[Label]:
    """Those of these labels that the caller may change, held until the transaction ends; always in one order."""
    return Statement(
        Label,
        f"""
        select {COLUMNS} from labels l where id = any (%(ids)s) and project_id in (select my_projects('editor'))
        order by id for update
        """,
        ids=label_ids,
    )


def in_use(project_id: UUID, label_ids: list[UUID]) -> Statement[Label]:
    """Those of these labels that the project has, archived ones too. None is archived or merged before the transaction ends."""
    return Statement(
        Label,
        f"select {COLUMNS} from labels l where project_id = %(project_id)s and id = any (%(ids)s) order by id for share",
        project_id=project_id,
        ids=label_ids,
    )


def page(
    project_id: UUID,
    *,
    name: str | None = None,
    archived: bool = False,
    after: tuple[datetime, UUID] | None,
    rows: int,
) -> Statement[Label]:
    """Newest first. `name` is a part of one of its names, in any language and case."""
    created_at, label_id = after or (None, None)
    return Statement(
        Label,
        f"""
        select {COLUMNS} from labels l
        where project_id = %(project_id)s and (%(archived)s or archived_at is null)
          and (%(name)s::text is null or strpos(lower(name), lower(%(name)s)) > 0
               or exists (select from jsonb_each_text(l.names) n where strpos(lower(n.value), lower(%(name)s)) > 0))
          and (%(created_at)s::timestamptz is null or (created_at, id) < (%(created_at)s, %(id)s::uuid))
        order by created_at desc, id desc limit %(rows)s
        """,
        project_id=project_id,
        name=name,
        archived=archived,
        created_at=created_at,
        id=label_id,
        rows=rows,
    )


def update(label_id: UUID, change: LabelUpdate, versions: list[int] | None) -> Statement[Label]:
    """Change what is given; lists are replaced whole. No row: see `edit` in the API's dependencies."""
    return Statement(
        Label,
        f"""
        update labels l set
          name = coalesce(%(name)s, name), names = coalesce(%(names)s, names), colour = coalesce(%(colour)s, colour),
          prompts = coalesce(%(prompts)s::text[], prompts), attributes = coalesce(%(attributes)s::jsonb, attributes),
          threshold = case when %(has_threshold)s then %(threshold)s else threshold end
        where id = %(id)s and (%(versions)s::bigint[] is null or version = any (%(versions)s))
        returning {COLUMNS}
        """,
        id=label_id,
        name=change.name,
        names=None if change.names is None else dict(change.names),
        colour=change.colour,
        prompts=change.prompts,
        attributes=None if change.attributes is None else _attributes(change.attributes),
        has_threshold="threshold" in change.model_fields_set,
        threshold=change.threshold,
        versions=versions,
    )


def archive(label_id: UUID, versions: list[int] | None) -> Statement[Label]:
    """It takes no new annotations. Again changes nothing but the version."""
    return Statement(
        Label,
        f"""
        update labels l set archived_at = coalesce(archived_at, now())
        where id = %(id)s and (%(versions)s::bigint[] is null or version = any (%(versions)s))
        returning {COLUMNS}
        """,
        id=label_id,
        versions=versions,
    )


def unarchive(label_id: UUID, versions: list[int] | None) -> Statement[Label]:
    """Back into use. A merged label stays what it is."""
    return Statement(
        Label,
        f"""
        update labels l set archived_at = null
        where id = %(id)s and merged_into is null and (%(versions)s::bigint[] is null or version = any (%(versions)s))
        returning {COLUMNS}
        """,
        id=label_id,
        versions=versions,
    )


def move_annotations(project_id: UUID, label_id: UUID, into: UUID) -> Statement[int]:
    """Give another label what has this one: first tracks, whose keyframes follow them by reference, then what is left."""
    return Statement(
        int,
        """
        update annotations set label_id = %(into)s
        where project_id = %(project_id)s and label_id = %(label_id)s and track_id is null
        """,
        project_id=project_id,
        label_id=label_id,
        into=into,
    )


def move_tracks(project_id: UUID, label_id: UUID, into: UUID) -> Statement[int]:
    """Give another label this one's tracks. Their keyframes follow."""
    return Statement(
        int,
        "update tracks set label_id = %(into)s where project_id = %(project_id)s and label_id = %(label_id)s",
        project_id=project_id,
        label_id=label_id,
        into=into,
    )


def end_in(label_id: UUID, into: UUID) -> Statement[Label]:
    """Merge it, and what was merged into it; a trigger gives verdicts and models' answers. The row is the other label's."""
    return Statement(
        Label,
        f"""
        with ended as (
          update labels set merged_into = %(into)s, archived_at = coalesce(archived_at, now())
          where id = %(id)s or merged_into = %(id)s
        )
        select {COLUMNS} from labels l where id = %(into)s
        """,
        id=label_id,
        into=into,
    )


def take_attributes(label_id: UUID, attributes: list[Attribute]) -> Statement[Label]:
    return Statement(
        Label,
        f"update labels l set attributes = %(attributes)s where id = %(id)s returning {COLUMNS}",
        id=label_id,
        attributes=_attributes(attributes),
    )


def restore(label_id: UUID, version: int, versions: list[int] | None) -> Statement[Label]:
    """What could be edited, as it was at that version. No row: there is none such, or as with `update`."""
    return Statement(
        Label,
        f"""
        update labels l set name = r.name, names = r.names, colour = r.colour, prompts = r.prompts,
          attributes = r.attributes, threshold = r.threshold
        from history h, jsonb_populate_record(null::labels, h.row) r
        where l.id = %(id)s and h.subject_id = l.id and h.project_id = l.project_id and h.version = %(version)s
          and (%(versions)s::bigint[] is null or l.version = any (%(versions)s))
        returning {COLUMNS}
        """,
        id=label_id,
        version=version,
        versions=versions,
    )


def _attributes(attributes: list[Attribute]) -> Jsonb:
    return Jsonb([one.model_dump(mode="json", exclude_none=True) for one in attributes])
