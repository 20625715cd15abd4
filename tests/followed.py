"""Drawn things on the move, followed segment by segment as a model would follow them: with noise, gaps and mistakes.

The things of a clip are of one label. They cross each other, are hidden, leave the picture and come back. What is to be
seen of each is known to the pixel; what the segments' tracklets say of it is worse, by a known amount.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID, uuid5

import numpy as np
import numpy.typing as npt

from argus_ray import rle
from argus_ray.annotations.stitching import Span, Track, Tracklet, surviving
from argus_ray.rle import Rle
from argus_ray.synthetic.scene import Scene, canvas, draw_things, random_scene
from tests.identity import Seen, idf1, seen

Crop = npt.NDArray[np.float32] | None

LABEL = UUID(int=7)
SIZE = 192, 108
STEP_US = 200_000
VISIBLE_PX = 40
"""Less of a thing is neither truth nor found."""


@dataclass(frozen=True)
class Course:
    """Where a thing is: from `start` at a constant speed, turned back at the ends of `swing` (fractions of the picture,
    beyond 0 and 1 where it leaves)."""

    start: tuple[float, float]
    speed: tuple[float, float]
    swing: tuple[float, float]

    def at(self, seconds: float) -> tuple[float, float]:
        low, high = self.swing
        x, y = (s + v * seconds for s, v in zip(self.start, self.speed, strict=True))
        return _folded(x, low, high), _folded(y, 0.2, 0.8)


def _folded(value: float, low: float, high: float) -> float:
    turn = (value - low) % (2 * (high - low))
    return low + min(turn, 2 * (high - low) - turn)


@dataclass(frozen=True)
class Noise:
    """What a tracker does wrong."""

    missed: float = 0.02
    """Share of masks that it leaves out."""
    shift_px: float = 1.0
    false: float = 0.02
    """False tracklets, of one to four times, for each time of a segment."""
    crop: float = 0.25
    """Of a crop's vector, against what is the thing's own."""


@dataclass(frozen=True)
class Clip:
    spans: tuple[Span, ...]
    truth: Seen
    tracklets: list[Tracklet] = field(default_factory=list)
    masks: dict[UUID, dict[int, Rle]] = field(default_factory=dict)
    things: dict[UUID, int] = field(default_factory=dict)
    """Of each tracklet the thing it has followed; 0 for a false one."""

    def idf1(self, tracks: Sequence[Track]) -> float:
        rows = []
        for number, track in enumerate(tracks):
            times = surviving([self.masks[one].keys() for one in track.tracklets], track.links)
            for one, kept in zip(track.tracklets, times, strict=True):
                rows += [(pts_us, number, self.masks[one][pts_us]) for pts_us in kept]
        return idf1(self.truth, seen(rows))


def spans_of(segments: int, length_us: int = 8_000_000, overlap_us: int = 1_000_000) -> tuple[Span, ...]:
    return tuple(Span(n, n * length_us, (n + 1) * length_us + overlap_us) for n in range(segments))


def follow(
    seed: int,
    things: int = 5,
    segments: int = 6,
    noise: Noise = Noise(),
    *,
    leaving: bool = True,
    crops: bool = True,
    missing: Sequence[int] = (),
    overlap_us: int = 1_000_000,
) -> Clip:
    """A clip and what its segments have found; those of `missing` have found nothing, and were never looked at."""
    rng = np.random.default_rng(seed)
    spans = spans_of(segments, overlap_us=overlap_us)
    scene = random_scene(rng, things=things, sizes=(0.12, 0.2))
    courses = [_course(rng, leaving) for _ in scene.things]
    watched = tuple(span for span in spans if span.segment not in missing)
    times_us = [t for t in range(0, spans[-1].end_us + 1, STEP_US) if any(s.start_us <= t <= s.end_us for s in watched)]
    truth = _drawn(scene, courses, times_us)
    looks = [_looks(rng, thing.shape, thing.id) for thing in scene.things]
    clip = Clip(watched, truth)
    for span in watched:
        for thing, look in zip(scene.things, looks, strict=True):
            for mine in _pieces(rng, thing.id, truth, span, noise):
                vectors = (_crop(rng, look, noise), _crop(rng, look, noise)) if crops else (None, None)
                _keep(clip, span, thing.id, mine, vectors)
        _false(rng, clip, span, noise, crops)
    return clip


def _course(rng: np.random.Generator, leaving: bool) -> Course:
    start = float(rng.uniform(0.1, 0.9)), float(rng.uniform(0.2, 0.8))
    speed = float(rng.choice([-1, 1]) * rng.uniform(0.04, 0.12)), float(rng.uniform(-0.03, 0.03))
    return Course(start, speed, (-0.35, 1.35) if leaving else (0.1, 0.9))


def _drawn(scene: Scene, courses: Sequence[Course], times_us: Sequence[int]) -> Seen:
    ground = canvas(scene, *SIZE)
    truth: dict[int, dict[int, Rle]] = {}
    for pts_us in times_us:
        things = tuple(thing.at(*course.at(pts_us / 1e6)) for thing, course in zip(scene.things, courses, strict=True))
        ids = draw_things(ground, things).ids
        shown = [thing.id for thing in things if (ids == thing.id).sum() >= VISIBLE_PX]
        masks = rle.encode_many(np.stack([ids == one for one in shown])) if shown else []
        truth[pts_us] = dict(zip(shown, masks, strict=True))
    return truth


def _pieces(rng: np.random.Generator, thing: int, truth: Seen, span: Span, noise: Noise) -> list[dict[int, Rle]]:
    """What a segment has followed of a thing: a new piece where it was away for three times or more."""
    pieces: list[dict[int, npt.NDArray[np.bool_]]] = []
    last_us = None
    for pts_us in truth:
        mask = truth[pts_us].get(thing)
        if not span.start_us <= pts_us <= span.end_us or mask is None or rng.random() < noise.missed:
            continue
        if last_us is None or pts_us - last_us > 3 * STEP_US:
            pieces.append({})
        pieces[-1][pts_us] = _worse(rng, rle.decode(mask), noise)
        last_us = pts_us
    return [dict(zip(piece, rle.encode_many(np.stack(list(piece.values()))), strict=True)) for piece in pieces]


def _worse(rng: np.random.Generator, pixels: npt.NDArray[np.bool_], noise: Noise) -> npt.NDArray[np.bool_]:
    """Moved by about a pixel, and often a pixel larger all around."""
    dx, dy = (int(v) for v in np.rint(rng.normal(0, noise.shift_px, 2)))
    moved = np.roll(pixels, (dy, dx), (0, 1))
    if rng.random() < 0.6:
        return moved
    return moved | np.roll(moved, 1, 0) | np.roll(moved, -1, 0) | np.roll(moved, 1, 1) | np.roll(moved, -1, 1)


def _false(rng: np.random.Generator, clip: Clip, span: Span, noise: Noise, crops: bool) -> None:
    times = [pts_us for pts_us in clip.truth if span.start_us <= pts_us <= span.end_us]
    for at in np.flatnonzero(rng.random(len(times)) < noise.false):
        pixels = np.zeros(SIZE[::-1], bool)
        x, y = int(rng.integers(0, SIZE[0] - 20)), int(rng.integers(0, SIZE[1] - 20))
        pixels[y : y + 14, x : x + 14] = True
        crop = _unit(rng.normal(size=64)).astype(np.float32) if crops else None
        masks = {pts_us: rle.encode(pixels) for pts_us in times[at : at + int(rng.integers(1, 5))]}
        _keep(clip, span, 0, masks, (crop, crop))


def _keep(clip: Clip, span: Span, thing: int, masks: dict[int, Rle], crops: tuple[Crop, Crop]) -> None:
    tracklet_id = uuid5(LABEL, f"{span.segment} {len(clip.tracklets)}")
    clip.tracklets.append(Tracklet(tracklet_id, LABEL, span.segment, masks, *crops))
    clip.masks[tracklet_id], clip.things[tracklet_id] = masks, thing


def _looks(rng: np.random.Generator, shape: str, thing: int) -> np.ndarray:
    """A thing's own vector: near that of its kind, at a cosine of about 0.8 to another of the kind."""
    kind = _unit(np.random.default_rng(sum(shape.encode())).normal(size=64))
    return _unit(kind + 0.5 * _unit(rng.normal(size=64)))


def _crop(rng: np.random.Generator, look: np.ndarray, noise: Noise) -> np.ndarray:
    return _unit(look + noise.crop * _unit(rng.normal(size=64))).astype(np.float32)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)
