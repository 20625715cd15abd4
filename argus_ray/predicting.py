"""Asking SAM 3 about frames while somebody waits: a concept or an object in one, a phrase over a handful.

Whoever asks sees the frames by the rights they have; no transaction is open while the model thinks. What is to be kept
becomes proposals of the model, by whoever asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from argus_ray import annotating
from argus_ray.annotations.contact_sheet import Cell, lines, sheet
from argus_ray.annotations.overlay import Drawn, png
from argus_ray.catalog import annotations as annotation_rows
from argus_ray.catalog import frames, labels, models, videos
from argus_ray.catalog.annotations import Canvas
from argus_ray.catalog.frames import FrameRow
from argus_ray.catalog.statement import AsyncTx
from argus_ray.errors import Conflict, InvalidRequest, NotFound
from argus_ray.models.concepts import Click, Found, Pointed, Prompt, Segmented, box_of, distinct
from argus_ray.rle import Rle, Size, area
from argus_ray.s3 import S3, frame_key
from argus_ray.schemas.annotation import Box, Mask, Shape, Source, State
from argus_ray.schemas.concept import (
    AnsweredBy,
    Candidate,
    ConceptPreview,
    FramePrediction,
    Predict,
    Predicted,
    Prediction,
    Preview,
)
from argus_ray.schemas.label import Label

Transactions = Callable[[], AbstractAsyncContextManager[AsyncTx]]
"""Opens a transaction as the caller, as often as one is wanted."""

_SHEET_COLUMNS, _SHEET_CELL = 4, (360, 240)


class Finder(Protocol):
    """The SAM 3 deployment, as requests need it. Pictures are named by their keys in the bucket."""

    async def info(self) -> dict[str, Any]:
        """`model_id`, `uri`, `weights_id` and what its tracker has learnt."""

    async def find(
        self,
        model_id: str,
        keys: Sequence[str],
        prompts: Sequence[Prompt],
        *,
        sizes: Sequence[Size],
        threshold: float | None,
    ) -> list[list[Found]]:
        """By picture and prompt."""

    async def segment(self, model_id: str, key: str, objects: Sequence[Pointed], *, size: Size) -> list[Segmented]: ...


@dataclass(frozen=True)
class _Seen:
    """A frame, the size of its video as displayed, and the name of the video."""

    frame: FrameRow
    canvas: Canvas
    size: Size
    video_name: str

    @property
    def key(self) -> str:
        return frame_key(self.frame.project_id, self.frame.video_id, self.frame.pts_us)


async def predict(transactions: Transactions, finder: Finder, frame_id: UUID, asked: Predict) -> Prediction:
    """Find what is asked for in a frame, and keep it where that is asked for too.

    Raises NotFound for a frame that the caller cannot see, InvalidRequest for a label or a phrase that cannot be, Forbidden
    for a caller who may not save, and what the model raises.
    """
    async with transactions() as tx:
        seen = await _seen(tx, await tx.one(frames.get(frame_id)))
        label = await _label(tx, seen.frame.project_id, asked.label_id) if asked.label_id else None
    info = await finder.info()
    if asked.is_object:
        presence, items = await _objects(finder, info["model_id"], seen, asked)
    else:
        prompts = _prompts(asked, label)
        floor = _floor(asked.threshold, label)
        [found] = await finder.find(info["model_id"], [seen.key], prompts, sizes=[seen.size], threshold=floor)
        presence, items = _instances(found)
    method = "sam3-clicks" if asked.is_object else "sam3"
    if asked.save and label is not None:
        async with transactions() as tx:
            items = await _saved(tx, seen, label, items, presence, method, info["weights_id"])
    return Prediction(
        frame_id=seen.frame.id,
        video_id=seen.frame.video_id,
        pts_us=seen.frame.pts_us,
        presence=presence,
        items=items,
        method="sam3-clicks" if asked.is_object else "sam3",
        model=_answered_by(info),
    )


async def preview(
    transactions: Transactions, finder: Finder, project_id: UUID, asked: ConceptPreview
) -> tuple[Preview, Sheet]:
    """One concept over a handful of frames; nothing is kept. Raises as `predict` does."""
    async with transactions() as tx:
        rows = [await tx.one(frames.get(frame_id)) for frame_id in asked.frame_ids]
        if strange := [row.id for row in rows if row.project_id != project_id]:
            raise NotFound(f"the project has no frame {strange[0]}: give frames of it")
        seen = [await _seen(tx, row) for row in rows]
        label = await _label(tx, project_id, asked.label_id) if asked.label_id else None
    info = await finder.info()
    prompts = _prompts(Predict(text=asked.text, label_id=asked.label_id), label)
    found = await finder.find(
        info["model_id"],
        [one.key for one in seen],
        prompts,
        sizes=[one.size for one in seen],
        threshold=_floor(asked.threshold, label),
    )
    answers = []
    for one, of_frame in zip(seen, found, strict=True):
        presence, items = _instances(of_frame)
        answers.append(
            FramePrediction(
                frame_id=one.frame.id,
                video_id=one.frame.video_id,
                pts_us=one.frame.pts_us,
                presence=presence,
                items=items,
            )
        )
    name = label.name if label else asked.text or ""
    return Preview(items=answers, model=_answered_by(info)), Sheet(name, label.colour if label else None, seen, answers)


@dataclass(frozen=True)
class Sheet:
    """A preview to look at: each frame with what was found drawn on it."""

    name: str
    colour: str | None
    seen: Sequence[_Seen]
    answers: Sequence[FramePrediction]

    def png(self, s3: S3) -> bytes:
        """The sheet as a PNG file; reads the pictures."""
        cells = [
            Cell(s3.get(s3.at(one.key)), _told(one, answer), items=[self._drawn(item) for item in answer.items])
            for one, answer in zip(self.seen, self.answers, strict=True)
        ]
        return png(sheet(lines(cells, _SHEET_COLUMNS, self.name), _SHEET_CELL))

    def _drawn(self, item: Predicted) -> Drawn:
        return Drawn(label=self.name, mask=_rle(item.mask), score=item.score, colour=self.colour, state=State.PROPOSED)


def _told(one: _Seen, answer: FramePrediction) -> str:
    return f"{one.frame.pts_us / 1e6:.2f} s · {len(answer.items)} found · presence {answer.presence:.2f} · {one.video_name}"


# -- what is asked ---------------------------------------------------------------------------------


async def _seen(tx: AsyncTx, frame: FrameRow) -> _Seen:
    canvas = await annotating.get_canvas(tx, frame.project_id, frame.video_id)
    if canvas.width is None or canvas.height is None:
        raise Conflict("the video's size is not known yet: wait until it is ready")
    video = await tx.one(videos.get(frame.video_id))
    return _Seen(frame, canvas, (canvas.height, canvas.width), video.name)


async def _label(tx: AsyncTx, project_id: UUID, label_id: UUID) -> Label:
    label = await tx.maybe(labels.get(label_id))
    if label is None or label.project_id != project_id:
        raise InvalidRequest(f"/label_id: the project has no label {label_id}: see its labels")
    if label.archived_at is not None:
        instead = f"use {label.merged_into}, which it was merged into" if label.merged_into else "unarchive it first"
        raise InvalidRequest(f"/label_id: the label {label.name!r} is archived: {instead}")
    return label


def _prompts(asked: Predict, label: Label | None) -> list[Prompt]:
    """One concept, as one or several prompts: a label may have several phrases."""
    boxes = tuple(_fractions(box) for box in asked.boxes)
    negative = tuple(_fractions(box) for box in asked.negative_boxes)
    if asked.text is not None or boxes or label is None:
        return [Prompt(asked.text, boxes, negative)]
    return [Prompt(phrase, boxes, negative) for phrase in label.prompts]


def _floor(threshold: float | None, label: Label | None) -> float | None:
    return label.threshold if threshold is None and label else threshold


def _pointed(asked: Predict) -> list[Pointed]:
    if not asked.points and asked.mask is None:
        return [Pointed(box=_fractions(box)) for box in asked.boxes]
    return [
        Pointed(
            clicks=tuple(Click(click.x, click.y, click.positive) for click in asked.points),
            box=_fractions(asked.boxes[0]) if asked.boxes else None,
            mask=_rle(asked.mask) if asked.mask else None,
        )
    ]


def _fractions(box: Box) -> tuple[float, float, float, float]:
    return box.x, box.y, box.w, box.h


def _rle(mask: Mask) -> Rle:
    return Rle(mask.size, mask.counts)


# -- what is found ---------------------------------------------------------------------------------


def _instances(found: Sequence[Found]) -> tuple[float, list[Predicted]]:
    """Presence and instances of one concept, of which each phrase has an answer."""
    items = [Predicted(**_candidate(score, mask)) for score, mask in distinct(found)]
    return max(answer.presence for answer in found), items


async def _objects(finder: Finder, model_id: str, seen: _Seen, asked: Predict) -> tuple[float, list[Predicted]]:
    answers = await finder.segment(model_id, seen.key, _pointed(asked), size=seen.size)
    items = []
    for answer in answers:
        readings = [
            Candidate(**_candidate(score, mask))
            for score, mask in zip(answer.ious, answer.masks, strict=True)
            if area(mask)
        ]
        if readings:
            items.append(Predicted(**dict(readings[0]), alternatives=readings[1:]))
    return max(answer.presence for answer in answers), items


def _candidate(score: float, mask: Rle) -> dict[str, Any]:
    x, y, w, h = box_of(mask)
    return {
        "score": min(max(score, 0.0), 1.0),
        "box": Box(x=x, y=y, w=w, h=h),
        "mask": Mask(size=mask.size, counts=mask.counts),
    }


def _answered_by(info: dict[str, Any]) -> AnsweredBy:
    return AnsweredBy(uri=info["uri"], weights_id=info["weights_id"])


async def _saved(
    tx: AsyncTx,
    seen: _Seen,
    label: Label,
    items: Sequence[Predicted],
    presence: float,
    method: str,
    weights_id: str,
) -> list[Predicted]:
    """The items, kept as the model's proposals of whoever asks."""
    model = await tx.one(models.known("sam3", weights_id))
    await annotating.labels_in_use(tx, seen.frame.project_id, [label.id])
    shapes = await asyncio.to_thread(
        lambda: [annotating.measured(Shape(mask=item.mask), seen.canvas) for item in items]
    )
    rows = [
        shape
        | {
            "video_id": str(seen.frame.video_id),
            "pts_us": seen.frame.pts_us,
            "label_id": str(label.id),
            "source": Source.MODEL,
            "state": State.PROPOSED,
            "score": item.score,
            "presence": presence,
            "method": method,
            "model_id": str(model.id),
        }
        for shape, item in zip(shapes, items, strict=True)
    ]
    kept = await tx.all(annotation_rows.insert(seen.frame.project_id, rows)) if rows else []
    return [item.model_copy(update={"annotation_id": one.id}) for item, one in zip(items, kept, strict=True)]
