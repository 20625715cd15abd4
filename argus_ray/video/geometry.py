"""From coded samples to the displayed picture: pixel shape, then rotation and mirroring.

The display matrix (ISO/IEC 14496-12, 8.3.2) maps a coded point (x, y), y downwards, to (a x + c y, b x + d y). Argus
turns by right angles only; a matrix that turns by another angle is rounded to the nearest one.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import Type as SideDataType

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

UInt8 = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Orientation:
    """Mirror first (top to bottom), then turn clockwise by 0, 90, 180 or 270 degrees."""

    clockwise: int = 0
    mirrored: bool = False

    @property
    def is_upright(self) -> bool:
        """Width and height keep their places."""
        return self.clockwise % 180 == 0

    def apply(self, picture: UInt8) -> UInt8:
        """[H, W, C] as coded to [H', W', C] as displayed, contiguous."""
        turned = picture[::-1] if self.mirrored else picture
        return np.ascontiguousarray(np.rot90(turned, -self.clockwise // 90))


def orientation_from_matrix(matrix: tuple[int, ...]) -> Orientation:
    """From the nine numbers of a display matrix."""
    a, b, _, c, d = matrix[:5]
    if a == b == 0:
        return Orientation()
    quarters = round(math.degrees(math.atan2(b, a)) / 90) % 4
    return Orientation(quarters * 90, mirrored=a * d - b * c < 0)


def orientation_of(frame: VideoFrame) -> Orientation:
    """From the display matrix that comes with a decoded picture."""
    try:
        side_data = cast("Any", frame.side_data).get(SideDataType.DISPLAYMATRIX)
    except ValueError:  # PyAV refuses to list side data of a kind it does not know (EXIF), and tells the angle alone
        return Orientation(round(-frame.rotation / 90) % 4 * 90)
    return orientation_from_matrix(struct.unpack("=9i", bytes(side_data)[:36])) if side_data else Orientation()


def displayed_size(width: int, height: int, ratio: Fraction, turn: Orientation) -> tuple[int, int]:
    """Width and height as shown: round(width x pixel aspect), the height unchanged, then turned."""
    shown = max(1, math.floor(width * ratio + Fraction(1, 2))), height
    return shown if turn.is_upright else (shown[1], shown[0])


def fitted(width: int, height: int, long_side: int) -> tuple[int, int]:
    """The size scaled down, never up, until its long side fits."""
    scale = min(1.0, long_side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))
