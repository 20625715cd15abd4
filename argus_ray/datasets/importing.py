"""Imports: a file of another tool becomes annotations, in one piece or not at all.

    S3 ──▶ scratch ──▶ read as its format ──▶ videos, times and labels found ──▶ rows in a file ──▶ one COPY, and the report

A dry run goes as far as the rows. What is not known is a line of the report, with file and place, and is left out; what
cannot be read ends the job, and nothing is changed. An id is a function of the file and the place in it, so that the same
file imported twice is there once.
"""

from __future__ import annotations

import hashlib
import pickle
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

from argus_ray import rle
from argus_ray.annotations import attributes, polygons
from argus_ray.catalog import arriving, freezing, importing, labels
from argus_ray.catalog.arriving import Arriving
from argus_ray.catalog.connect import Database, worker_url
from argus_ray.catalog.importing import VideoFacts
from argus_ray.catalog.statement import Tx
from argus_ray.catalog.work import Started
from argus_ray.datasets import formats
from argus_ray.datasets.archives import Source
from argus_ray.datasets.every_frame import decoder, limits_of, timetable
from argus_ray.datasets.exporting import stored_of
from argus_ray.datasets.places import Places
from argus_ray.datasets.records import Category, Frame, Instance, Picture
from argus_ray.datasets.report import Report
from argus_ray.errors import AnnotationsUnreadable, InvalidRequest, NotFound
from argus_ray.s3 import S3
from argus_ray.schemas.annotation import Kind, Word
from argus_ray.schemas.job import Import
from argus_ray.schemas.label import Attribute, LabelCreate
from argus_ray.settings import Settings

Tell = Callable[[float], None]
Effects = Callable[[Tx], dict[str, Any]]

_ASPECT = 0.02
"""By so much the shape of a picture may differ from its video's: sizes are rounded."""
_TRACKS_AT_ONCE = 5000


def import_annotations(settings: Settings, started: Started, tell: Tell) -> Effects:
    """Read a file; what is returned writes it. Raises AnnotationsUnreadable, NotFound."""
    asked = Import.model_validate(started.spec)
    if not asked.object_key.startswith(f"projects/{started.project_id}/imports/"):
        raise NotFound("there is no such file among the imports of this project")
    folder = Path(tempfile.mkdtemp(prefix="import-", dir=settings.scratch))
    staged = Staged(folder / "annotations", folder / "verdicts")
    weakref.finalize(staged, shutil.rmtree, folder, ignore_errors=True)
    with closing(Database(worker_url(settings))) as database, closing(S3(settings)) as s3:
        path = folder / "the-file"
        staged.digest = _download(s3, asked.object_key, path, settings.max_import_bytes)
        tell(0.1)
        source = Source(path)
        try:
            with closing(_places(settings, started.project_id, asked, database, s3, folder, staged.report)) as places:
                places.list_pictures(source, folder)
                contents = formats.read(asked.format, source, staged.report, places.size_of, folder)
                wanted = _Labels(database, started.project_id, asked, contents.categories, staged.report)
                _Reading(asked, started, places, wanted, staged, tell).run(contents.frames())
        finally:
            source.close()
    if not (staged.annotations or staged.verdicts or staged.pictures):
        raise AnnotationsUnreadable(
            "nothing in the file is about a video of this project: "
            + "; ".join(str(line) for line in staged.report.lines[:3]),
            report=staged.report.to_json(),
        )
    return lambda tx: _write(tx, started, asked, staged)


@dataclass
class Staged:
    """What is to be written: rows in two files, few things in memory."""

    annotations_file: Path
    verdicts_file: Path
    report: Report = field(default_factory=Report)
    digest: bytes = b""
    annotations: int = 0
    verdicts: int = 0
    pictures: int = 0
    tracks: dict[UUID, dict[str, Any]] = field(default_factory=dict)
    new_labels: dict[UUID, LabelCreate] = field(default_factory=dict)
    by_label: dict[str, int] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        return {
            "annotations": self.annotations,
            "tracks": len(self.tracks),
            "verdicts": self.verdicts,
            "pictures": self.pictures,
            "labels": dict(sorted(self.by_label.items())[:200]),
            "new_labels": sorted(label.name for label in self.new_labels.values())[:200],
            "report": self.report.to_json(),
        }


def _download(s3: S3, key: str, to: Path, most_bytes: int) -> bytes:
    """The file's SHA-256. Raises NotFound, AnnotationsUnreadable where it is larger than the limit."""
    head = s3.head(s3.at(key))
    if head is None:
        raise NotFound("the file has not arrived: send it to the URL that the import gave, then ask again")
    if head.size_bytes > most_bytes:
        raise AnnotationsUnreadable(f"the file has {head.size_bytes} bytes and the limit is {most_bytes}: split it")
    digest = hashlib.sha256()
    with to.open("wb") as file:
        for piece in s3.stream(s3.at(key)):
            digest.update(piece)
            file.write(piece)
    return digest.digest()


def _places(
    settings: Settings, project_id: UUID, asked: Import, database: Database, s3: S3, folder: Path, report: Report
) -> Places:
    def times_of(video_id: UUID) -> list[int]:
        stored = stored_of(database, s3, video_id, folder)
        with decoder(settings) as child:
            timeout_s = settings.decode_timeout_s
            table = child.call(timetable, stored, limits_of(settings), settings.frame_long_side, timeout_s=timeout_s)
        return [int(at) for at in table.shown_us]

    with database.transaction() as tx:
        return Places(tx.stream(importing.videos(project_id)), asked.videos, times_of, report, asked.format)


class _Labels:
    """Which label a class of the file means."""

    def __init__(
        self, database: Database, project_id: UUID, asked: Import, categories: tuple[Category, ...], report: Report
    ) -> None:
        with database.transaction() as tx:
            rows = tx.all(freezing.ontology(project_id, None))
        self._by_id = {UUID(row["id"]): row for row in rows if not row["archived"]}
        self._by_name = {row["name"].casefold(): label_id for label_id, row in self._by_id.items()}
        self._asked, self._report = asked, report
        self._categories = {one.name: one for one in categories}
        self._found: dict[str, UUID | None] = {}
        self.new: dict[UUID, LabelCreate] = {}

    def of(self, name: str) -> UUID | None:
        """The label's id, of one that is to be made too; None, and a line says so."""
        if name not in self._found:
            self._found[name] = self._asked.labels.get(name) or self._by_name.get(name.casefold()) or self._made(name)
        found = self._found[name]
        if found is not None and found not in self._by_id and found not in self.new:
            self._report.once(
                f"unknown-label-{name[:80]}",
                f"{name!r} was said to mean a label that the project does not have, or has archived",
            )
            return None
        if found is None:
            self._report.once(
                f"unknown-label-{name[:80]}",
                f"the project has no label {name!r}: make it, say in `labels` which one it means, or ask for `create_labels`",
            )
        return found

    def attributes(self, label_id: UUID) -> list[Attribute]:
        if label_id in self.new:
            return list(self.new[label_id].attributes)
        return [Attribute.model_validate(one) for one in self._by_id[label_id]["attributes"]]

    def _made(self, name: str) -> UUID | None:
        if not self._asked.create_labels:
            return None
        category = self._categories.get(name)
        declared = []
        for one in category.attributes if category else ():
            try:
                declared.append(Attribute.model_validate(dict(one)))
            except ValueError as error:
                self._report.say(
                    "attribute-refused",
                    f"the attribute {one.get('name')!r} of {name!r} cannot be kept: {_first(error)}",
                )
        try:
            prompts = [prompt[:200] for prompt in category.prompts if prompt.strip()][:8] if category else []
            label = LabelCreate(name=name, attributes=declared, prompts=prompts or None)
        except ValueError as error:
            self._report.once(f"unknown-label-{name[:80]}", f"{name[:80]!r} cannot be a label: {_first(error)}")
            return None
        made = uuid5(NAMESPACE_OID, name)
        self.new[made] = label
        return made


def _first(error: ValueError) -> str:
    return str(error).splitlines()[-1].strip() if str(error) else type(error).__name__


class _Reading:
    """One pass over a file's frames, into rows."""

    def __init__(
        self, asked: Import, started: Started, places: Places, wanted: _Labels, staged: Staged, tell: Tell
    ) -> None:
        self._asked, self._started, self._places, self._wanted = asked, started, places, wanted
        self._staged, self._tell, self._report = staged, tell, staged.report
        self._file = uuid5(started.project_id, staged.digest.hex())
        self._times: dict[UUID, set[int]] = {}
        self._seen_pictures: set[tuple[UUID, int]] = set()

    def run(self, frames: Iterator[Frame] | Any) -> None:
        with self._staged.annotations_file.open("wb") as rows, self._staged.verdicts_file.open("wb") as words:
            for number, frame in enumerate(frames):
                if number % 500 == 0:
                    self._tell(0.1 + 0.8 * (1 - 1 / (1 + number / 20_000)))
                place = self._places.of(frame.picture)
                if place is None:
                    for one in frame.instances:
                        self._report.once(
                            "left-out",
                            f"annotations of pictures that belong to no video here were left out, as of {one.label!r}",
                        )
                    continue
                video, pts_us = place
                if (video.id, pts_us) not in self._seen_pictures:
                    self._seen_pictures.add((video.id, pts_us))
                    self._staged.pictures += 1
                if frame.instances and not self._fits(frame.picture, video):
                    continue
                for instance in frame.instances:
                    row = self._row(instance, video, pts_us, frame.picture)
                    if row is not None:
                        pickle.dump(row, rows, protocol=5)
                        self._staged.annotations += 1
                        self._staged.by_label[instance.label] = self._staged.by_label.get(instance.label, 0) + 1
                for label, word in frame.verdicts.items():
                    self._say(words, video, pts_us, label, word)
        self._staged.new_labels = self._wanted.new

    def _fits(self, picture: Picture, video: VideoFacts) -> bool:
        """Fractions of a picture that was cut or padded are none of its video."""
        if not picture.width or not picture.height or not video.width or not video.height:
            return True
        if abs(picture.width * video.height / (picture.height * video.width) - 1) <= _ASPECT:
            return True
        self._report.say(
            "wrong-size",
            f"the picture is said to have {picture.width} x {picture.height} pixels, and its video {video.name!r} has "
            f"{video.width} x {video.height}, which is another shape: what is in it was left out",
            self._asked.format,
            picture.file or f"{picture.video}, frame {picture.index}",
        )
        return False

    def _row(self, one: Instance, video: VideoFacts, pts_us: int, picture: Picture) -> Arriving | None:
        label_id = self._wanted.of(one.label)
        where = picture.file or f"{picture.video}, frame {picture.index}"
        if label_id is None:
            return None
        if not one.keyframe and self._asked.format == "cvat-video":
            self._report.once(
                "interpolated",
                "shapes that CVAT has interpolated were left out: Argus interpolates between keyframes itself",
            )
            return None
        track_id = self._track(one, video, label_id, pts_us, where)
        if one.track is not None and track_id is None:
            return None
        shape = self._shape(one, video, where)
        if shape is None:
            return None
        if one.crowd:
            self._report.once("crowds", "groups are kept as one object each, marked by the attribute `crowd`")
        x, y, w, h = one.box or (None, None, None, None)
        kind = shape.pop("kind")
        identity = f"{video.id}/{pts_us}/{label_id}/{track_id}/{kind}/{one.box}/{shape}/{self._staged.annotations if one.track is None else ''}"
        return Arriving(
            video.id, pts_us, label_id, x, y, w, h, **shape, kind=kind, score=_score(one.score), track_id=track_id,
            id=uuid5(self._file, identity), outside=one.outside and track_id is not None, occluded=one.occluded,
            attributes=self._attributes(one, label_id, "annotation" if track_id is None else "keyframe", where)
            | ({"crowd": True} if one.crowd else {}),
            source="import", state=self._asked.state, author=self._started.asked_by,
        )  # fmt: skip

    def _track(self, one: Instance, video: VideoFacts, label_id: UUID, pts_us: int, where: str) -> UUID | None:
        """The track's id, made at its first keyframe; None where it belongs to none, or has one at that time."""
        if one.track is None:
            return None
        track_id = uuid5(self._file, f"{video.id}/{label_id}/{one.track}")
        times = self._times.setdefault(track_id, set())
        if pts_us in times:
            self._report.say(
                "two-at-once",
                f"track {one.track} has two shapes at {pts_us} us: the second one was left out",
                self._asked.format,
                where,
            )
            return None
        times.add(pts_us)
        if track_id not in self._staged.tracks:
            given = self._attributes(one, label_id, "track", where)
            self._staged.tracks[track_id] = {
                "id": str(track_id),
                "video_id": str(video.id),
                "label_id": label_id,
                "attributes": given,
            }
        return track_id

    def _attributes(self, one: Instance, label_id: UUID, place: attributes.Place, where: str) -> dict[str, Any]:
        """Those that belong in that place; what the label does not have, or not so, is a line."""
        declared = self._wanted.attributes(label_id)
        known = {attribute.name: attribute for attribute in declared}
        kept: dict[str, Any] = {}
        for name, value in one.attributes.items():
            if name == "crowd":
                continue
            belongs = place == "annotation" or name not in known or known[name].per_frame == (place == "keyframe")
            if not belongs:
                continue
            try:
                kept |= attributes.check({name: value}, declared, place)
            except InvalidRequest as error:
                if place != "track":
                    self._report.say(
                        f"attribute-refused-{name[:60]}", f"{error.detail}: it was left out", self._asked.format, where
                    )
        return kept

    def _shape(self, one: Instance, video: VideoFacts, where: str) -> dict[str, Any] | None:
        """The columns of a shape but its box."""
        if one.kind is Kind.POLYGON and one.polygon is not None:
            try:
                polygons.check(one.polygon)
            except InvalidRequest as error:
                return self._as_mask(one, video, error.detail, where)
            return {
                "kind": str(one.kind),
                "polygon": [[[list(point) for point in ring] for ring in part] for part in one.polygon],
            }
        if one.kind is Kind.MASK and one.mask is not None:
            if not video.height or not video.width:
                self._report.say(
                    "no-size",
                    f"the size of the video {video.name!r} is not known yet: the mask was left out",
                    self._asked.format,
                    where,
                )
                return None
            mask = rle.resize(one.mask, (video.height, video.width))
            return {"kind": str(one.kind), "counts": mask.counts, "area_px": rle.area(mask)}
        if one.kind is Kind.POINTS and one.points is not None:
            return {"kind": str(one.kind), "points": [list(point) for point in one.points]}
        return {"kind": str(one.kind)}

    def _as_mask(self, one: Instance, video: VideoFacts, why: str, where: str) -> dict[str, Any] | None:
        """The pixels of what is no polygon here, as of one that crosses itself."""
        assert one.polygon is not None
        mask = polygons.to_rle(one.polygon, (video.height, video.width)) if video.height and video.width else None
        if mask is None or not rle.area(mask):
            self._report.say("wrong-polygon", f"{why}: it was left out", self._asked.format, where)
            return None
        self._report.say("polygon-as-mask", f"{why}: its pixels are kept as a mask", self._asked.format, where)
        return {"kind": str(Kind.MASK), "counts": mask.counts, "area_px": rle.area(mask)}

    def _say(self, words: Any, video: VideoFacts, pts_us: int, label: str, word: str) -> None:
        label_id = self._wanted.of(label)
        if word not in set(Word):
            self._report.say("unknown-verdict", f"{word[:60]!r} is no verdict: it was left out", self._asked.format)
        elif label_id is not None:
            pickle.dump(
                {"video_id": str(video.id), "pts_us": pts_us, "label_id": label_id, "verdict": word}, words, protocol=5
            )
            self._staged.verdicts += 1


def _score(score: float | None) -> float | None:
    return None if score is None else min(max(score, 0.0), 1.0)


def _pickled(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        while True:
            try:
                yield pickle.load(file)  # noqa: S301  # our own bytes
            except EOFError:
                return


def _write(tx: Tx, started: Started, asked: Import, staged: Staged) -> dict[str, Any]:
    """All of it, in the transaction that ends the job; what the job says of it."""
    summary = staged.summary()
    if asked.dry_run:
        return {"dry_run": True, **summary}
    project_id = started.project_id
    now = {made: tx.one(labels.insert(project_id, label)).id for made, label in staged.new_labels.items()}
    used = {track["label_id"] for track in staged.tracks.values()} | {
        row.label_id for row in _pickled(staged.annotations_file)
    }
    for label in tx.all(labels.in_use(project_id, sorted(used - now.keys()))):
        now[label.id] = label.merged_into or label.id
    tracks = [{**track, "label_id": str(now[track["label_id"]])} for track in staged.tracks.values()]
    for first in range(0, len(tracks), _TRACKS_AT_ONCE):
        tx.run(
            importing.insert_tracks(
                project_id, started.job_id, asked.state, started.asked_by, tracks[first : first + _TRACKS_AT_ONCE]
            )
        )
    arriving.copy(tx, (replace(row, label_id=now[row.label_id]) for row in _pickled(staged.annotations_file)))
    new = tx.run(arriving.insert(project_id, None, started.job_id))
    words: list[dict[str, Any]] = []
    for word in _pickled(staged.verdicts_file):
        words.append({**word, "label_id": str(now.get(word["label_id"], word["label_id"]))})
        if len(words) == _TRACKS_AT_ONCE:
            tx.run(importing.insert_verdicts(project_id, started.asked_by, words))
            words = []
    if words:
        tx.run(importing.insert_verdicts(project_id, started.asked_by, words))
    return {"dry_run": False, "new_annotations": new, "there_already": staged.annotations - new, **summary}
