"""The clips that are measured: a camera over a textured ground, with the bits and the structure of a real recording.

Drawn scenes have flat colours and compress to almost nothing, which would flatter whoever decodes less. Here every
picture differs from the one before by motion and grain, the encoder is given the bit rate of a camera, and groups of
pictures are closed, of two seconds, with three B-frames in a row. A clip is made once and kept.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

FOLDER = Path("bench-results/clips")
FPS, GOP_S = 30, 2
_MARGIN = 256  # pixels that the camera has to move in


def clip(seconds: int, size: tuple[int, int], mbit_s: float, seed: int = 0) -> Path:
    """H.264 at 30 pictures a second; the same arguments give the same file."""
    width, height = size
    path = FOLDER / f"{width}x{height}-{seconds}s-{mbit_s:g}mbit-{seed}.mp4"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}.mp4")
        _encode(unfinished, seconds * FPS, size, mbit_s, np.random.default_rng(seed))
        unfinished.rename(path)
    return path


def _encode(path: Path, pictures: int, size: tuple[int, int], mbit_s: float, rng: np.random.Generator) -> None:
    gop = str(FPS * GOP_S)
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.bit_rate = round(mbit_s * 1e6)
        structure = f"keyint={gop}:min-keyint={gop}:scenecut=0:bframes=3:b-adapt=0:open-gop=0"
        stream.options = {"preset": "veryfast", "x264-params": structure}
        for number, planes in enumerate(_pictures(pictures, size, rng)):
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _pictures(count: int, size: tuple[int, int], rng: np.random.Generator) -> Iterator[NDArray[np.uint8]]:
    """Planes of 4:2:0 one under the other, uint8 [H x 3 / 2, W]."""
    width, height = size
    luma = _texture(width + _MARGIN, height + _MARGIN, rng)
    chroma = [_texture((width + _MARGIN) // 2, (height + _MARGIN) // 2, rng) for _ in range(2)]
    grain = rng.normal(0, 3, (height + 64, width + 64)).astype(np.int8)
    for number in range(count):
        x = round(_MARGIN / 4 * (1 + math.sin(number / 97)))  # in pixels of the chroma planes
        y = round(_MARGIN / 4 * (1 + math.cos(number / 61)))
        down, right = rng.integers(64, size=2)
        seen = luma[2 * y : 2 * y + height, 2 * x : 2 * x + width] + grain[
            down : down + height, right : right + width
        ].view(np.uint8)  # wraps, and the texture stays clear of the ends
        halves = [plane[y : y + height // 2, x : x + width // 2].reshape(-1, width) for plane in chroma]
        yield np.concatenate([seen, *halves])


def _texture(width: int, height: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Noise of several sizes, one upon the other, between 40 and 215."""
    total = np.zeros((height, width), np.float32)
    for cell in (256, 64, 16, 4):
        coarse = rng.normal(size=(height // cell + 2, width // cell + 2)).astype(np.float32)
        picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        total += np.asarray(picture) * cell**0.5
    low, high = total.min(), total.max()
    texture: NDArray[np.uint8] = (40 + 175 * (total - low) / (high - low)).astype(np.uint8)
    return texture
