"""From upload to export and into another project, as a team goes: what holds at every step (tests/flow.py goes the way)."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from argus_ray import rle
from argus_ray.datasets.verifying import verify
from argus_ray.schemas.annotation import AnnotationFilter, Reviewed, Source, State
from argus_ray.schemas.dataset import DatasetVersion
from argus_ray.video.work import Stored
from tests.flow import FORMATS, KEPT_FPS, LEAST_SCORE, SECONDS, SIZE, Flow, flow, found_in_frames, mask_of
from tests.forbidden import everything_asked, said, what_is_not_hers
from tests.formats import in_readers

KEPT = SECONDS * KEPT_FPS
F1_FLOOR, IOU_FLOOR = 0.6, 0.5


@pytest.fixture(scope="module")
def gone(postgres, s3, ray_cluster, tmp_path_factory) -> Iterator[Flow]:
    with flow(postgres, s3, tmp_path_factory.mktemp("flow")) as gone:
        yield gone


# -- proposals -------------------------------------------------------------------------------------


def test_what_is_proposed_agrees_with_what_was_drawn(gone) -> None:
    agreement = found_in_frames(gone, gone.seen["first"])

    assert agreement.f1 >= F1_FLOOR, agreement
    assert {(one.source, one.state, one.method) for one in gone.seen["first"]} == {("model", "proposed", "sam3")}
    assert all(mask_of(one).size == SIZE[::-1] for one in gone.seen["first"])


def test_what_is_not_there_was_asked_and_not_found(gone) -> None:
    false, asked = gone.labels[-1], len(gone.labels)
    answers = [a for v in gone.videos for f in gone.frames[v.id] for a in gone.ana.verdicts.of_frame(f.id).answers]

    assert len(answers) == asked * KEPT * len(gone.videos)
    assert {one.presence is not None for one in answers} == {True}
    absent = [one.found for one in answers if one.label_id == false.id]
    assert absent.count(0) >= 0.9 * len(absent)


def test_a_job_says_what_it_takes_once_there_is_something_to_go_by(gone) -> None:
    first, again = gone.estimates

    assert (first.frames, first.gpu_seconds, again.frames) == (KEPT * len(gone.videos), None, first.frames)
    assert again.gpu_seconds
    assert gone.jobs["again"].estimate == again


def test_the_same_model_again_replaces_only_what_nobody_has_touched(gone) -> None:
    first, again = ({one.id: one for one in gone.seen[name]} for name in ("first", "again"))
    touched = {one.id: one for one in gone.corrected.values() if one.track_id is None}

    assert {one_id: again[one_id] for one_id in touched} == touched
    assert again.keys() == first.keys() | touched.keys(), "what was redrawn or refused is not proposed a second time"
    assert {again[one].job_id for one in again.keys() - touched.keys()} == {gone.jobs["again"].id}
    made, redrawn = gone.corrected["made"], gone.corrected["redrawn"]
    assert (made.source, made.state, redrawn.source, redrawn.state) == ("human", "accepted", "human", "accepted")
    assert redrawn.model_id is not None


# -- tracks ----------------------------------------------------------------------------------------


def test_a_thing_is_one_track_through_its_video(gone) -> None:
    tracked, keyframes = gone.tracks["tracked"], gone.keyframes["tracked"]

    assert tracked.keyframes == len(keyframes) >= 0.8 * KEPT
    assert tracked.method in {"sam3-video", "track-by-detection"}
    assert np.mean([overlap(gone, one) for one in keyframes if not one.outside]) >= IOU_FLOOR


def overlap(gone: Flow, one: Any) -> float:
    return float(rle.iou([gone.drawn(one)], [mask_of(one)])[0, 0])


def test_a_corrected_keyframe_stays_and_what_is_around_it_is_followed_anew(gone) -> None:
    corrected, after = gone.corrected["keyframe"], {one.pts_us: one for one in gone.keyframes["retracked"]}

    assert after.pop(corrected.pts_us) == corrected
    assert {one.job_id for one in after.values()} == {gone.jobs["retrack"].id}
    assert np.mean([overlap(gone, one) for one in after.values() if not one.outside]) >= IOU_FLOOR


# -- what people say -------------------------------------------------------------------------------


def test_a_filter_accepts_what_it_lets_through_and_nothing_else(gone) -> None:
    states = {one.id: one for one in gone.seen["accepted"]}
    refused, made = gone.corrected["refused"], gone.corrected["made"]

    assert states[refused.id] == refused
    assert states[made.id] == made
    for one in gone.seen["accepted"]:
        assert (one.state is State.PROPOSED) == (
            one.source is Source.MODEL and (one.score or 0) < LEAST_SCORE
        ) or one.id == refused.id
    before = Counter(one.state for one in gone.seen["retrack"])
    after = Counter(one.state for one in gone.seen["accepted"])
    changed = sum(one.annotations for one in gone.accepted)
    assert (after["accepted"] - before["accepted"], before["proposed"] - after["proposed"]) == (changed, changed)
    assert gone.verdicts == KEPT * len(gone.videos)


# -- datasets and exports --------------------------------------------------------------------------


def accepted(gone: Flow) -> list[Any]:
    return [one for one in gone.seen["accepted"] if one.state is State.ACCEPTED and not one.outside]


def test_a_version_has_what_was_accepted(gone) -> None:
    assert gone.version is not None

    assert gone.version.counts["annotations"] == len(accepted(gone))
    assert gone.version.counts["frames"] == KEPT * len(gone.videos), "on every frame somebody has said something"
    listed = [*gone.ben.datasets.versions(gone.version.dataset_id)]
    assert listed == [gone.version]


def test_every_export_has_as_many_frames_and_annotations_as_the_version(gone) -> None:
    for name in FORMATS:
        result = gone.jobs[name].result or {}
        assert (result["frames"], result["annotations"]) == (KEPT * len(gone.videos), len(accepted(gone))), name


def test_the_sizes_that_a_file_states_are_those_of_its_pictures(gone) -> None:
    for name in FORMATS:
        with zipfile.ZipFile(gone.archives[name]) as archive:
            rows = pq.read_table(io.BytesIO(archive.read("frames.parquet"))).to_pylist()
            for row in rows:
                with Image.open(io.BytesIO(archive.read(row["file"]))) as picture:
                    assert picture.size == (row["width"], row["height"]) == SIZE
    with zipfile.ZipFile(gone.archives["mot"]) as archive:
        for member in (one for one in archive.namelist() if one.endswith("seqinfo.ini")):
            assert f"imWidth={SIZE[0]}\nimHeight={SIZE[1]}" in archive.read(member).decode()
    for document in documents(gone, "coco"):
        assert {(one["width"], one["height"]) for one in document["images"]} == {SIZE}
    for document in documents(gone, "coco-video"):
        assert {(one["width"], one["height"], one["length"]) for one in document["videos"]} == {(*SIZE, KEPT)}


def documents(gone: Flow, name: str) -> list[dict[str, Any]]:
    with zipfile.ZipFile(gone.archives[name]) as archive:
        return [json.loads(archive.read(one)) for one in archive.namelist() if one.endswith(".json") and "/" in one]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools and NumPy 2
def test_pycocotools_finds_every_mask_as_it_was_accepted(gone, tmp_path) -> None:
    from pycocotools.coco import COCO

    areas: Counter[int] = Counter()
    for number, document in enumerate(documents(gone, "coco")):
        (tmp_path / f"{number}.json").write_text(json.dumps(document))
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO(str(tmp_path / f"{number}.json"))
        areas += Counter(int(coco.annToMask(one).sum()) for one in coco.anns.values() if one["segmentation"])
    assert areas == Counter(one.area_px for one in accepted(gone) if one.mask)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools and NumPy 2
def test_pycocotools_reads_the_masklets_of_the_tracks(gone) -> None:
    from pycocotools import mask as codec

    masks = [one for d in documents(gone, "coco-video") for a in d["annotations"] for one in a["segmentations"] if one]
    decoded = codec.decode([{"size": one["size"], "counts": one["counts"].encode()} for one in masks])

    followed = Counter(one.area_px for one in accepted(gone) if one.track_id and one.mask)
    assert Counter(decoded.sum((0, 1)).tolist()) >= followed


DATUMARO = """
import json, sys, warnings
warnings.simplefilter("ignore")
from datumaro.components.dataset import Dataset
counts = {}
for path, name in zip(sys.argv[1::2], sys.argv[2::2]):
    dataset = Dataset.import_from(path, name)
    counts[name] = [len(list(dataset)), sum(one.type.name == "bbox" for item in dataset for one in item.annotations)]
print(json.dumps(counts))
"""


@pytest.mark.skipif(not Path(sys.prefix, "readers").exists(), reason="`make setup` installs the readers")
def test_datumaro_reads_as_many_objects(gone, tmp_path) -> None:
    folders = {name: tmp_path / name for name in ("coco", "yolo-detect")}
    for name, folder in folders.items():
        with zipfile.ZipFile(gone.archives[name]) as archive:
            archive.extractall(folder)

    seen = json.loads(in_readers(DATUMARO, folders["coco"], "coco", folders["yolo-detect"], "yolo").splitlines()[-1])

    assert seen["coco"] == seen["yolo"] == [KEPT * len(gone.videos), len(accepted(gone))]


def test_cvat_and_mot_have_a_line_for_every_place_of_a_track(gone) -> None:
    followed = sum(1 for one in accepted(gone) if one.track_id)
    with zipfile.ZipFile(gone.archives["mot"]) as archive:
        lines = [line for one in archive.namelist() if one.endswith("gt.txt") for line in archive.read(one).split()]
    with zipfile.ZipFile(gone.archives["cvat-video"]) as archive:
        trees = [ET.fromstring(archive.read(one)) for one in archive.namelist() if one.endswith(".xml")]

    assert len(lines) >= followed
    shown = [shape for tree in trees for shape in tree.iterfind("track/*") if shape.get("outside") != "1"]
    assert len(shown) == len(accepted(gone))


def test_every_picture_of_an_export_is_what_its_original_shows(gone, tmp_path) -> None:
    def original_of(video_id: Any) -> Stored:
        video = gone.vic.videos.get(video_id)
        return Stored(gone.vic.videos.media(video_id).url, video.name, video.size_bytes or 0, tmp_path)

    words = [one.word for one in verify(gone.archives["coco"], gone.place.settings, original_of, tmp_path)]

    assert Counter(words) == {"same": KEPT * len(gone.videos)}


# -- elsewhere -------------------------------------------------------------------------------------


def test_a_look_at_an_import_changes_nothing_and_says_what_the_import_then_does(gone) -> None:
    looked, written = (gone.imports[name].result or {} for name in ("looked at", "written"))

    assert gone.seen["looked at"] == []
    same = ("annotations", "tracks", "verdicts", "pictures", "labels")
    assert [looked[name] for name in same] == [written[name] for name in same]
    assert written["report"]["counts"] == {}
    assert written["new_annotations"] == written["annotations"] == len(gone.seen["written"])


def test_what_was_exported_and_imported_is_the_same_version(gone) -> None:
    def content(annotations: list[Any], names: dict[Any, str], videos: dict[Any, str]) -> Counter[tuple[Any, ...]]:
        return Counter(
            (videos[one.video_id], one.pts_us, names[one.label_id], one.mask and one.mask.counts, one.box and round(one.box.x, 6))
            for one in annotations if not one.outside
        )  # fmt: skip

    here = {one.id: one.name for one in gone.labels}, {one.id: one.name for one in gone.videos}
    there = (
        {one.id: one.name for one in client}
        for client in (gone.zoe.labels.list(gone.other), gone.zoe.videos.list(gone.other))
    )
    assert content(accepted(gone), *here) == content(gone.seen["written"], *there)
    assert counted(gone.version) == counted(gone.other_version)


def counted(version: DatasetVersion | None) -> dict[str, Any]:
    assert version is not None
    return {name: version.counts[name] for name in ("frames", "annotations")}


# -- who may do what -------------------------------------------------------------------------------


def test_a_member_of_another_project_sees_none_of_it(gone) -> None:
    answers = said(gone, "zoe", everything_asked(gone))

    assert [(one, status) for one, status in answers if status != 404] == []


def test_a_viewer_reads_everything_and_changes_nothing(gone) -> None:
    before = gone.annotations()
    answers = said(gone, "vic", everything_asked(gone))

    assert [(one, status) for one, status in answers if status != (200 if one.method == "GET" else 403)] == []
    assert gone.annotations() == before


def test_an_annotator_neither_changes_the_ontology_nor_asks_for_work(gone) -> None:
    asked = [one for one in everything_asked(gone) if one.method != "GET" and not one.annotates]

    assert [(one, status) for one, status in said(gone, "ben", asked) if status != 403] == []


def test_what_another_project_has_made_is_of_no_use_in_ones_own(gone) -> None:
    before = gone.annotations()
    answers = said(gone, "zoe", what_is_not_hers(gone))

    assert [(one, status) for one, status in answers if status not in {404, 422}] == []
    theirs = AnnotationFilter(video_ids=[gone.videos[0].id], state=[State.ACCEPTED])
    assert gone.zoe.annotations.reject(gone.other, theirs, "wrong") == Reviewed(annotations=0, tracks=0)
    assert gone.annotations() == before
