"""Retracking: one object is followed from a corrected keyframe, both ways, as far as annotations/retrack.py says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from argus_ray.annotations import retrack
from argus_ray.annotations.retrack import Keyframe, Window
from argus_ray.catalog import retracks
from argus_ray.catalog.labelling import Filmed
from argus_ray.catalog.retracks import Corrected, Key
from argus_ray.catalog.statement import Tx
from argus_ray.errors import InvalidRequest
from argus_ray.models.concepts import Pointed, TrackedFrame
from argus_ray.models.sam3 import Sam3
from argus_ray.rle import Rle, resize

Frames = Iterator[tuple[int, NDArray[np.uint8]]]
Read = Callable[[int, int, bool], Frames]
"""From, to (both included, ascending) and whether backwards: the pictures that the track is followed at."""


@dataclass(frozen=True)
class Correction:
    """What is known of a track when it is followed again. `keys` ascend."""

    track: Corrected
    keys: list[Key]
    corrected: Key
    windows: tuple[Window, ...]

    @property
    def people_us(self) -> list[int]:
        """Times at which people have said something."""
        return [key.pts_us for key in self.keys if key.is_human]


@dataclass
class Retracked:
    """`replaced_us` of the model's keyframes; in their places `keyframes`: time, mask and score, None for `outside`."""

    replaced_us: list[int] = field(default_factory=list)
    keyframes: list[tuple[int, tuple[Rle, float] | None]] = field(default_factory=list)
    frames: int = 0
    method: str = ""


def read_correction(tx: Tx, project_id: UUID, track_id: UUID, pts_us: int) -> Correction:
    """Raises NotFound where the track is gone, InvalidRequest where nobody has corrected it at that time."""
    track = tx.one(retracks.corrected(project_id, track_id))
    keys = tx.all(retracks.keys(project_id, track_id))
    keyframes = [Keyframe(key.pts_us, key.is_human, key.outside) for key in keys]
    windows = retrack.windows(keyframes, pts_us, track.first_us, track.last_us)
    return Correction(track, keys, next(key for key in keys if key.pts_us == pts_us), windows)


def follow_again(model: Sam3, correction: Correction, video: Filmed, read: Read) -> Retracked:
    """Raises InvalidRequest where there is no picture at the corrected time."""
    done = Retracked()
    keyframes = [Keyframe(key.pts_us, key.is_human, key.outside) for key in correction.keys]
    for window in correction.windows:
        done.replaced_us += retrack.replaced(window, keyframes)
        if window.is_gone:
            continue
        sampled, found = [], {}
        for frame in _followed(model, correction, window, video, read):
            done.method, done.frames = frame.method, done.frames + 1
            sampled.append(frame.pts_us)
            if frame.objects:
                found[frame.pts_us] = frame.objects[0].mask, frame.objects[0].score
        done.keyframes += retrack.keyframes_of(window, sampled, found)
    return done


def _followed(model: Sam3, correction: Correction, window: Window, video: Filmed, read: Read) -> Iterator[TrackedFrame]:
    low, high = min(window.from_us, window.to_us), max(window.from_us, window.to_us)
    frames = read(low, high, window.direction == "backward")
    first = next(frames, None)
    if first is None or first[0] != window.from_us:
        raise InvalidRequest(
            f"there is no kept frame at {window.from_us} µs to follow from: correct the track at the time of a frame"
        )
    pointed = _pointed(correction, first[1].shape[:2], (video.height, video.width))
    return model.track(chain([first], frames), objects=[pointed], size=(video.height, video.width))


def _pointed(correction: Correction, picture: Sequence[int], size: tuple[int, int]) -> Pointed:
    key = correction.corrected
    if key.counts is None:
        return Pointed(box=(key.x, key.y, key.w, key.h), phrase=correction.track.phrase)
    mask = resize(Rle(size, key.counts), (picture[0], picture[1]))
    return Pointed(mask=mask, phrase=correction.track.phrase)
