"""Labels: the project's ontology. Editors make and change it; everybody in the project reads it."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response

from argus_ray import ontology
from argus_ray.catalog import history, labels
from argus_ray.errors import Conflict, NotFound
from argus_ray.schemas.annotation import HistoryEntry, Restore
from argus_ray.schemas.common import Page, Text
from argus_ray.schemas.label import Label, LabelCreate, LabelMerge, LabelUpdate
from serve_apps.api.dependencies import (
    IfMatch,
    MayMatch,
    NewestFirst,
    Paging,
    ProjectId,
    UserTx,
    edit,
    newest,
    paging,
    tagged,
)
from serve_apps.api.problems import documented
from serve_apps.api.route import Idempotent, Route

router = APIRouter(prefix="/v1", tags=["labels"], route_class=Route, responses=documented(401, 404, 422))

ByVersion = Annotated[Paging[int], Depends(paging(int))]
"""Places are versions, latest first."""


@router.post(
    "/projects/{project_id}/labels",
    status_code=201,
    operation_id="create_label",
    dependencies=[Idempotent],
    responses=documented(403, 409),
)
async def create_label(project_id: ProjectId, new: LabelCreate, tx: UserTx, response: Response) -> Label:
    """Name a thing to find. The name may be in any language; `prompts` are English, which is what SAM 3 reads."""
    try:
        label = await tx.one(labels.insert(project_id, new))
    except Conflict as error:
        raise _named(error, new.name) from error
    response.headers["Location"] = f"/v1/labels/{label.id}"
    return tagged(label, response)


@router.get("/projects/{project_id}/labels", operation_id="list_labels")
async def list_labels(
    project_id: ProjectId,
    page: NewestFirst,
    tx: UserTx,
    name: Annotated[Text | None, Query(max_length=200, description="Part of one of its names, in any case.")] = None,
    archived: Annotated[bool, Query(description="Archived and merged ones too.")] = False,
) -> Page[Label]:
    """The project's labels, newest first."""
    found = labels.page(project_id, name=name, archived=archived, after=page.after, rows=page.rows)
    return page.page(await tx.all(found), newest)


@router.get("/labels/{label_id}", operation_id="get_label")
async def get_label(label_id: UUID, tx: UserTx, response: Response) -> Label:
    """A label of one's projects, an archived one too."""
    return tagged(await tx.one(labels.get(label_id)), response)


@router.patch("/labels/{label_id}", operation_id="update_label", responses=documented(403, 409, 412, 428))
async def update_label(label_id: UUID, change: LabelUpdate, versions: IfMatch, tx: UserTx, response: Response) -> Label:
    """Rename it, or change its colour, phrases, attributes or threshold. Annotations keep the values that they have."""
    try:
        changed = await edit(tx, labels.update(label_id, change, versions), labels.get(label_id), versions)
    except Conflict as error:
        raise _named(error, change.name or "") from error
    return tagged(changed, response)


@router.post(
    "/labels/{label_id}:archive",
    operation_id="archive_label",
    dependencies=[Idempotent],
    responses=documented(403, 409, 412),
)
async def archive_label(label_id: UUID, versions: MayMatch, tx: UserTx, response: Response) -> Label:
    """Take it out of use: it keeps its annotations, and takes no new ones."""
    return tagged(await edit(tx, labels.archive(label_id, versions), labels.get(label_id), versions), response)


@router.post(
    "/labels/{label_id}:unarchive",
    operation_id="unarchive_label",
    dependencies=[Idempotent],
    responses=documented(403, 409, 412),
)
async def unarchive_label(label_id: UUID, versions: MayMatch, tx: UserTx, response: Response) -> Label:
    """Bring it back into use, if no label has taken its name meanwhile."""
    label = await tx.one(labels.get(label_id))
    if label.merged_into is not None:
        raise Conflict(f"the label was merged into {label.merged_into}: use that one", merged_into=label.merged_into)
    try:
        back = await edit(tx, labels.unarchive(label_id, versions), labels.get(label_id), versions)
    except Conflict as error:
        raise _named(error, label.name) from error
    return tagged(back, response)


@router.post(
    "/labels/{label_id}:merge",
    operation_id="merge_label",
    dependencies=[Idempotent],
    responses=documented(403, 409),
)
async def merge_label(label_id: UUID, asked: LabelMerge, tx: UserTx, response: Response) -> Label:
    """Give all that it has to another label, and archive it; the label that has both now.

    Annotations, tracks, verdicts and what models answered move at once. Where both labels have a verdict on a frame, the
    same word stays, present with absent is present, and anything with partial is partial.
    """
    return tagged(await ontology.merge(tx, label_id, asked.into), response)


@router.get("/labels/{label_id}/history", operation_id="list_label_history")
async def list_label_history(label_id: UUID, page: ByVersion, tx: UserTx) -> Page[HistoryEntry]:
    """Its earlier versions, latest first, and who replaced each."""
    await tx.one(labels.get(label_id))
    return page.page(await tx.all(history.page(label_id, after=page.after, rows=page.rows)), lambda row: row.version)


@router.post(
    "/labels/{label_id}:restore",
    operation_id="restore_label",
    dependencies=[Idempotent],
    responses=documented(403, 409, 412),
)
async def restore_label(label_id: UUID, asked: Restore, versions: MayMatch, tx: UserTx, response: Response) -> Label:
    """Its name, names, colour, phrases, attributes and threshold as they were at a version; what it has now is kept too."""
    if await tx.maybe(history.entry(label_id, asked.version)) is None:
        await tx.one(labels.get(label_id))
        raise NotFound(f"the label has no earlier version {asked.version}: see its history")
    try:
        back = await edit(tx, labels.restore(label_id, asked.version, versions), labels.get(label_id), versions)
    except Conflict as error:
        raise _named(error, "it had then") from error
    return tagged(back, response)


def _named(error: Conflict, name: str) -> Conflict:
    """A name that is taken, in words."""
    if error.facts.get("constraint") != "labels_by_name":
        return error
    return Conflict(f"the project has a label of the name {name!r} already: use that one, or another name")
