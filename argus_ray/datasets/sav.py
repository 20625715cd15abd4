"""SA-V masklets, in: for each sampled frame of a video the runs of every object, empty where it is not to be seen.

The masklets have no class, so that all get one label. The frames are six a second of a video of twenty-four: which place
a frame has in its video follows from the counts that the file states.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from argus_ray import rle
from argus_ray.datasets import pixels
from argus_ray.datasets.archives import Source
from argus_ray.datasets.coco import items
from argus_ray.datasets.pixels import Place
from argus_ray.datasets.records import UNNAMED, Category, Contents, Frame, Instance, Picture
from argus_ray.datasets.report import Report
from argus_ray.errors import AnnotationsUnreadable, InvalidRequest
from argus_ray.rle import Rle
from argus_ray.schemas.annotation import Kind

_STEP = 4


def read(source: Source, report: Report) -> Contents:
    """Every file of masklets of the source. Raises AnnotationsUnreadable."""
    names = source.ending(".json")
    if not names:
        raise AnnotationsUnreadable("there is no .json file: give a file of SA-V, as sav_000001_manual.json")
    for name in names:
        if not isinstance(_one(source, name, "video_id"), str) or _one(source, name, "masklet.item") is None:
            raise AnnotationsUnreadable(f"{name} has no video_id and masklet: it is no file of SA-V", file=name)
    return Contents(
        (Category(1, UNNAMED),), lambda: (frame for name in names for frame in _frames(source, name, report))
    )


def _one(source: Source, name: str, path: str) -> Any:
    return next(items(source, name, path), None)


def _frames(source: Source, name: str, report: Report) -> Iterator[Frame]:
    video = str(_one(source, name, "video_id"))
    height, width = (_side(_one(source, name, f"video_{side}")) for side in ("height", "width"))
    if not height or not width:
        raise AnnotationsUnreadable(f"{name} has no video_height and video_width", file=name)
    ids = list(items(source, name, "masklet_id.item"))
    for number, objects in enumerate(items(source, name, "masklet.item")):
        picture = Picture("", width, height, video=video, index=number * _STEP)
        found = []
        for position, one in enumerate(objects if isinstance(objects, list) else []):
            place = Place(report, name, f"masklet[{number}][{position}]")
            track = ids[position] + 1 if position < len(ids) and type(ids[position]) is int else position + 1
            instance = _instance(one, track, picture, place)
            found += [] if instance is None else [instance]
        yield Frame(picture, tuple(found))


def _instance(one: Any, track: int, picture: Picture, place: Place) -> Instance | None:
    size, counts = (one.get("size"), one.get("counts")) if isinstance(one, dict) else (None, None)
    if not isinstance(counts, str) or not isinstance(size, list) or size != [picture.height, picture.width]:
        place.say("wrong-mask", f"a masklet is runs of size [{picture.height}, {picture.width}]: it was left out")
        return None
    mask = Rle((picture.height, picture.width), counts)
    try:
        if not rle.area(mask):
            return None  # not to be seen
    except InvalidRequest as error:
        place.say("wrong-mask", f"{error.detail}; it was left out")
        return None
    found = pixels.mask_in(mask, picture.height, picture.width, place)
    if found is None:
        return None
    return Instance(UNNAMED, Kind.MASK, found[1], mask=found[0], track=track)


def _side(value: Any) -> int:
    """A side in pixels, which the files write as 848.0; 0 for what is none."""
    return int(value) if isinstance(value, int | float) and value == int(value) and 0 < value <= rle.MAX_SIDE else 0
