"""COCO instances, out and in; and COCO results in.

Out: ids from 1, categories by their number in the project, `bbox` and polygons unrounded, masks as compressed runs with
`iscrowd` 0 (a crowd alone has 1), `area` in pixels of the mask. Pictures without annotations stay listed. What COCO has
no field for stands under keys that `info.argus_extensions` declares.

In: polygons of any number of parts, runs compressed and not, crowds. Keypoints are reported, panoptic files refused.
The document is read as a stream, so that only its pictures are held.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any

import ijson

from argus_ray import rle
from argus_ray.datasets import losses, pixels
from argus_ray.datasets.archives import Source, ZipWriter
from argus_ray.datasets.pixels import Place
from argus_ray.datasets.records import SPLITS, Category, Contents, Frame, Instance, Picture
from argus_ray.datasets.report import Report
from argus_ray.errors import AnnotationsUnreadable, InvalidRequest
from argus_ray.rle import Rle
from argus_ray.schemas.annotation import Kind

EXTENSION = "argus"
_KNOWN = {
    "id", "image_id", "category_id", "segmentation", "area", "bbox", "iscrowd", "attributes", "score", "keypoints",
    "num_keypoints", "track_id", "instance_id", "video_id", "caption", EXTENSION,
}  # fmt: skip
_OWN_ATTRIBUTES = {"occluded", "track_id", "keyframe", "outside"}  # as Datumaro and CVAT name them

# -- out -----------------------------------------------------------------------------------------


def picture_path(picture: Picture) -> str:
    return f"images/{picture.split}/{picture.file}"


def write(contents: Contents, out: ZipWriter, report: Report) -> None:
    """`annotations/instances_<split>.json` for each split that has pictures; these lie in `images/<split>/`."""
    present = {clip.split for clip in contents.clips}
    for split in SPLITS:
        if split in present:
            with out.open(f"annotations/instances_{split}.json") as file:
                for piece in _document(contents, split, report):
                    file.write(piece.encode())


def _document(contents: Contents, split: str, report: Report) -> Iterator[str]:
    info = {**contents.about, "argus_extensions": {"version": 1, "keys": [EXTENSION]}}
    videos = [clip for clip in contents.clips if clip.split == split]
    number = {clip.name: n for n, clip in enumerate(videos, 1)}
    yield f'{{"info": {json.dumps(info)},\n"licenses": [],\n"categories": {json.dumps(categories(contents.categories))},\n"videos": [\n'
    yield from _joined({"id": number[clip.name], "name": clip.name, "fps": clip.frame_rate} for clip in videos)
    yield '],\n"images": [\n'
    yield from _joined(
        _image(n, frame.picture, number[frame.picture.video]) for n, frame in enumerate(_of(contents, split), 1)
    )
    yield '],\n"annotations": [\n'
    yield from _joined(_annotations(contents, split, report))
    yield "]}\n"


def categories(of: Iterable[Category]) -> list[dict[str, Any]]:
    return [
        {"id": one.number, "name": one.name, "supercategory": one.supercategory}
        | ({EXTENSION: {"prompts": list(one.prompts)}} if one.prompts else {})
        for one in of
    ]


def _of(contents: Contents, split: str) -> Iterator[Frame]:
    return (frame for frame in contents.frames() if frame.picture.split == split)


def _joined(items: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for number, item in enumerate(items):
        yield (",\n" if number else "") + json.dumps(item)


def _image(number: int, picture: Picture, video: int) -> dict[str, Any]:
    return {
        "id": number,
        "file_name": picture.file,
        "width": picture.width,
        "height": picture.height,
        "video_id": video,
        "frame_index": picture.index,
        EXTENSION: {"video": picture.video, "pts_us": picture.pts_us, "frame_id": picture.frame_id},
    }


def _annotations(contents: Contents, split: str, report: Report) -> Iterator[dict[str, Any]]:
    category = {one.name: one.number for one in contents.categories}
    number = 0
    for image, frame in enumerate(_of(contents, split), 1):
        for instance in losses.told(frame, "coco", report):
            if instance.outside or pixels.is_lost(instance, frame.picture, report):
                continue
            number += 1
            yield {
                "id": number,
                "image_id": image,
                "category_id": category[instance.label],
                **_shape(instance, frame.picture, report),
                "iscrowd": int(instance.crowd),
                "attributes": {
                    **instance.attributes,
                    "occluded": instance.occluded,
                    **(
                        {"track_id": instance.track, "keyframe": instance.keyframe}
                        if instance.track is not None
                        else {}
                    ),
                },
                EXTENSION: {
                    name: value
                    for name in ("id", "state", "source", "score", "model")
                    if (value := getattr(instance, name)) not in (None, "")
                },
            }


def _shape(instance: Instance, picture: Picture, report: Report) -> dict[str, Any]:
    assert instance.box is not None
    bbox = list(pixels.box_px(instance.box, picture))
    covered = pixels.outline(instance, picture)
    if covered is None:
        return {"segmentation": [], "bbox": bbox, "area": bbox[2] * bbox[3]}
    segmentation: Any = {"size": list(covered.size), "counts": covered.counts}
    if instance.polygon is not None:
        if instance.crowd or any(len(part) > 1 for part in instance.polygon):
            report.once("holes-as-runs", "COCO polygons have no holes: such a polygon is written as runs of pixels")
        else:
            size = picture.width, picture.height
            segmentation = [
                [value * size[axis] for point in part[0] for axis, value in enumerate(point)]
                for part in instance.polygon
            ]
    is_known = covered is instance.mask and instance.area_px is not None
    return {"segmentation": segmentation, "bbox": bbox, "area": instance.area_px if is_known else rle.area(covered)}


# -- in ------------------------------------------------------------------------------------------


def read(source: Source, report: Report) -> Contents:
    """Every instances file of the source, and results files beside them. Raises AnnotationsUnreadable."""
    names = source.ending(".json")
    if not names:
        raise AnnotationsUnreadable("there is no .json file: give COCO's instances file, or an archive with it")
    results = [name for name in names if kind_of(source, name) == "array"]
    documents = [_Document(source, name, report) for name in names if name not in results]
    if not documents:
        raise AnnotationsUnreadable(
            f"{results[0]} holds results only, and no pictures: put the instances file beside it, in one archive",
            file=results[0],
        )
    merged = {one.name: one for document in documents for one in document.categories.values()}

    def frames() -> Iterator[Frame]:
        for document in documents:
            yield from document.frames()
        for name in results:
            yield from _results(source, name, documents, report)

    return Contents(tuple(merged.values()), frames)


def kind_of(source: Source, name: str) -> str:
    """`array` or `map`, by the document's first character."""
    with source.open(name) as file:
        start = file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if start not in (b"[", b"{"):
        raise AnnotationsUnreadable(f"{name} is not JSON of COCO: it begins with {start!r}", file=name)
    return "array" if start == b"[" else "map"


def items(source: Source, name: str, prefix: str) -> Iterator[Any]:
    """The values at that path of a JSON document, one at a time. Raises AnnotationsUnreadable with the place."""
    with source.open(name) as file:
        yield from items_of(file, name, prefix)


def items_of(file: IO[bytes], name: str, prefix: str) -> Iterator[Any]:
    try:
        yield from ijson.items(file, prefix, use_float=True)
    except (ijson.JSONError, UnicodeDecodeError, OverflowError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise AnnotationsUnreadable(
            f"{name} is not whole JSON at {prefix.removesuffix('.item')}: {said}", file=name, place=prefix
        ) from error


class _Document:
    """One instances file: its pictures and categories held, its annotations streamed."""

    def __init__(self, source: Source, name: str, report: Report) -> None:
        self.source, self.name, self.report = source, name, report
        self.categories = self._categories()
        videos = {
            one.get("id"): str(one.get("name", ""))
            for one in items(source, name, "videos.item")
            if isinstance(one, dict)
        }
        self.images = self._images(videos)
        if not self.images:
            raise AnnotationsUnreadable(
                f"{name} lists no pictures: an instances file has `images`", file=name, place="images"
            )

    def _place(self, where: str) -> Place:
        return Place(self.report, self.name, where)

    def _categories(self) -> dict[Any, Category]:
        found: dict[Any, Category] = {}
        names: set[str] = set()
        for position, one in enumerate(items(self.source, self.name, "categories.item")):
            place = self._place(f"categories[{position}]")
            key, label = _id(one), one.get("name") if isinstance(one, dict) else None
            if key is None or not isinstance(label, str) or not label.strip():
                place.say("wrong-category", "a category needs a whole number as id and a name: it was left out")
            elif key in found or label in names:
                place.say("duplicate-id", f"category {key} {label!r} is listed twice: the first one counts")
            else:
                if key == 0:
                    place.say(
                        "zero-id", "a category has the id 0, which evaluation takes for none: it is read by its name"
                    )
                names.add(label)
                prompts = one.get(EXTENSION, {}).get("prompts", ()) if isinstance(one.get(EXTENSION), dict) else ()
                if one.get("keypoints"):
                    place.say("keypoints-lost", f"category {label!r} has keypoints, which are not read")
                found[key] = Category(
                    len(found) + 1,
                    label,
                    prompts=tuple(map(str, prompts)),
                    supercategory=str(one.get("supercategory") or ""),
                )
        return found

    def _images(self, videos: Mapping[Any, str]) -> dict[Any, Picture]:
        found: dict[Any, Picture] = {}
        for position, one in enumerate(items(self.source, self.name, "images.item")):
            place = self._place(f"images[{position}]")
            key, file = _id(one), one.get("file_name") if isinstance(one, dict) else None
            if key is None or not isinstance(file, str):
                place.say("wrong-picture", "a picture needs a whole number as id and a file_name: it was left out")
                continue
            width, height = _size(one.get("width")), _size(one.get("height"))
            if not width or not height:
                place.say("wrong-size", f"picture {file!r} has no width and height in pixels: it was left out")
                continue
            if key in found:
                place.say("duplicate-id", f"picture id {key} is listed twice: the first one counts")
                continue
            more = one[EXTENSION] if isinstance(one.get(EXTENSION), dict) else {}
            pts_us, index = more.get("pts_us"), one.get("frame_index")
            found[key] = Picture(
                file,
                width,
                height,
                video=str(more.get("video") or videos.get(one.get("video_id"), "")),
                index=index if type(index) is int else None,
                pts_us=pts_us if type(pts_us) is int else None,
            )
        return found

    def frames(self) -> Iterator[Frame]:
        for picture in self.images.values():
            yield Frame(picture)
        seen: set[int] = set()
        for position, one in enumerate(items(self.source, self.name, "annotations.item")):
            place = self._place(f"annotations[{position}]")
            key = _id(one)
            if not isinstance(one, dict) or key is None:
                if isinstance(one, dict) and "segments_info" in one:
                    raise AnnotationsUnreadable(
                        f"{self.name} is a COCO panoptic file, whose masks are PNG files: export instances instead",
                        file=self.name,
                        place=place.where,
                    )
                place.say("wrong-id", "an annotation needs a whole number as id: it was left out")
            elif key in seen:
                place.say("duplicate-id", f"annotation id {key} is used twice: the second one was left out")
            else:
                seen.add(key)
                if key == 0:
                    place.say(
                        "zero-id",
                        "an annotation has the id 0, which evaluation takes for none: Argus gives ids of its own",
                    )
                if (found := self.instance(one, place)) is not None:
                    yield Frame(self.images[one["image_id"]], (found,))

    def instance(self, one: Mapping[str, Any], place: Place) -> Instance | None:
        """What an annotation says; None where it was left out, and a line said why."""
        picture, category = self.images.get(one.get("image_id")), self.categories.get(one.get("category_id"))
        if picture is None:
            place.say(
                "unknown-picture", f"image_id {one.get('image_id')!r} is no picture of this file: it was left out"
            )
            return None
        if category is None:
            place.say(
                "unknown-category",
                f"category_id {one.get('category_id')!r} is no category of this file: it was left out",
            )
            return None
        if one.get("keypoints"):
            place.say("keypoints-lost", "keypoints are not read: the shape of the annotation is kept")
        for name in one.keys() - _KNOWN:
            self.report.once(
                f"unknown-field-{name[:60]}",
                f"annotations have a field {name[:60]!r} that Argus does not know",
                self.name,
            )
        shape = _read_shape(one, picture, place)
        if shape is None:
            return None
        given = one["attributes"] if isinstance(one.get("attributes"), dict) else {}
        more = one[EXTENSION] if isinstance(one.get(EXTENSION), dict) else {}
        track = given.get("track_id", one.get("track_id", one.get("instance_id")))
        score = one.get("score", more.get("score"))
        return Instance(
            category.name,
            **shape,
            track=track if type(track) is int else None,
            keyframe=bool(given.get("keyframe", True)),
            occluded=bool(given.get("occluded", False)),
            crowd=one.get("iscrowd") == 1,
            attributes={name: value for name, value in given.items() if name not in _OWN_ATTRIBUTES},
            score=float(score) if isinstance(score, int | float) else None,
            state=more.get("state"),
            source=more.get("source"),
            model=more.get("model"),
            id=str(more.get("id", "")),
        )


def _results(source: Source, name: str, documents: list[_Document], report: Report) -> Iterator[Frame]:
    """Detections with scores, whose pictures and categories are those of the instances files."""
    for position, one in enumerate(items(source, name, "item")):
        place = Place(report, name, f"[{position}]")
        if not isinstance(one, dict):
            place.say("wrong-result", "a result is an object with image_id and category_id: it was left out")
            continue
        known = next((document for document in documents if one.get("image_id") in document.images), documents[0])
        if (found := known.instance(one, place)) is not None:
            yield Frame(known.images[one["image_id"]], (found,))


def _read_shape(one: Mapping[str, Any], picture: Picture, place: Place) -> dict[str, Any] | None:
    segmentation = one.get("segmentation")
    if isinstance(segmentation, dict):
        return read_runs(segmentation, picture.height, picture.width, place)
    if isinstance(segmentation, list) and segmentation:
        parts = segmentation if isinstance(segmentation[0], list) else [segmentation]
        rings = [
            ring
            for part in parts
            if (ring := pixels.ring_in(part if isinstance(part, list) else [], picture.width, picture.height, place))
            is not None
        ]
        if not rings:
            return None
        polygon = [[ring] for ring in rings]
        return {"kind": Kind.POLYGON, "polygon": polygon, "box": pixels.polygon_box(polygon)}
    bbox = one.get("bbox")
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(isinstance(value, int | float) for value in bbox):
        place.say("no-shape", "the annotation has neither a segmentation nor a bbox of four numbers: it was left out")
        return None
    x, y, w, h = bbox
    box = pixels.box_in(x, y, w, h, picture.width, picture.height, place)
    return None if box is None else {"kind": Kind.BOX, "box": box}


def read_runs(segmentation: Mapping[str, Any], height: int, width: int, place: Place) -> dict[str, Any] | None:
    """A mask as runs, compressed or not."""
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if not isinstance(size, list) or len(size) != 2 or not all(type(side) is int for side in size):
        place.say("wrong-mask", "the mask's size is not [height, width]: it was left out")
        return None
    if isinstance(counts, str):
        mask = Rle((size[0], size[1]), counts)
    elif isinstance(counts, list):
        try:
            mask = rle.from_uncompressed(counts, (size[0], size[1]))
        except InvalidRequest as error:
            place.say("wrong-mask", f"{error.detail}; it was left out")
            return None
    else:
        place.say("wrong-mask", "the mask's counts are neither text nor a list of numbers: it was left out")
        return None
    found = pixels.mask_in(mask, height, width, place)
    return None if found is None else {"kind": Kind.MASK, "mask": found[0], "box": found[1]}


def _id(one: Any) -> int | None:
    value = one.get("id") if isinstance(one, dict) else None
    return value if type(value) is int else None


def _size(value: Any) -> int:
    """A side in pixels, 0 for what is none."""
    return value if type(value) is int and 0 < value <= rle.MAX_SIDE else 0
