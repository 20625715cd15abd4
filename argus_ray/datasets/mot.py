"""MOT Challenge, out and in: boxes of tracks, and everything counts from 1: frames, ids, corners and classes.

    <split>/<video>/gt/gt.txt       frame, id, left, top, width, height, counts, class, visibility
    <split>/<video>/gt/labels.txt   the classes by number
    <split>/<video>/seqinfo.ini     the size of the pictures, how many there are
    <split>/<video>/img1/000001.jpg

Files of results have ten columns, of which the seventh is a score and the last ones are -1.
"""

from __future__ import annotations

import configparser
import math
from collections.abc import Callable, Iterator
from itertools import count, groupby
from pathlib import PurePosixPath

from argus_ray.datasets import losses, pixels
from argus_ray.datasets.archives import Source, ZipWriter
from argus_ray.datasets.pixels import Place
from argus_ray.datasets.records import UNNAMED, Category, Clip, Contents, Frame, Instance, Picture
from argus_ray.datasets.report import Report
from argus_ray.datasets.yolo import numbered_names
from argus_ray.errors import AnnotationsUnreadable
from argus_ray.schemas.annotation import Kind

SizeOf = Callable[[str], tuple[int, int] | None]
"""Width and height of a video by its name, where the file does not say."""

# -- out -----------------------------------------------------------------------------------------


def picture_path(picture: Picture) -> str:
    assert picture.index is not None
    return f"{picture.split}/{picture.video}/img1/{picture.index + 1:06d}.jpg"


def write(contents: Contents, out: ZipWriter, report: Report) -> None:
    number = {one.name: one.number for one in contents.categories}
    names = "".join(f"{name}\n" for name in _lines(numbered_names(contents.categories, report)))
    clips = {clip.name: clip for clip in contents.clips}
    for name, frames in groupby(contents.frames(), key=lambda frame: frame.picture.video):
        clip = clips[name]
        folder = f"{clip.split}/{name}"
        spare = count(clip.tracks + 1)
        with out.open(f"{folder}/gt/gt.txt") as file:
            for frame in frames:
                for instance in losses.told(frame, "mot", report):
                    if instance.outside:
                        continue
                    if instance.track is None:
                        report.once("tracks-made", "MOT has only tracks: what belongs to none gets a number of its own")
                    track = next(spare) if instance.track is None else instance.track
                    file.write(_row(frame.picture, instance, track, number[instance.label]))
        out.put(f"{folder}/gt/labels.txt", names)
        out.put(f"{folder}/seqinfo.ini", _about(clip))


def _lines(names: list[str]) -> list[str]:
    """One line each, whatever is in them."""
    return [" ".join(name.split()) or "unnamed" for name in names]


def _row(picture: Picture, instance: Instance, track: int, number: int) -> bytes:
    assert instance.box is not None
    assert picture.index is not None
    x, y, w, h = pixels.box_px(instance.box, picture)
    corners = ",".join(f"{value:.10g}" for value in (x + 1, y + 1, w, h))
    return f"{picture.index + 1},{track},{corners},{int(not instance.crowd)},{number},{int(not instance.occluded)}\n".encode()


def _about(clip: Clip) -> str:
    rate = max(1, round(clip.frame_rate or 1))
    return (
        f"[Sequence]\nname={clip.name}\nimDir=img1\nframeRate={rate}\nseqLength={clip.frames}\n"
        f"imWidth={clip.width}\nimHeight={clip.height}\nimExt=.jpg\n"
    )


# -- in ------------------------------------------------------------------------------------------


def read(source: Source, report: Report, size_of: SizeOf) -> Contents:
    """Every sequence of the source. Raises AnnotationsUnreadable."""
    files = [
        name
        for name in source.ending(".txt")
        if PurePosixPath(name).name.lower() != "labels.txt" and not name.endswith("_labels.txt")
    ]
    tracks = [name for name in files if PurePosixPath(name).name in {"gt.txt", "det.txt"}] or files
    if not tracks:
        raise AnnotationsUnreadable("there is no gt/gt.txt: give the folder of a MOT sequence as an archive")
    sequences = [_Sequence(source, name, report, size_of) for name in tracks]
    names = dict.fromkeys(name for one in sequences for name in one.names)
    categories = tuple(Category(number, name) for number, name in enumerate([*names, UNNAMED], 1))
    return Contents(categories, lambda: (frame for one in sequences for frame in one.frames()))


class _Sequence:
    """One gt.txt with what stands beside it."""

    def __init__(self, source: Source, name: str, report: Report, size_of: SizeOf) -> None:
        self.source, self.name, self.report = source, name, report
        path = PurePosixPath(name)
        self.folder = path.parent.parent if path.parent.name in {"gt", "det"} else path.parent
        about = _seqinfo(source, str(self.folder / "seqinfo.ini"))
        self.video = about.get("name") or self.folder.name or PurePosixPath(source.path.name).stem
        size = _whole(about.get("imwidth")), _whole(about.get("imheight"))
        self.size = size if all(size) else size_of(self.video)
        self.folder_of_pictures, self.ending = about.get("imdir", "img1"), about.get("imext", ".jpg")
        self.length = _whole(about.get("seqlength"))
        self.names = self._names(path)
        if self.size is None:
            raise AnnotationsUnreadable(
                f"{name} counts in pixels, and how many the video {self.video!r} has is not known: put seqinfo.ini beside it, "
                "or say which video it is",
                file=name,
            )

    def _names(self, path: PurePosixPath) -> list[str]:
        beside = (
            path.parent / "labels.txt",
            self.folder / "labels.txt",
            path.with_name(path.name.replace("_gt", "_labels")),
        )
        for one in map(str, beside):
            if one in self.source.names and one != self.name:
                return [
                    line.strip()
                    for line in self.source.read(one, most_bytes=2**22).decode("utf-8", "replace").splitlines()
                ]
        return []

    def _picture(self, number: int) -> Picture:
        assert self.size is not None
        file = self.folder / self.folder_of_pictures / f"{number:06d}{self.ending}"
        return Picture(str(file), *self.size, video=self.video, index=number - 1)

    def frames(self) -> Iterator[Frame]:
        for number in range(1, min(self.length, 10_000_000) + 1):
            yield Frame(self._picture(number))
        seen: set[tuple[int, int]] = set()
        with self.source.open(self.name) as file:
            for line_number, line in enumerate(file, 1):
                if line.strip():
                    place = Place(self.report, self.name, f"line {line_number}")
                    found = self._read(line, place, seen)
                    if found is not None:
                        yield found

    def _read(self, line: bytes, place: Place, seen: set[tuple[int, int]]) -> Frame | None:
        assert self.size is not None
        try:
            values = [float(value) for value in line.replace(b" ", b"").rstrip(b",\r\n").split(b",")]
        except ValueError:
            values = []
        if len(values) < 6 or not all(map(math.isfinite, values)):
            place.say("wrong-row", f"a row is at least six numbers, and this is {line[:60]!r}: it was left out")
            return None
        frame, track = int(values[0]), int(values[1])
        if frame < 1:
            place.say("zero-id", f"frames count from 1, and this is frame {frame}: the row was left out")
            return None
        if track == 0:
            place.say("zero-id", "ids count from 1, and this is 0: it is read as one that belongs to no track")
        if track > 0 and (frame, track) in seen:
            place.say("duplicate-id", f"frame {frame} has two boxes with id {track}: the second one was left out")
            return None
        seen.add((frame, track))
        x, y, w, h = values[2:6]
        box = pixels.box_in(x - 1, y - 1, w, h, *self.size, place)
        if box is None:
            return None
        is_result = len(values) >= 10
        flag = values[6] if len(values) > 6 else 1.0
        visibility = values[8] if 8 < len(values) < 10 else 1.0
        instance = Instance(
            self._label(int(values[7]) if len(values) > 7 else -1, place),
            Kind.BOX,
            box,
            track=track if track > 0 else None,
            occluded=visibility == 0,
            crowd=not is_result and flag == 0,
            score=flag if is_result and 0 <= flag <= 1 else None,
            attributes={"visibility": visibility} if 0 < visibility < 1 else {},
        )
        return Frame(self._picture(frame), (instance,))

    def _label(self, number: int, place: Place) -> str:
        if 0 < number <= len(self.names):
            return self.names[number - 1]
        if number > 0:
            place.report.once(
                "unknown-category",
                f"classes without a name in labels.txt, as {number}, are read as {UNNAMED!r}",
                self.name,
            )
        return UNNAMED


def _seqinfo(source: Source, name: str) -> dict[str, str]:
    if name not in source.names:
        return {}
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(source.read(name, most_bytes=2**16).decode("utf-8", "replace"))
    except configparser.Error as error:
        raise AnnotationsUnreadable(f"{name} is not an INI file: {error}", file=name) from error
    return dict(parser["Sequence"]) if "Sequence" in parser else {}


def _whole(text: str | None) -> int:
    return int(text) if text is not None and text.strip().isdigit() else 0
