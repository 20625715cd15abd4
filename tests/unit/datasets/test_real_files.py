"""Annotation files of other tools, against what their manifest says a right reader finds. Set ARGUS_TEST_ANNOTATIONS."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from argus_ray import rle
from argus_ray.annotations import polygons
from argus_ray.errors import AnnotationsUnreadable
from argus_ray.schemas.annotation import Kind
from tests.formats import instances, read

FOLDER = Path(os.environ.get("ARGUS_TEST_ANNOTATIONS", ""))
pytestmark = pytest.mark.skipif(not (FOLDER / "manifest.json").is_file(), reason="ARGUS_TEST_ANNOTATIONS is not set")


def expected(file: str) -> dict:
    manifest = json.loads((FOLDER / "manifest.json").read_text())
    return next(one["expected"] for one in manifest["files"] if one["file"] == file)


@pytest.mark.parametrize("name", ["val2014_100_instances", "crowd_rle_attributes"])
def test_coco_instances(name) -> None:
    wanted = expected(f"coco/{name}.json")

    frames, report = read("coco", FOLDER / f"coco/{name}.json")

    found = instances(frames)
    assert len({frame.picture.file for frame in frames}) == wanted["images"]
    assert len(found) == wanted["annotations"]
    assert sum(one.crowd for one in found) == wanted["crowd"]
    assert sum(len(one.polygon) > 1 for one in found if one.polygon) == wanted["multi_part_polygons"]
    assert sum(one.kind is Kind.MASK for one in found) == wanted["rle_uncompressed"]
    for label, number in wanted["annotations_per_category_top"].items():
        assert sum(one.label == label for one in found) == number
    sizes = {frame.picture.file: (frame.picture.height, frame.picture.width) for frame in frames}
    area = sum(
        rle.area(one.mask or polygons.to_rle(one.polygon, sizes[frame.picture.file]))
        for frame in frames
        for one in frame.instances
    )
    # pycocotools takes more pixels along an edge than those whose middle is inside
    assert area == pytest.approx(wanted["mask_area_sum_px"], rel=0.02, abs=3)
    assert not report.counts


def test_coco_results_beside_their_instances(tmp_path) -> None:
    wanted = expected("coco/val2014_100_segm_results.json")
    for name in ("val2014_100_instances.json", "val2014_100_segm_results.json"):
        (tmp_path / name).symlink_to(FOLDER / "coco" / name)
    (tmp_path / "folder").mkdir()
    for name in ("val2014_100_instances.json", "val2014_100_segm_results.json"):
        (tmp_path / "folder" / name).write_bytes((FOLDER / "coco" / name).read_bytes())

    frames, _ = read("coco", tmp_path / "folder")

    scored = [one for one in instances(frames) if one.score is not None]
    assert len(scored) == wanted["results"]
    assert sum(rle.area(one.mask) for one in scored) == wanted["mask_area_sum_px"]
    assert (min(one.score for one in scored), max(one.score for one in scored)) == (
        wanted["score_min"],
        wanted["score_max"],
    )


def test_coco_results_alone_are_refused_in_words() -> None:
    with pytest.raises(AnnotationsUnreadable, match="put the instances file beside it"):
        read("coco", FOLDER / "coco/val2014_100_segm_results.json")


def test_coco_keypoints_are_reported_and_their_boxes_kept() -> None:
    wanted = expected("coco/keypoints.json")

    frames, report = read("coco", FOLDER / "coco/keypoints.json")

    assert Counter(one.kind for one in instances(frames)) == {Kind.BOX: wanted["annotations"]}
    assert report.counts["keypoints-lost"] >= wanted["with_keypoints"]


def test_a_panoptic_file_is_refused_in_words() -> None:
    with pytest.raises(AnnotationsUnreadable, match="panoptic"):
        read("coco", FOLDER / "coco/panoptic.json")


def test_cvat_tracks() -> None:
    wanted = expected("cvat/video_tracks.xml")

    frames, report = read("cvat-video", FOLDER / "cvat/video_tracks.xml", size=None)

    boxes = [(frame.picture.index, one) for frame in frames for one in frame.instances if one.kind is Kind.BOX]
    assert [index for index, _ in boxes] == wanted["tracks"][0]["frames"]
    assert [one.outside for _, one in boxes] == [False, True, True]
    width, height = wanted["original_size"]
    area = sum(one.box[2] * width * one.box[3] * height for _, one in boxes if one.box)
    # the last one, outside, reaches below the picture and was cut off there
    assert area == pytest.approx(wanted["box_area_sum_px"])
    (points,) = [one for one in instances(frames) if one.kind is Kind.POINTS]
    assert (points.label, points.attributes, points.track) == ("klhg", {"hgl": "hgkf"}, None)
    assert report.counts["polyline-lost"] == report.counts["skeleton-lost"] == 1
    assert all(line.file and line.place for line in report.lines)


def test_cvat_pictures() -> None:
    wanted = expected("cvat/images.xml")

    frames, report = read("cvat-images", FOLDER / "cvat/images.xml")

    for frame, one in zip(frames, wanted["images"], strict=True):
        assert (frame.picture.file, [frame.picture.width, frame.picture.height]) == (one["name"], one["size"])
        readable = {kind: number for kind, number in one["shapes"].items() if kind in {"box", "polygon", "points"}}
        assert Counter(str(instance.kind) for instance in frame.instances) == readable
    assert report.counts["skeleton-lost"] == 2
    assert report.counts["polyline-lost"] == 1


@pytest.mark.parametrize("name", ["tud_campus_gt", "tiny_gt"])
def test_mot(name, tmp_path) -> None:
    wanted = expected(f"mot/{name}.txt")
    (tmp_path / "gt").mkdir()
    (tmp_path / "gt/gt.txt").write_bytes((FOLDER / f"mot/{name}.txt").read_bytes())
    if name == "tiny_gt":
        (tmp_path / "gt/labels.txt").write_bytes((FOLDER / "mot/tiny_labels.txt").read_bytes())

    frames, _ = read("mot", tmp_path, size=(640, 480))

    found = instances(frames)
    assert len(found) == wanted["rows"]
    assert min(frame.picture.index for frame in frames) == wanted["first_frame"] - 1
    assert max(frame.picture.index for frame in frames) == wanted["last_frame"] - 1
    if name == "tud_campus_gt":
        assert len({one.track for one in found}) == wanted["ids"]
        assert {one.label for one in found} == {"object"}
    else:
        assert [(one.label, one.track) for one in found] == [("label_2", None)]


@pytest.mark.parametrize(
    ("folder", "picture"), [("yolo_darknet", "obj_train_data/1"), ("yolo_segmentation", "labels/train/1")]
)
def test_yolo(folder, picture) -> None:
    wanted = expected(f"{folder}/{picture}.txt")

    frames, report = read("yolo-segment" if "seg" in folder else "yolo-detect", FOLDER / folder)

    (frame,) = frames
    assert [frame.picture.width, frame.picture.height] == wanted["image_size"]
    assert [int(one.label.removeprefix("label_")) for one in frame.instances] == wanted["classes"]
    width, height = wanted["image_size"]
    if "seg" in folder:
        got = [[v for x, y in one.polygon[0][0] for v in (x * width, y * height)] for one in frame.instances]
        for ours, theirs in zip(got, wanted["polygons_px"], strict=True):
            assert ours == pytest.approx(theirs, abs=1e-3)
    else:
        for one, theirs in zip(frame.instances, wanted["boxes_xywh_px"], strict=True):
            x, y, w, h = one.box
            assert [x * width, y * height, w * width, h * height] == pytest.approx(theirs, abs=1e-3)
    assert not report.counts


def test_sav() -> None:
    wanted = expected("sav/sav_000001_manual.json")

    frames, report = read("sav", FOLDER / "sav/sav_000001_manual.json")

    assert len(frames) == wanted["annotated_frames"]
    assert {frame.picture.video for frame in frames} == {wanted["video_id"]}
    assert frames[-1].picture.index <= wanted["frame_count"]
    found = instances(frames)
    assert len(found) == wanted["rle_nonempty"]
    areas = Counter()
    for one in found:
        areas[one.track - 1] += rle.area(one.mask)
    assert [areas[number] for number in wanted["masklet_ids"]] == wanted["mask_area_per_masklet_px"]
    assert not report.counts
