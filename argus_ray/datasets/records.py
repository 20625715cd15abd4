"""What stands between Argus and any format of other tools: pictures, what is in them, and the labels of it all.

A format module writes `Contents` and reads them, and knows no table of Argus; freezing and importing know no format.
Coordinates are fractions of the displayed picture, as everywhere in Argus; a mask has a size in pixels of its own, and
`Instance.mask_at` gives it at the size of a picture. So that memory does not grow with a dataset, its frames are
iterated, as often as a format needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from argus_ray import rle
from argus_ray.rle import Rle
from argus_ray.schemas.annotation import Kind

Box = tuple[float, float, float, float]
"""x, y, width, height."""
Point = tuple[float, float]
Polygon = list[list[list[Point]]]
"""Parts; of each the ring around it, then its holes."""

SPLITS = ("train", "val", "test")

UNNAMED = "object"
"""The label of what a file gives no class."""


@dataclass(frozen=True, slots=True)
class Category:
    """A label as formats know it. `number` is its number in the project: it is never used for another."""

    number: int
    name: str
    colour: str = "#0072b2"
    prompts: tuple[str, ...] = ()
    attributes: tuple[Mapping[str, Any], ...] = ()
    supercategory: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a video, or one by itself; width and height in pixels of the file.

    `video` is its video's name within the file and `index` its place in it, from 0; `pts_us` its time where it is known.
    `key` is where Argus keeps its bytes.
    """

    file: str
    width: int
    height: int
    video: str = ""
    index: int | None = None
    pts_us: int | None = None
    split: str = "train"
    sha256: str | None = None
    video_id: str = ""
    frame_id: str = ""
    key: str = ""
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Instance:
    """One object in one picture. `box` bounds every kind but a tag; `track` is unique in its video; `keyframe` is false
    where it was interpolated. `crowd` says that it is a group, not one object.
    """

    label: str
    kind: Kind
    box: Box | None = None
    polygon: Polygon | None = None
    mask: Rle | None = None
    points: tuple[Point, ...] | None = None
    track: int | None = None
    keyframe: bool = True
    outside: bool = False
    occluded: bool = False
    crowd: bool = False
    attributes: Mapping[str, Any] = field(default_factory=dict)
    score: float | None = None
    state: str | None = None
    source: str | None = None
    id: str = ""
    model: str | None = None
    reviewed_by: str | None = None
    area_px: int | None = None

    def mask_at(self, height: int, width: int) -> Rle | None:
        """The mask at the size of a picture."""
        return None if self.mask is None else rle.resize(self.mask, (height, width))


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture and what is in it. What a person has said of a label in it stands in `verdicts`, by the label's name."""

    picture: Picture
    instances: tuple[Instance, ...] = ()
    verdicts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Clip:
    """A video that pictures belong to; `frame_rate` informs, and times are in the pictures."""

    name: str
    split: str = "train"
    frame_rate: float | None = None
    width: int | None = None
    height: int | None = None
    frames: int = 0
    tracks: int = 0
    """The largest number of a track."""


@dataclass(frozen=True)
class Contents:
    """A dataset on its way out or in.

    `frames()` begins anew at each call. On its way out it goes by split, video and time, and says a picture once; on
    its way in a picture may come several times, each with more of what is in it. `clips` are the videos on its way out.
    `has_all_keyframes`: every keyframe of a track is in one of the pictures, so that the others can be left to a reader.
    """

    categories: tuple[Category, ...]
    frames: Callable[[], Iterable[Frame]]
    clips: tuple[Clip, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    has_all_keyframes: bool = False
