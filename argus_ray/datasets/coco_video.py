"""COCO for video, out, as YouTube-VIS and SA-Co have it: each track with a list of masks, null where it is not seen.

    annotations/video_<split>.json    videos, categories, annotations, video_np_pairs
    images/<split>/<video>/…          as `file_names` say

A noun phrase is the first one of its label. `video_np_pairs` names the phrases that were asked of a video: with how many
masklets, or none where people have said of every picture that there is none.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

from argus_ray import rle
from argus_ray.datasets import coco, losses, pixels
from argus_ray.datasets.archives import Source, ZipWriter
from argus_ray.datasets.pixels import Place
from argus_ray.datasets.records import SPLITS, Category, Clip, Contents, Frame, Instance, Picture
from argus_ray.datasets.regroup import ByTrack
from argus_ray.datasets.report import Report
from argus_ray.errors import AnnotationsUnreadable
from argus_ray.rle import Rle


def picture_path(picture: Picture) -> str:
    return f"images/{picture.split}/{picture.file}"


def write(contents: Contents, out: ZipWriter, report: Report) -> None:
    for split in SPLITS:
        clips = [clip for clip in contents.clips if clip.split == split]
        if clips:
            with out.open(f"annotations/video_{split}.json") as file:
                for piece in _document(contents, split, clips, report):
                    file.write(piece.encode())


def _document(contents: Contents, split: str, clips: list[Clip], report: Report) -> Iterator[str]:
    number = {clip.name: n for n, clip in enumerate(clips, 1)}
    by_name = {clip.name: clip for clip in clips}
    asked: list[dict[str, Any]] = []
    info = {**contents.about, "argus_extensions": {"version": 1, "keys": [coco.EXTENSION]}}
    yield f'{{"info": {json.dumps(info)},\n"licenses": [],\n"categories": {json.dumps(coco.categories(contents.categories))},\n"videos": [\n'
    yield from _joined(_videos(contents, split, number, by_name))
    yield '],\n"annotations": [\n'
    yield from _joined(_annotations(contents, split, number, by_name, asked, report))
    yield f'],\n"video_np_pairs": {json.dumps(asked)}}}\n'


def _by_video(contents: Contents, split: str) -> Iterator[tuple[str, Iterator[Frame]]]:
    return groupby((f for f in contents.frames() if f.picture.split == split), key=lambda frame: frame.picture.video)


def _joined(pieces: Iterator[Iterator[str]]) -> Iterator[str]:
    for number, item in enumerate(pieces):
        if number:
            yield ",\n"
        yield from item


def _videos(
    contents: Contents, split: str, number: Mapping[str, int], clips: Mapping[str, Clip]
) -> Iterator[Iterator[str]]:
    for name, frames in _by_video(contents, split):
        yield _video(clips[name], number[name], frames)


def _video(clip: Clip, number: int, frames: Iterator[Frame]) -> Iterator[str]:
    about = {
        "id": number,
        "name": clip.name,
        "video_name": clip.name,
        "width": clip.width,
        "height": clip.height,
        "fps": clip.frame_rate,
        "length": clip.frames,
    }
    yield json.dumps(about)[:-1] + ', "file_names": ['
    times = []
    for place, frame in enumerate(frames):
        yield (", " if place else "") + json.dumps(frame.picture.file)
        times.append(frame.picture.pts_us)
    yield f'], "{coco.EXTENSION}": {json.dumps({"pts_us": times})}}}'


def _annotations(
    contents: Contents,
    split: str,
    number: Mapping[str, int],
    clips: Mapping[str, Clip],
    asked: list[dict[str, Any]],
    report: Report,
) -> Iterator[Iterator[str]]:
    labels = {one.name: one for one in contents.categories}
    made = 0
    for name, frames in _by_video(contents, split):
        found, absent = Counter[str](), Counter[str]()
        clip = clips[name]
        with ByTrack(clip.tracks + 1) as seen:
            for frame in frames:
                seen.add(frame, [one for one in losses.told(frame, "coco-video", report) if not one.outside])
                seen.next_frame()
                absent.update(label for label, word in frame.verdicts.items() if word == "exhaustive_absent")
            for track, alone, shapes in seen.tracks():
                if alone:
                    report.once("tracks-made", "COCO for video has only tracks: what belongs to none is one of its own")
                made += 1
                yield _annotation(made, number[name], track, clip, shapes, labels, found, report)
        for one in contents.categories:
            if found[one.name] or absent[one.name] == clip.frames:
                asked.append(
                    {
                        "id": len(asked) + 1,
                        "video_id": number[name],
                        "category_id": one.number,
                        "noun_phrase": phrase(one),
                        "num_masklets": found[one.name],
                    }
                )


def phrase(one: Category) -> str:
    return one.prompts[0] if one.prompts else one.name


def _annotation(
    made: int,
    video: int,
    track: int,
    clip: Clip,
    shapes: Iterator[tuple[int, Picture, Instance]],
    labels: Mapping[str, Category],
    found: Counter[str],
    report: Report,
) -> Iterator[str]:
    """One track, its three lists side by side: runs, boxes and areas of its pictures, which are held."""
    runs: list[Rle | None] = [None] * clip.frames
    boxes: list[list[float] | None] = [None] * clip.frames
    label = ""
    for place, picture, instance in shapes:
        label = instance.label
        assert instance.box is not None
        covered = pixels.outline(instance, picture) or pixels.boxed(instance.box, picture)
        if not rle.area(covered):
            report.say(
                "too-small", f"a shape of {label!r} covers no pixel of its picture: it is left out", picture.file
            )
            continue
        runs[place] = covered
        boxes[place] = list(pixels.box_px(instance.box, picture))
    found[label] += 1
    one = labels[label]
    about = {
        "id": made,
        "video_id": video,
        "track_id": track,
        "category_id": one.number,
        "noun_phrase": phrase(one),
        "iscrowd": 0,
        "width": clip.width,
        "height": clip.height,
        "length": clip.frames,
    }
    yield json.dumps(about)[:-1] + ', "segmentations": '
    yield json.dumps([None if run is None else {"size": list(run.size), "counts": run.counts} for run in runs])
    yield f', "bboxes": {json.dumps(boxes)}, "areas": {json.dumps([None if run is None else rle.area(run) for run in runs])}}}'


# -- in ------------------------------------------------------------------------------------------


def read(source: Source, report: Report) -> Contents:
    """Every file of tracks of the source. Raises AnnotationsUnreadable."""
    names = source.ending(".json")
    if not names:
        raise AnnotationsUnreadable("there is no .json file: give a file of YouTube-VIS or SA-Co")
    documents = [_Document(source, name, report) for name in names]
    merged = {
        label: Category(n, label)
        for n, label in enumerate(dict.fromkeys(v for d in documents for v in d.labels.values()), 1)
    }
    return Contents(tuple(merged.values()), lambda: (frame for document in documents for frame in document.frames()))


class _Document:
    """One file: its videos and categories held, its tracks streamed."""

    def __init__(self, source: Source, name: str, report: Report) -> None:
        self.source, self.name, self.report = source, name, report
        self.labels = {
            one["id"]: str(one["name"])
            for one in coco.items(source, name, "categories.item")
            if isinstance(one, dict) and type(one.get("id")) is int and one.get("name")
        }
        self.videos: dict[int, tuple[Picture, ...]] = {}
        for position, one in enumerate(coco.items(source, name, "videos.item")):
            self._video(one, Place(report, name, f"videos[{position}]"))
        if not self.videos:
            raise AnnotationsUnreadable(
                f"{name} lists no videos: a file of tracks has `videos`", file=name, place="videos"
            )

    def _video(self, one: Any, place: Place) -> None:
        key = one.get("id") if isinstance(one, dict) else None
        files = one.get("file_names") if isinstance(one, dict) else None
        size = [one.get("width"), one.get("height")] if isinstance(one, dict) else []
        if (
            type(key) is not int
            or not isinstance(files, list)
            or not all(type(side) is int and 0 < side <= rle.MAX_SIDE for side in size)
        ):
            place.say(
                "wrong-video", "a video needs a whole number as id, file_names, width and height: it was left out"
            )
        elif key in self.videos:
            place.say("duplicate-id", f"video id {key} is listed twice: the first one counts")
        else:
            name = str(
                one.get("name") or one.get("video_name") or str(files[0] if files else key).rpartition("/")[0] or key
            )
            times = one[coco.EXTENSION].get("pts_us") if isinstance(one.get(coco.EXTENSION), dict) else None
            known = times if isinstance(times, list) and len(times) == len(files) else [None] * len(files)
            width, height = one["width"], one["height"]
            self.videos[key] = tuple(
                Picture(str(file), width, height, video=name, index=number, pts_us=at if type(at) is int else None)
                for number, (file, at) in enumerate(zip(files, known, strict=True))
            )

    def frames(self) -> Iterator[Frame]:
        for pictures in self.videos.values():
            for picture in pictures:
                yield Frame(picture)
        seen: set[int] = set()
        for position, one in enumerate(coco.items(self.source, self.name, "annotations.item")):
            place = Place(self.report, self.name, f"annotations[{position}]")
            key = one.get("id") if isinstance(one, dict) else None
            if type(key) is not int:
                place.say("wrong-id", "a track needs a whole number as id: it was left out")
            elif key in seen:
                place.say("duplicate-id", f"annotation id {key} is used twice: the second one was left out")
            else:
                if key == 0:
                    place.say(
                        "zero-id", "a track has the id 0, which evaluation takes for none: Argus gives ids of its own"
                    )
                seen.add(key)
                yield from self._track(one, place)
        for one in coco.items(self.source, self.name, "video_np_pairs.item"):
            yield from self._asked(one)

    def _track(self, one: Mapping[str, Any], place: Place) -> Iterator[Frame]:
        pictures, label = self.videos.get(one.get("video_id", -1)), self.labels.get(one.get("category_id", -1))
        runs = one.get("segmentations")
        if pictures is None or label is None:
            place.say(
                "unknown-video" if pictures is None else "unknown-category",
                "the track's video or category is not listed: it was left out",
            )
            return
        if not isinstance(runs, list) or len(runs) != len(pictures):
            place.say(
                "wrong-length",
                f"a track has a mask or null for each of its video's {len(pictures)} pictures: it was left out",
            )
            return
        given = one.get("track_id")
        for number, (picture, run) in enumerate(zip(pictures, runs, strict=True)):
            if isinstance(run, dict):
                where = Place(self.report, self.name, f"{place.where}.segmentations[{number}]")
                shape = coco.read_runs(run, picture.height, picture.width, where)
                if shape is not None:
                    track = given if type(given) is int and given > 0 else one["id"] + 1
                    yield Frame(picture, (Instance(label, **shape, track=track, crowd=one.get("iscrowd") == 1),))

    def _asked(self, one: Any) -> Iterator[Frame]:
        if isinstance(one, dict) and one.get("num_masklets") == 0:
            label = self.labels.get(one.get("category_id", -1))
            for picture in self.videos.get(one.get("video_id", -1), ()):
                if label is not None:
                    yield Frame(picture, verdicts={label: "exhaustive_absent"})
