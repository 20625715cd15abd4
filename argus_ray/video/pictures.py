"""One decoded picture becomes a JPEG as displayed and a small square for the model.

The way is the cheapest one measured (1080p to 720p JPEG and 384 px, CPU ms): swscale scales the decoder's own planes to
the output size (a no-op at full size), and both RGB pictures are made from that: 5.6; two passes from the decoder's
picture: 10.4; full-size RGB and two resizes by OpenCV: 18.5; by Pillow: 57. Range and colour matrix are swscale's
business, which knows them from the frame; planes handed to a JPEG encoder as they are come out washed out.
A picture is scaled before it is turned: turning moves the small result, not the decoder's planes.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import numpy.typing as npt
import simplejpeg
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from argus_ray.video.geometry import displayed_size, fitted
from argus_ray.video.tonemap import TRANSFERS, to_sdr

if TYPE_CHECKING:
    from argus_ray.video.probe import Probe

UInt8 = npt.NDArray[np.uint8]
UInt16 = npt.NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Output:
    """What is made of each kept picture."""

    long_side: int = 1920
    """A picture keeps the displayed size up to this long side, in pixels."""
    quality: int = 85
    model_size: int = 224
    """Side of the square that the model gets; the picture is squashed into it (SigLIP's convention)."""


class Painter:
    """Turns decoded pictures of one stream into outputs; keeps the scaler's state."""

    def __init__(self, probe: Probe, output: Output) -> None:
        self.output = output
        self.ratio = Fraction(*probe.sample_aspect_ratio)
        self.orientation = probe.orientation
        self._scaler = VideoReformatter()

    def paint(self, frame: VideoFrame) -> Picture:
        """Nothing is computed before it is asked for."""
        return Picture(self._progressive(frame), self)

    def scale(self, frame: VideoFrame, width: int, height: int, pixel_format: str) -> VideoFrame:
        """One pass of swscale, on this thread."""
        return self._scaler.reformat(frame, width, height, pixel_format, threads=1)

    def thumbnail(self, frame: VideoFrame, width: int, height: int) -> UInt8:
        """A small RGB picture as coded, for comparing pictures of one stream."""
        return cast("UInt8", self.scale(frame, width, height, "rgb24").to_ndarray())

    def _progressive(self, frame: VideoFrame) -> VideoFrame:
        """Interlaced pictures lose their combs and keep their time.

        Each is interpolated from its own first field, not from its neighbours (as yadif and bwdif do): so it does not
        matter which neighbours were decoded, and one kept picture costs one decoded picture.
        """
        return _deinterlaced(frame) if frame.interlaced_frame else frame


class Picture:
    """One picture, painted on demand."""

    def __init__(self, frame: VideoFrame, painter: Painter) -> None:
        self.frame, self.painter = frame, painter
        shown = displayed_size(frame.width, frame.height, painter.ratio, painter.orientation)
        self.width, self.height = fitted(*shown, painter.output.long_side)
        """Of the JPEG, as displayed."""

    @cached_property
    def pixels(self) -> UInt8:
        """uint8 [S, S, 3], RGB."""
        size = self.painter.output.model_size
        return self.painter.orientation.apply(self._rgb(self._base if self._is_plain else self.frame, size, size))

    def displayed(self) -> UInt8:
        """uint8 [H, W, 3], RGB, in displayed geometry."""
        return self.painter.orientation.apply(
            self._rgb(self._base if self._is_plain else self.frame, *self._coded_size)
        )

    def jpeg(self) -> bytes:
        """Baseline JPEG, 4:2:0, in displayed geometry."""
        encoded: bytes = simplejpeg.encode_jpeg(
            self.displayed(),
            quality=self.painter.output.quality,
            colorspace="RGB",
            colorsubsampling="420",
        )
        return encoded

    @property
    def _coded_size(self) -> tuple[int, int]:
        """Size of the JPEG before it is turned."""
        return (self.width, self.height) if self.painter.orientation.is_upright else (self.height, self.width)

    @cached_property
    def _is_plain(self) -> bool:
        """Planar YUV without alpha, in standard dynamic range: goes the fast way."""
        kind = self.frame.format
        return (
            not kind.is_rgb
            and not kind.has_palette
            and not _has_alpha(self.frame)
            and len(kind.components) == 3
            and self._hdr is None
        )

    @property
    def _hdr(self) -> Literal["pq", "hlg"] | None:
        return TRANSFERS.get(int(self.frame.color_trc))

    @cached_property
    def _base(self) -> VideoFrame:
        return self.painter.scale(self.frame, *self._coded_size, "yuv420p")

    def _rgb(self, frame: VideoFrame, width: int, height: int) -> UInt8:
        if self._hdr is not None:
            return to_sdr(cast("UInt16", self.painter.scale(frame, width, height, "rgb48le").to_ndarray()), self._hdr)
        if _has_alpha(frame):
            rgba = self.painter.scale(frame, width, height, "rgba").to_ndarray()
            return (rgba[..., :3].astype(np.uint16) * rgba[..., 3:] // 255).astype(
                np.uint8
            )  # over black, as players do
        return cast("UInt8", self.painter.scale(frame, width, height, "rgb24").to_ndarray())


def _has_alpha(frame: VideoFrame) -> bool:
    return any(component.is_alpha for component in frame.format.components) or frame.format.has_palette


def _deinterlaced(frame: VideoFrame) -> VideoFrame:
    """A graph of its own for each picture: the filter holds one back until it is told that there are no more."""
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1_000_000)
    )
    deinterlace = graph.add("estdif", "mode=frame")
    sink = graph.add("buffersink")
    source.link_to(deinterlace)
    deinterlace.link_to(sink)
    graph.configure()
    graph.vpush(frame)
    graph.vpush(None)
    return graph.vpull()
