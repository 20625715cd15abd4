"""Drawn videos, and the truth about them: what is to be seen at every instant, to the pixel."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from argus_ray.synthetic.language import Query, is_true_of
from argus_ray.synthetic.scene import Drawing, Scene, canvas, draw_things, random_scene, render

_BT709 = 1  # the number of this matrix, of its primaries and of its transfer in ISO/IEC 23091-2


@dataclass(frozen=True)
class Sway:
    """How one thing moves about its place: an ellipse with these half axes, in fractions of the picture."""

    x: float
    y: float
    period_s: float
    phase: float


@dataclass(frozen=True)
class Shot:
    """A scene in motion, from `start_us` until just before `end_us`. All its things are there all the time."""

    scene: Scene
    sways: tuple[Sway, ...]
    start_us: int
    end_us: int

    def at(self, pts_us: int) -> Scene:
        """The scene with every thing where it is at that time of the video."""
        seconds = (pts_us - self.start_us) / 1e6
        moved = []
        for thing, sway in zip(self.scene.things, self.sways, strict=True):
            turn = 2 * math.pi * seconds / sway.period_s + sway.phase
            moved.append(replace(thing, x=thing.x + sway.x * math.cos(turn), y=thing.y + sway.y * math.sin(turn)))
        return replace(self.scene, things=tuple(moved))


@dataclass(frozen=True)
class VideoTruth:
    """What a drawn video shows. Picture i is shown from round(i x 1,000,000 / fps) microseconds on."""

    shots: tuple[Shot, ...]
    width: int
    height: int
    fps: Fraction
    frames: int

    @property
    def duration_us(self) -> int:
        return self.shots[-1].end_us

    def pts_us(self, frame: int) -> int:
        return round(frame * 1_000_000 / self.fps)

    def shot_at(self, pts_us: int) -> Shot:
        return self.shots[bisect_right([shot.start_us for shot in self.shots], pts_us) - 1]

    def drawing_at(self, pts_us: int) -> Drawing:
        """The picture as it was before encoding, and its masks."""
        return render(self.shot_at(pts_us).at(pts_us), self.width, self.height)

    def moments(self, query: Query) -> list[tuple[int, int]]:
        """Start and end, in microseconds, of every shot that the query is true of."""
        return [(shot.start_us, shot.end_us) for shot in self.shots if is_true_of(query, shot.scene)]

    def matches(self, query: Query) -> bool:
        return bool(self.moments(query))


def plan_video(
    rng: np.random.Generator,
    seconds: float,
    *,
    scenes: int | Sequence[Scene] = 2,
    size: tuple[int, int] = (1280, 720),
    fps: Fraction | int = 25,
) -> VideoTruth:
    """Choose what a video will show: so many random scenes, or the given ones, with cuts between them.

    Cuts fall on pictures, and no scene lasts more than about twice as long as another. `size` is width, height.
    """
    width, height = size
    rate = Fraction(fps)
    frames = max(1, round(seconds * rate))
    chosen = list(scenes) if not isinstance(scenes, int) else [_scene(rng, size) for _ in range(scenes)]
    if frames < len(chosen):
        raise ValueError(f"{len(chosen)} scenes need as many pictures, and {seconds} s at {rate} a second are {frames}")
    ends = np.cumsum(rng.uniform(0.5, 1, len(chosen)))
    spare = frames - len(chosen)  # what is left when every scene has one picture
    first = [0, *(scene + round(spare * end / ends[-1]) for scene, end in enumerate(ends, start=1))]
    truth = VideoTruth((), width, height, rate, frames)
    shots = [
        Shot(scene, tuple(_sway(rng) for _ in scene.things), truth.pts_us(start), truth.pts_us(end))
        for scene, start, end in zip(chosen, first[:-1], first[1:], strict=True)
    ]
    return replace(truth, shots=tuple(shots))


def _scene(rng: np.random.Generator, size: tuple[int, int]) -> Scene:
    return random_scene(rng, aspect=size[0] / size[1])


def _sway(rng: np.random.Generator) -> Sway:
    return Sway(
        x=float(rng.uniform(0.005, 0.025)),
        y=float(rng.uniform(0.005, 0.035)),
        period_s=float(rng.uniform(1.5, 5)),
        phase=float(rng.uniform(0, 2 * math.pi)),
    )


def draw_frames(truth: VideoTruth) -> Iterator[tuple[int, Drawing]]:
    """Every picture in order, with its `pts_us`; the ground of a shot is drawn once."""
    shot, ground = None, None
    for frame in range(truth.frames):
        pts_us = truth.pts_us(frame)
        if ground is None or shot is not truth.shot_at(pts_us):
            shot = truth.shot_at(pts_us)
            ground = canvas(shot.scene, truth.width, truth.height)
        assert shot is not None
        yield pts_us, draw_things(ground, shot.at(pts_us).things)


def encode_video(path: Path, truth: VideoTruth, codec: str = "libx264", options: dict[str, str] | None = None) -> None:
    """Write the video; the container follows from the suffix. Colours are BT.709, limited range, and are marked so."""
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=truth.fps, options=options or {})
        stream.width, stream.height, stream.pix_fmt = truth.width, truth.height, "yuv420p"
        context = stream.codec_context
        context.thread_count = 1
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = ColorRange.MPEG
        for number, (_, drawing) in enumerate(draw_frames(truth)):
            frame = av.VideoFrame.from_ndarray(drawing.rgb, format="rgb24").reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
            )
            frame.pts, frame.time_base = number, 1 / truth.fps
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def draw_video(
    path: Path,
    rng: np.random.Generator,
    seconds: float,
    *,
    scenes: int | Sequence[Scene] = 2,
    size: tuple[int, int] = (1280, 720),
    fps: Fraction | int = 25,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
) -> VideoTruth:
    """Plan a video, write it to `path`, and answer with the truth about it."""
    truth = plan_video(rng, seconds, scenes=scenes, size=size, fps=fps)
    encode_video(path, truth, codec, options)
    return truth
