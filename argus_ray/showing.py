"""A frame with what is annotated on it: the picture that was kept, and everything of its time.

Whoever asks sees the frame and its annotations by the rights they have. The picture is named by all that goes into it, so
that one who has it already is told so before anything is read or drawn.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from PIL import Image

from argus_ray import windows
from argus_ray.annotations.overlay import Drawn, draw, drawn, png
from argus_ray.catalog import frames, labels
from argus_ray.catalog.frames import FrameRow
from argus_ray.catalog.statement import AsyncTx
from argus_ray.errors import InvalidRequest
from argus_ray.s3 import S3, frame_key
from argus_ray.schemas.annotation import Annotation, State

MOST_DRAWN = 2_000
"""Of one picture: with more of them nothing is to be seen."""
_UNLESS_ASKED = (State.PROPOSED, State.ACCEPTED)
_LOOK = 1
"""Raise it where pictures are drawn in another way: those that people have kept are drawn anew then."""


@dataclass(frozen=True)
class Overlay:
    """What a picture will show; `etag` is another for every other picture."""

    frame: FrameRow
    items: Sequence[Drawn]
    width: int | None
    etag: str

    def png(self, s3: S3) -> bytes:
        """The picture as a PNG file, not wider than `width`. Raises NotFound where S3 has lost it."""
        key = frame_key(self.frame.project_id, self.frame.video_id, self.frame.pts_us)
        picture: Image.Image = Image.open(io.BytesIO(s3.get(s3.at(key))))
        if self.width is not None and self.width < picture.width:
            height = max(1, round(picture.height * self.width / picture.width))
            picture.draft("RGB", (self.width, height))
            picture = picture.resize((self.width, height), Image.Resampling.LANCZOS)
        return png(draw(np.asarray(picture.convert("RGB")), self.items))


async def overlay(
    tx: AsyncTx,
    frame_id: UUID,
    *,
    states: Sequence[State] | None = None,
    label_ids: Sequence[UUID] | None = None,
    job_id: UUID | None = None,
    by_track: bool = False,
    width: int | None = None,
) -> Overlay:
    """Everything at the time of a frame, tracks between their keyframes too; what is rejected only where that is asked for.

    Raises NotFound for a frame that the caller cannot see, InvalidRequest where there is too much for one picture.
    """
    frame = await tx.one(frames.get(frame_id))
    at_us = frame.pts_us
    ask = windows.Ask(frame.project_id, frame.video_id, at_us, at_us + 1, label_ids, states or _UNLESS_ASKED)
    part = await windows.read_interpolated(tx, ask, None, MOST_DRAWN, times_us=[at_us])
    if part.next_place is not None:
        raise InvalidRequest(
            f"more than {MOST_DRAWN} things are annotated on this frame, and nothing could be told apart: ask for a label_id"
        )
    found = [Annotation.model_validate_json(item) for item in part.items]
    found = [one for one in found if not one.outside and job_id in (None, one.job_id)]
    label_rows = await tx.all(labels.named(frame.project_id, sorted({one.label_id for one in found})))
    known = {label.id: label for label in label_rows}
    numbers = {UUID(track["id"]): track["number"] for track in map(json.loads, part.tracks)}
    items = [
        drawn(one, known[one.label_id], numbers.get(one.track_id) if one.track_id else None, by_track=by_track)
        for one in found
    ]
    return Overlay(frame, items, width, _etag(frame, items, width))


def _etag(frame: FrameRow, items: Sequence[Drawn], width: int | None) -> str:
    return f'"{hashlib.sha256(repr((_LOOK, frame.id, width, items)).encode()).hexdigest()[:32]}"'
