"""Merging one label into another: in one transaction, everything that the one had is the other's.

Merging says that the two are one concept, so a word that a person gave on either is a word on it. Where both have one on a
frame: the same word stays, present with absent is present, and anything with partial is partial. Models' answers add up.
Attributes that the other label lacks come along; a `select` that both have gets the values of both.

Jobs that still ask for the merged label find it archived; what they propose goes to the label that it went into.
"""

from __future__ import annotations

from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from argus_ray.catalog import labels
from argus_ray.catalog.statement import AsyncTx
from argus_ray.errors import Conflict, Forbidden, InvalidRequest
from argus_ray.schemas.label import Attribute, Attributes, Label

_ATTRIBUTES: TypeAdapter[list[Attribute]] = TypeAdapter(Attributes)


async def merge(tx: AsyncTx, label_id: UUID, into: UUID) -> Label:
    """The label that has both now. Again is the same as once.

    Raises NotFound where the caller cannot see one of them, Forbidden where they may not change it, InvalidRequest where
    they are one or of two projects, and Conflict where one is not in use or their attributes contradict each other.
    """
    if label_id == into:
        raise InvalidRequest("a label cannot be merged into itself: name another one")
    held = {label.id: label for label in await tx.all(labels.lock([label_id, into]))}
    for wanted in (label_id, into):
        if wanted not in held:
            await tx.one(labels.get(wanted))
            raise Forbidden("only an editor of the project may merge labels: ask an owner")
    ends, goes_on = held[label_id], held[into]
    if ends.project_id != goes_on.project_id:
        raise InvalidRequest("labels of two projects cannot be merged")
    if ends.merged_into == into:
        return goes_on
    if ends.merged_into is not None:
        raise Conflict(f"the label was merged into {ends.merged_into} before", merged_into=str(ends.merged_into))
    if goes_on.archived_at is not None:
        raise Conflict(f"the label {goes_on.name!r} is archived: unarchive it, or merge into another one")
    attributes = merged_attributes(ends, goes_on)
    if attributes != goes_on.attributes:
        await tx.one(labels.take_attributes(into, attributes))
    # words first: what moves after them ends an absence that nobody has contradicted
    both = await tx.one(labels.end_in(label_id, into))
    await tx.run(labels.move_tracks(ends.project_id, label_id, into))
    await tx.run(labels.move_annotations(ends.project_id, label_id, into))
    return both


def merged_attributes(ends: Label, goes_on: Label) -> list[Attribute]:
    """Those of the label that goes on, then those that only the other has. Raises Conflict where they contradict."""
    merged = {one.name: one for one in goes_on.attributes}
    for one in ends.attributes:
        kept = merged.setdefault(one.name, one)
        if kept.kind != one.kind:
            raise Conflict(
                f"both labels have an attribute {one.name!r}, of kind {one.kind} and of kind {kept.kind}: rename one first"
            )
        if new := [value for value in one.values if value not in kept.values]:
            merged[one.name] = kept.model_copy(update={"values": [*kept.values, *new]})
    try:
        return _ATTRIBUTES.validate_python([one.model_dump() for one in merged.values()])
    except ValidationError as error:
        raise Conflict(f"the two labels have too many attributes together: {error.errors()[0]['msg']}") from error
