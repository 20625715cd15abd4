"""CVAT for video and for images 1.1, in: a stream of elements, of which one track or picture is held at a time.

Entities and document types are refused. A frame's number is the place of the picture in the video as it was cut by the
task (`start_frame`, `frame_filter`): CVAT writes numbers of the source. Shapes with `keyframe="0"` are interpolated by
CVAT, and come so marked. Skeletons, cuboids, ellipses and polylines are reported.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import cos, radians, sin
from pathlib import PurePosixPath
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import iterparse

from argus_ray import rle
from argus_ray.datasets import pixels
from argus_ray.datasets.archives import Source
from argus_ray.datasets.pixels import Place
from argus_ray.datasets.records import UNNAMED, Category, Contents, Frame, Instance, Picture
from argus_ray.datasets.report import Report
from argus_ray.errors import AnnotationsUnreadable
from argus_ray.schemas.annotation import Kind

SizeOf = Callable[[str], tuple[int, int] | None]
_SHAPES = {"box", "polygon", "points", "mask", "tag"}
_LOST = {"polyline": "a polyline", "skeleton": "a skeleton", "cuboid": "a cuboid", "ellipse": "an ellipse"}


def read(source: Source, report: Report, size_of: SizeOf) -> Contents:
    """Every annotation file of the source, of either kind. Raises AnnotationsUnreadable."""
    names = source.ending(".xml")
    if not names:
        raise AnnotationsUnreadable(
            "there is no .xml file: give CVAT's annotations.xml, or the archive that it exports"
        )
    documents = [_Document(source, name, report, size_of) for name in names]
    merged = {one.name: one for document in documents for one in document.categories}
    merged.setdefault(UNNAMED, Category(len(merged) + 1, UNNAMED))
    return Contents(tuple(merged.values()), lambda: (frame for document in documents for frame in document.frames()))


def elements(source: Source, name: str, wanted: set[str]) -> Iterator[Element]:
    """Those elements as they end, each forgotten after it was looked at. Raises AnnotationsUnreadable with the place."""
    try:
        with source.open(name) as file:
            path: list[Element] = []
            for event, element in iterparse(file, events=("start", "end"), forbid_dtd=True):
                if event == "start":
                    path.append(element)
                    continue
                path.pop()
                if element.tag in wanted and not any(parent.tag in wanted for parent in path):
                    yield element
                    element.clear()
                    if path:
                        path[-1].remove(element)
    except (ParseError, DefusedXmlException, UnicodeDecodeError, ValueError, LookupError) as error:
        said = str(error) or type(error).__name__
        raise AnnotationsUnreadable(f"{name} is not XML that is read here: {said}", file=name, place=said) from error


@dataclass(frozen=True)
class _Task:
    """What a document says of the video that it is about."""

    video: str
    size: tuple[int, int] | None


class _Document:
    def __init__(self, source: Source, name: str, report: Report, size_of: SizeOf) -> None:
        self.source, self.name, self.report, self.size_of = source, name, report, size_of
        self.categories: tuple[Category, ...] = ()
        self.tasks: dict[str, _Task] = {}
        meta = next(elements(source, name, {"meta"}), None)
        if meta is None:
            raise AnnotationsUnreadable(f"{name} has no <meta>: it is no file of CVAT", file=name)
        self._read_meta(meta)

    def _read_meta(self, meta: Element) -> None:
        found: dict[str, Category] = {}
        for label in meta.iter("label"):
            label_name = (label.findtext("name") or "").strip()
            if not label_name or label.find("parent") is not None:
                continue  # points of a skeleton have labels of their own
            if label.findtext("type") == "skeleton":
                self.report.say("skeletons-lost", f"{label_name!r} is a skeleton, which is not read", self.name, "meta")
            found[label_name] = Category(
                len(found) + 1, label_name, attributes=tuple(_attribute(one) for one in label.iter("attribute"))
            )
        self.categories = tuple(found.values())
        source = (meta.findtext("source") or "").strip()
        for task in [*meta.iter("task"), *meta.iter("job")]:
            size = _whole(task.findtext("original_size/width")), _whole(task.findtext("original_size/height"))
            own = (task.findtext("source") or "").strip() or source or (task.findtext("name") or "").strip()
            known = size if all(size) else None
            self.tasks.setdefault((task.findtext("id") or "").strip(), _Task(own, known))
        if not self.tasks:
            self.tasks[""] = _Task(source or PurePosixPath(self.name).stem, None)

    def frames(self) -> Iterator[Frame]:
        tracks = 0
        for element in elements(self.source, self.name, {"track", "image"}):
            if element.tag == "image":
                yield self._image(element)
            else:
                tracks += 1
                yield from self._track(element, tracks)

    def _place(self, where: str) -> Place:
        return Place(self.report, self.name, where)

    # -- tracks ------------------------------------------------------------------------------------

    def _track(self, element: Element, number: int) -> Iterator[Frame]:
        where = f"track {element.get('id', number)}"
        task = self.tasks.get(element.get("task_id", ""), next(iter(self.tasks.values())))
        size = task.size or self.size_of(task.video)
        if size is None:
            raise AnnotationsUnreadable(
                f"{self.name} counts in pixels, and how many the video {task.video!r} has is not known: say which video it is",
                file=self.name,
                place=where,
            )
        label = element.get("label", "")
        shapes = [shape for shape in element if shape.tag != "track" and shape.get("frame") is not None]
        if (lost := next((shape.tag for shape in shapes if shape.tag in _LOST), None)) is not None:
            self._place(where).say(f"{lost}-lost", f"{_LOST[lost]} of {label!r} is not read: the track was left out")
            return
        group = _whole(element.get("group_id"))
        alone = len([s for s in shapes if s.get("outside") != "1"]) == 1 and len(shapes) <= 2
        made = None if alone else number  # alone: as CVAT itself writes what belongs to no track
        track = (group or None) if shapes and shapes[0].tag == "mask" else made
        seen: set[int] = set()
        for shape in shapes:
            frame = _whole(shape.get("frame"))
            place = self._place(f"{where}, frame {shape.get('frame')}")
            if frame in seen:
                place.say("two-at-once", "the track has two shapes at one frame: the second one was left out")
                continue
            seen.add(frame)
            outside = shape.get("outside") == "1"
            if outside and (alone or shape.tag == "mask"):
                continue
            picture = Picture("", *size, video=task.video, index=frame)
            instance = self._shape(
                shape, label, picture, place, track=track, outside=outside, keyframe=shape.get("keyframe") != "0"
            )
            if instance is not None:
                yield Frame(picture, (instance,))

    # -- pictures ----------------------------------------------------------------------------------

    def _image(self, element: Element) -> Frame:
        name = element.get("name", "")
        place = self._place(f"image {element.get('id', '')} {name!r}")
        width, height = _whole(element.get("width")), _whole(element.get("height"))
        task = self.tasks.get(element.get("task_id", ""), next(iter(self.tasks.values())))
        is_frame = not PurePosixPath(name).suffix or name.startswith("frame_")
        picture = Picture(
            name,
            width,
            height,
            video=task.video if is_frame else "",
            index=_whole(element.get("id")) if is_frame else None,
        )
        if not width or not height:
            place.say("wrong-size", "the picture has no width and height: what is in it was left out")
            return Frame(picture)
        found = []
        for shape in element:
            if shape.tag in _LOST:
                place.say(
                    f"{shape.tag}-lost",
                    f"{_LOST[shape.tag]} of {shape.get('label', '')!r} is not read: it was left out",
                )
            elif shape.tag in _SHAPES:
                instance = self._shape(shape, shape.get("label", ""), picture, place)
                found += [] if instance is None else [instance]
            elif shape.tag != "attribute":
                place.say("unknown-shape", f"<{shape.tag}> is no shape that is known: it was left out")
        return Frame(picture, tuple(found))

    # -- shapes ------------------------------------------------------------------------------------

    def _shape(self, shape: Element, label: str, picture: Picture, place: Place, **more: Any) -> Instance | None:
        if not label:
            place.say("unlabelled", f"the <{shape.tag}> has no label: it is read as {UNNAMED!r}")
            label = UNNAMED
        elif not any(one.name == label for one in self.categories):
            place.say("unknown-category", f"the label {label!r} is not listed: the shape was left out")
            return None
        try:
            geometry = _geometry(shape, picture, place)
        except (ValueError, TypeError, OverflowError) as error:
            place.say(
                "not-a-number", f"the <{shape.tag}> has a coordinate that cannot be read ({error}): it was left out"
            )
            return None
        if geometry is None:
            return None
        declared = next((one.attributes for one in self.categories if one.name == label), ())
        attributes = {
            one.get("name", ""): _value(one.text or "", one.get("name", ""), declared)
            for one in shape.iter("attribute")
        }
        return Instance(label, **geometry, occluded=shape.get("occluded") == "1", attributes=attributes, **more)


def _geometry(shape: Element, picture: Picture, place: Place) -> dict[str, Any] | None:
    if shape.tag == "tag":
        return {"kind": Kind.TAG}
    if shape.tag == "box":
        return _box(shape, picture, place)
    if shape.tag == "mask":
        return _mask(shape, picture, place)
    if shape.tag not in {"polygon", "points"}:
        place.say("unknown-shape", f"<{shape.tag}> is no shape that is known: it was left out")
        return None
    numbers = [float(number) for point in shape.get("points", "").split(";") if point for number in point.split(",")]
    return (_polygon if shape.tag == "polygon" else _points)(numbers, picture.width, picture.height, place)


def _box(shape: Element, picture: Picture, place: Place) -> dict[str, Any] | None:
    left, top, right, bottom = (float(shape.get(name, "nan")) for name in ("xtl", "ytl", "xbr", "ybr"))
    if turn := float(shape.get("rotation", "0")):
        place.say("rotated-box", "a rotated box is kept as a polygon")
        return _polygon(_turned(left, top, right, bottom, turn), picture.width, picture.height, place)
    box = pixels.box_in(left, top, right - left, bottom - top, picture.width, picture.height, place)
    return None if box is None else {"kind": Kind.BOX, "box": box}


def _points(numbers: list[float], width: int, height: int, place: Place) -> dict[str, Any] | None:
    pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
    if not pairs or not np.isfinite(numbers).all():
        place.say("not-a-number", "the points are not numbers: they were left out")
        return None
    points = tuple((min(max(x / width, 0.0), 1.0), min(max(y / height, 0.0), 1.0)) for x, y in pairs)
    return {"kind": Kind.POINTS, "points": points, "box": pixels.points_box(points)}


def _polygon(numbers: list[float], width: int, height: int, place: Place) -> dict[str, Any] | None:
    ring = pixels.ring_in(numbers, width, height, place)
    return None if ring is None else {"kind": Kind.POLYGON, "polygon": [[ring]], "box": pixels.polygon_box([[ring]])}


def _turned(left: float, top: float, right: float, bottom: float, degrees: float) -> list[float]:
    """The corners of a box that was turned clockwise around its middle."""
    x, y, c, s = (left + right) / 2, (top + bottom) / 2, cos(radians(degrees)), sin(radians(degrees))
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    return [value for cx, cy in corners for value in (x + (cx - x) * c - (cy - y) * s, y + (cx - x) * s + (cy - y) * c)]


def _mask(shape: Element, picture: Picture, place: Place) -> dict[str, Any] | None:
    left, top, w, h = (int(float(shape.get(name, ""))) for name in ("left", "top", "width", "height"))
    if min(left, top) < 0 or min(w, h) < 1 or left + w > picture.width or top + h > picture.height:
        place.say("wrong-mask", f"the mask's box [{left}, {top}, {w}, {h}] is not within the picture: it was left out")
        return None
    runs = np.array([int(run) for run in shape.get("rle", "").split(",")], dtype=np.int64)
    if (runs < 0).any() or runs.sum() > w * h or len(runs) > w * h + 1:
        place.say(
            "wrong-mask", f"the mask's runs add up to {runs.sum()} pixels and its box has {w * h}: it was left out"
        )
        return None
    inside = np.zeros(w * h, dtype=np.bool_)
    inside[: runs.sum()] = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    mask = np.zeros((picture.height, picture.width), dtype=np.bool_)
    mask[top : top + h, left : left + w] = inside.reshape(h, w)
    found = pixels.mask_in(rle.encode(mask), picture.height, picture.width, place)
    return None if found is None else {"kind": Kind.MASK, "mask": found[0], "box": found[1]}


def _attribute(element: Element) -> Mapping[str, Any]:
    kind = (element.findtext("input_type") or "text").strip()
    values = (element.findtext("values") or "").split("\n")
    kind = {"radio": "select"}.get(kind, kind)
    return {
        "name": (element.findtext("name") or "").strip(),
        "kind": kind if kind in {"select", "number", "checkbox"} else "text",
        "values": [value for value in values if value] if kind == "select" else [],
        "per_frame": (element.findtext("mutable") or "").strip().lower() == "true",
    }


def _value(said: str, name: str, declared: tuple[Mapping[str, Any], ...]) -> Any:
    """Text as a value of the attribute's kind; as it is where it is none of that kind."""
    kind = next((one["kind"] for one in declared if one["name"] == name), "text")
    if kind not in {"number", "checkbox"}:
        return said
    try:
        value = json.loads(said)
    except ValueError:
        return said
    return value if isinstance(value, bool | int | float) else said


def _whole(said: str | None) -> int:
    return int(said) if said is not None and said.strip().isdigit() else 0
