"""Pascal VOC, in: one XML a picture. Corners count from 1 and are inside of the box, as the devkit has it: a box from
column 1 to column 1 is one pixel wide. Other tools that read such files as they are differ by that pixel.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from xml.etree.ElementTree import Element

from argus_ray.datasets import pixels
from argus_ray.datasets.archives import Source
from argus_ray.datasets.cvat_reading import elements
from argus_ray.datasets.pixels import Place
from argus_ray.datasets.records import Category, Contents, Frame, Instance, Picture
from argus_ray.datasets.report import Report
from argus_ray.errors import AnnotationsUnreadable
from argus_ray.schemas.annotation import Kind


def read(source: Source, report: Report) -> Contents:
    """Every `<annotation>` of the source. Raises AnnotationsUnreadable."""
    names = source.ending(".xml")
    if not names:
        raise AnnotationsUnreadable("there are no .xml files: give the folder Annotations as an archive")
    labels: dict[str, None] = {}
    for name in names:
        for element in elements(source, name, {"annotation"}):
            labels |= dict.fromkeys((one.findtext("name") or "").strip() for one in element.findall("object"))
    labels.pop("", None)

    def frames() -> Iterator[Frame]:
        for name in names:
            for element in elements(source, name, {"annotation"}):
                yield _frame(element, name, report)

    return Contents(tuple(Category(number, label) for number, label in enumerate(labels, 1)), frames)


def _frame(element: Element, name: str, report: Report) -> Frame:
    file = (element.findtext("filename") or "").strip() or PurePosixPath(name).with_suffix(".jpg").name
    size = [(element.findtext(f"size/{side}") or "").strip() for side in ("width", "height")]
    width, height = (int(side) if side.isdigit() else 0 for side in size)
    picture = Picture(file, width, height)
    if not width or not height:
        report.say("wrong-size", f"picture {file!r} has no width and height: what is in it was left out", name, "size")
        return Frame(picture)
    found = []
    for number, one in enumerate(element.findall("object"), 1):
        instance = _instance(one, picture, Place(report, name, f"object {number}"))
        found += [] if instance is None else [instance]
    return Frame(picture, tuple(found))


def _instance(one: Element, picture: Picture, place: Place) -> Instance | None:
    label = (one.findtext("name") or "").strip()
    try:
        left, top, right, bottom = (
            float(one.findtext(f"bndbox/{side}") or "nan") for side in ("xmin", "ymin", "xmax", "ymax")
        )
    except ValueError as error:
        place.say("not-a-number", f"a corner is no number ({error}): the object was left out")
        return None
    if not label:
        place.say("unknown-category", "the object has no name: it was left out")
        return None
    box = pixels.box_in(left - 1, top - 1, right - left + 1, bottom - top + 1, picture.width, picture.height, place)
    if box is None:
        return None
    for part in one.findall("part"):
        place.say("parts-lost", f"the part {part.findtext('name')!r} is not read")
    flags = {name: True for name in ("difficult", "truncated") if (one.findtext(name) or "").strip() == "1"}
    pose = (one.findtext("pose") or "").strip()
    attributes = flags | ({"pose": pose} if pose and pose != "Unspecified" else {})
    return Instance(
        label, Kind.BOX, box, occluded=(one.findtext("occluded") or "").strip() == "1", attributes=attributes
    )
