"""Near-duplicates and scene changes: how different two pictures are, judged on small ones.

A near-duplicate tells a person and a model nothing new. Both measures look at means over small blocks, where noise and
compression average out and a thing that moved does not:
- near-duplicate: no block of an 8 x 8 pixel grid over the model's picture changed by more than BLOCK_CHANGE levels, and
  the mean change is below MEAN_CHANGE;
- scene change: the mean change of a 48 x 27 picture against the one before is at least SCENE_CHANGE levels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

UInt8 = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]

BLOCK_CHANGE = 8.0
MEAN_CHANGE = 1.5
SCENE_CHANGE = 25.0

_BLOCK = 8


def signature(pixels: UInt8) -> Float32:
    """Block means: uint8 [S, S, 3] -> float32 [S/8, S/8, 3]; what does not fill a block at the edge is left out."""
    size = pixels.shape[0] // _BLOCK
    blocks = pixels[: size * _BLOCK, : size * _BLOCK].reshape(size, _BLOCK, size, _BLOCK, 3)
    means: Float32 = blocks.mean(axis=(1, 3), dtype=np.float32)
    return means


def is_near_duplicate(one: Float32, other: Float32) -> bool:
    """Of two signatures."""
    change = np.abs(one - other)
    return bool(change.max() <= BLOCK_CHANGE and change.mean() <= MEAN_CHANGE)


def is_scene_change(picture: UInt8, before: UInt8) -> bool:
    """Of two small pictures of one size, in order of time."""
    return bool(np.abs(picture.astype(np.int16) - before).mean() >= SCENE_CHANGE)


class Judge:
    """Near-duplicate or not, for the wanted pictures of one segment in order of time.

    A picture is compared with the last one kept; from a time in `fresh_us` on, with the last one wanted before it. So a
    slow drift is kept, and the verdict does not depend on where a segment began.
    """

    def __init__(self, fresh_us: Sequence[int]) -> None:
        self._fresh = list(reversed(fresh_us))
        self._reference: Float32 | None = None
        self._last_wanted: Float32 | None = None

    def remember(self, pixels: UInt8) -> None:
        """The picture wanted before the segment's first."""
        self._last_wanted = signature(pixels)

    def is_new(self, pts_us: int, pixels: UInt8) -> bool:
        """False for a near-duplicate."""
        while self._fresh and self._fresh[-1] <= pts_us:
            self._fresh.pop()
            self._reference = self._last_wanted
        mark = signature(pixels)
        self._last_wanted = mark
        if self._reference is not None and is_near_duplicate(mark, self._reference):
            return False
        self._reference = mark
        return True
