"""Making and changing annotations: everything is checked before anything is written.

A person's annotation is accepted from the start. A person who gives a model's proposal another shape or label makes it
theirs: `source` is human and it is accepted, while model, job and score go on saying what was proposed. Accepting one as it
is leaves the model its source.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import cast
from uuid import UUID

from argus_ray import rle
from argus_ray.annotations import attributes, polygons
from argus_ray.annotations import tracks as geometry
from argus_ray.annotations.attributes import Place
from argus_ray.catalog import annotations as annotation_rows
from argus_ray.catalog import history, labels, tracks
from argus_ray.catalog.annotations import Canvas, KeyframeRow, Row
from argus_ray.catalog.statement import AsyncTx
from argus_ray.errors import Conflict, InvalidRequest, NotFound
from argus_ray.schemas.annotation import (
    Annotation,
    AnnotationCreate,
    AnnotationUpdate,
    Box,
    Keyframe,
    Kind,
    Shape,
    Source,
    State,
    Track,
)
from argus_ray.schemas.label import Label


async def create(tx: AsyncTx, project_id: UUID, new: Sequence[AnnotationCreate]) -> list[Annotation]:
    """All of them, or none. Raises InvalidRequest, naming the one at fault; Conflict where an id is taken, or a track has
    a keyframe at that time.
    """
    known = await labels_in_use(tx, project_id, [one.label_id for one in new])
    canvases = {
        c.video_id: c for c in await tx.all(annotation_rows.canvases(project_id, [one.video_id for one in new]))
    }
    track_ids = sorted({one.track_id for one in new if one.track_id})
    followed = {t.id: t for t in await tx.all(tracks.hold(project_id, track_ids))} if track_ids else {}
    rows = await asyncio.to_thread(
        lambda: [_checked(one, place, known, canvases, followed) for place, one in enumerate(new)]
    )
    check_times([(one.track_id, one.pts_us) for one in new])
    with one_keyframe_at_a_time():
        return await tx.all(annotation_rows.insert(project_id, rows))


async def changes(tx: AsyncTx, now: Annotation, change: AnnotationUpdate) -> Row:
    """The columns that a change of this annotation writes. Raises InvalidRequest where it cannot be, and Conflict where a
    keyframe would leave its track's label.
    """
    label_id = change.label_id or now.label_id
    is_relabelled = label_id != now.label_id
    if now.track_id is not None and is_relabelled:
        raise Conflict(f"it is a keyframe of track {now.track_id}: change that one's label, and its keyframes follow")
    canvas = await get_canvas(tx, now.project_id, now.video_id)
    label = (await labels_in_use(tx, now.project_id, [label_id], also_archived=now.label_id))[label_id]
    row = await _reshaped(change, canvas) | _ends(now, change, canvas)
    if row.get("kind") or is_relabelled:
        row |= {"label_id": str(label_id), "source": Source.HUMAN, "state": State.ACCEPTED, "reason": None}
    if change.outside and now.track_id is None:
        raise InvalidRequest("/outside: it belongs to a keyframe of a track, and this is none")
    row |= {name: getattr(change, name) for name in ("outside", "occluded") if getattr(change, name) is not None}
    if change.attributes is not None or is_relabelled:
        given = now.attributes if change.attributes is None else change.attributes
        row["attributes"] = attributes.check(given, label.attributes, "keyframe" if now.track_id else "annotation")
    return row | reviewed(change.state, change.reason, now.state)


async def _reshaped(change: AnnotationUpdate, canvas: Canvas) -> Row:
    """Another shape, measured, if one is given."""
    shapes = [name for name in ("box", "polygon", "mask", "points") if getattr(change, name) is not None]
    if not shapes:
        return {}
    if len(shapes) > 1:
        raise InvalidRequest(f"give one shape, not {' and '.join(shapes)}")
    if canvas.width is None or canvas.height is None:
        raise Conflict("the video's size is not known yet: wait until it is ready")
    return await asyncio.to_thread(measured, Shape(**{shapes[0]: getattr(change, shapes[0])}), canvas) | {
        "end_us": None
    }


def _ends(now: Annotation, change: AnnotationUpdate, canvas: Canvas) -> Row:
    """Another end of a tag, if one is given: null makes it one of a frame."""
    if "end_us" not in change.model_fields_set:
        return {}
    if now.kind is not Kind.TAG:
        raise InvalidRequest(f"/end_us: it belongs to a tag, and this is a {now.kind}")
    if change.end_us is not None and not now.pts_us < change.end_us <= canvas.last_us:
        raise InvalidRequest(f"/end_us: it lies after pts_us ({now.pts_us}) and within the video ({canvas.last_us})")
    return {"end_us": change.end_us}


def reviewed(state: State | None, reason: str | None, before: State) -> Row:
    """What a change of state writes. Raises InvalidRequest for a reason of what is not rejected."""
    if state is None and reason is None:
        return {}
    state = state or before
    if reason is not None and state is not State.REJECTED:
        raise InvalidRequest(f"/reason: it says why something is rejected, and this is {state}")
    return {"state": state, "reason": reason}


async def check_restorable(tx: AsyncTx, annotation_id: UUID, version: int) -> None:
    """Raises NotFound where the caller sees no such version of it, and Conflict where its track was deleted."""
    now = await tx.one(annotation_rows.get_even_deleted(annotation_id))
    if await tx.maybe(history.entry(annotation_id, version)) is None:
        raise NotFound(f"the annotation has no earlier version {version}: see its history")
    if now.track_id is not None and not await tx.all(tracks.hold(now.project_id, [now.track_id])):
        raise Conflict(f"it is a keyframe of track {now.track_id}, which was deleted: restore the track")


# -- checks ----------------------------------------------------------------------------------------


def measured(shape: Shape, canvas: Canvas) -> Row:
    """A shape's columns, with the box around it and the pixels it covers of a picture of the video's size.

    Raises InvalidRequest where it is no shape of that picture.
    """
    row: Row = dict.fromkeys(("x", "y", "w", "h", "polygon", "points", "counts", "area_px")) | {"kind": shape.kind}
    assert canvas.width
    assert canvas.height
    pixels = canvas.width * canvas.height
    if shape.box is not None:
        return row | shape.box.model_dump() | {"area_px": round(shape.box.w * shape.box.h * pixels)}
    if shape.mask is not None:
        mask = rle.Rle(shape.mask.size, shape.mask.counts)
        try:
            rle.check(mask, (canvas.height, canvas.width))
        except InvalidRequest as error:
            raise InvalidRequest(f"/mask: {error.detail}", **error.facts) from error
        x, y, w, h = rle.bbox(mask)
        if not w:
            raise InvalidRequest("/mask/counts: the mask has no pixel: leave the annotation out, or say `outside`")
        box = {"x": x / canvas.width, "y": y / canvas.height, "w": w / canvas.width, "h": h / canvas.height}
        return row | box | {"counts": mask.counts, "area_px": rle.area(mask)}
    if shape.polygon is not None:
        polygons.check(shape.polygon)
        box = dict(zip("xywh", polygons.bbox(shape.polygon), strict=True))
        covered = rle.area(polygons.to_rle(shape.polygon, (canvas.height, canvas.width)))
        return row | box | {"polygon": shape.polygon, "area_px": covered}
    if shape.points is not None:
        return row | {"points": shape.points, "area_px": 0} | _bounds(shape.points)
    return row


def _bounds(points: Sequence[tuple[float, float]]) -> Row:
    xs, ys = zip(*points, strict=True)
    return {"x": min(xs), "y": min(ys), "w": max(xs) - min(xs), "h": max(ys) - min(ys)}


async def labels_in_use(
    tx: AsyncTx, project_id: UUID, label_ids: Sequence[UUID], *, also_archived: UUID | None = None
) -> dict[UUID, Label]:
    """These labels, which stay in use until the transaction ends. Raises InvalidRequest where one is not."""
    known = {label.id: label for label in await tx.all(labels.in_use(project_id, sorted(set(label_ids))))}
    for place, label_id in enumerate(label_ids):
        if label_id not in known:
            raise InvalidRequest(f"/annotations/{place}/label_id: the project has no label {label_id}: see its labels")
        label = known[label_id]
        if label.archived_at is not None and label_id != also_archived:
            instead = (
                f"use {label.merged_into}, which it was merged into" if label.merged_into else "unarchive it first"
            )
            raise InvalidRequest(f"/annotations/{place}/label_id: the label {label.name!r} is archived: {instead}")
    return known


def _checked(
    one: AnnotationCreate,
    place: int,
    known: Mapping[UUID, Label],
    canvases: Mapping[UUID, Canvas],
    followed: Mapping[UUID, Track],
) -> Row:
    """The columns of a new annotation. Raises InvalidRequest, saying which one it is."""
    try:
        _check_track(one, followed)
        return {
            **placed(
                one, _known(canvases, one.video_id), known[one.label_id], "keyframe" if one.track_id else "annotation"
            ),
            "id": str(one.id) if one.id else None,
            "video_id": str(one.video_id),
            "label_id": str(one.label_id),
            "track_id": str(one.track_id) if one.track_id else None,
        }
    except InvalidRequest as error:
        where = f"/annotations/{place}" + ("" if error.detail.startswith("/") else ": ")
        raise InvalidRequest(where + error.detail, **error.facts) from error


def _known(canvases: Mapping[UUID, Canvas], video_id: UUID) -> Canvas:
    if video_id not in canvases:
        raise InvalidRequest(f"/video_id: the project has no video {video_id}")
    return canvases[video_id]


def _check_track(one: AnnotationCreate, followed: Mapping[UUID, Track]) -> None:
    if one.track_id is None:
        return
    track = followed.get(one.track_id)
    if track is None:
        raise InvalidRequest(f"/track_id: the project has no track {one.track_id}")
    if (track.video_id, track.label_id) != (one.video_id, one.label_id):
        raise InvalidRequest(
            f"/track_id: the track is of video {track.video_id} and label {track.label_id}: so are its keyframes"
        )


def placed(one: AnnotationCreate | Keyframe, canvas: Canvas, label: Label, place: Place) -> Row:
    """What a person's new annotation or keyframe is, but for what it belongs to. Raises InvalidRequest."""
    if canvas.width is None or canvas.height is None:
        raise Conflict("the video's size is not known yet: wait until it is ready")
    for name, at in (("pts_us", one.pts_us), ("end_us", one.end_us)):
        if at is not None and not canvas.first_us <= at <= canvas.last_us:
            raise InvalidRequest(
                f"/{name}: {at} is outside of the video, which lasts from {canvas.first_us} to {canvas.last_us}"
            )
    return measured(one, canvas) | {
        "pts_us": one.pts_us,
        "end_us": one.end_us,
        "outside": one.outside,
        "occluded": one.occluded,
        "attributes": attributes.check(one.attributes, label.attributes, place),
        "source": Source.HUMAN,
        "state": State.ACCEPTED,
    }


def check_times(keyframes: Sequence[tuple[UUID | None, int]]) -> None:
    """Raises InvalidRequest where two of these keyframes, of a track and a time, are of the same track and time."""
    seen: dict[tuple[UUID | None, int], int] = {}
    for place, (track_id, pts_us) in enumerate(keyframes):
        if track_id is not None and (first := seen.setdefault((track_id, pts_us), place)) != place:
            raise InvalidRequest(
                f"annotations {first} and {place} are two keyframes of one track at {pts_us} us: keep one of them"
            )


@contextmanager
def one_keyframe_at_a_time() -> Iterator[None]:
    """Say a keyframe's place that is taken, and an id, in words."""
    try:
        yield
    except Conflict as error:
        constraint = error.facts.get("constraint")
        if constraint == "annotations_keyframes":
            raise Conflict(
                "the track has a keyframe at that time already: change that one, or delete it first"
            ) from error
        if constraint in {"annotations_by_id", "annotations_pkey"}:
            raise Conflict("an annotation with that id is there already: leave the id out, or make another") from error
        raise


async def get_canvas(tx: AsyncTx, project_id: UUID, video_id: UUID) -> Canvas:
    """The one video's. Raises NotFound."""
    canvas = await tx.maybe(annotation_rows.canvases(project_id, [video_id]))
    if canvas is None:
        raise NotFound("there is no such video, or it is not yours")
    return canvas


# -- keyframes -------------------------------------------------------------------------------------


def moving(row: KeyframeRow) -> geometry.Keyframe:
    """A keyframe as interpolation knows it: what holds until the next one stays in the row's text."""
    kind = Kind(row.kind)
    shape: geometry.Shape = None
    if kind is Kind.BOX:
        shape = cast("geometry.Box", (row.x, row.y, row.w, row.h))
    elif kind is Kind.POLYGON:
        shape = row.polygon
    return geometry.Keyframe(row.pts_us, kind, shape, row.outside)


def shape_between(before: KeyframeRow, after: KeyframeRow, pts_us: int) -> Shape:
    """What is seen at a time after the one keyframe and not after the other."""
    start = moving(before)
    (shape,) = geometry.between(start, moving(after), [pts_us])
    if start.kind is Kind.BOX:
        x, y, w, h = cast("geometry.Box", shape)
        return Shape(box=Box(x=x, y=y, w=min(w, 1 - x), h=min(h, 1 - y)))
    if start.kind is Kind.POLYGON:
        return Shape(polygon=cast("polygons.Polygon", shape))
    held = Annotation.model_validate_json(before.item)
    return Shape(mask=held.mask, points=held.points, tag=True if start.kind is Kind.TAG else None)
