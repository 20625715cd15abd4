"""Out and in again is the same, as far as the report of losses says; and what bad files get."""

from __future__ import annotations

import json
import stat
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from argus_ray import rle
from argus_ray.annotations import polygons
from argus_ray.datasets import losses, pixels
from argus_ray.datasets.archives import Source
from argus_ray.datasets.records import Frame, Instance
from argus_ray.errors import AnnotationsUnreadable
from argus_ray.schemas.annotation import Kind
from argus_ray.schemas.dataset import Format
from tests.formats import HEIGHT, WIDTH, box, contents, instances, mask, picture, polygon, read, written

LABELS = ("car", 'a "dog" & <cat>', "=HYPERLINK(1)")
TRIANGLE = [(0.1, 0.1), (0.6, 0.2), (0.3, 0.7)]
HOLE = [(0.2, 0.2), (0.3, 0.3), (0.28, 0.4)]

grid = st.integers(0, 60).map(lambda n: n / 64)
boxes = st.tuples(grid, grid, st.integers(1, 64), st.integers(1, 64)).map(
    lambda at: (at[0], at[1], min(at[2] / 64, 1 - at[0]), min(at[3] / 64, 1 - at[1]))
)
extras = st.fixed_dictionaries(
    {},
    optional={
        "occluded": st.booleans(),
        "score": st.sampled_from([0.25, 0.5]),
        "state": st.just("accepted"),
        "source": st.sampled_from(["human", "model"]),
        "attributes": st.just({"colour": "red"}),
    },
)
shapes = st.one_of(
    st.builds(box, st.sampled_from(LABELS), boxes),
    st.builds(
        lambda label, left, top: mask(label, left=left, top=top),
        st.sampled_from(LABELS),
        st.integers(0, 40),
        st.integers(0, 30),
    ),
    st.builds(lambda label: polygon(label, [TRIANGLE]), st.sampled_from(LABELS)),
    st.builds(
        lambda label: polygon(label, [TRIANGLE, HOLE], [[(0.8, 0.8), (0.9, 0.8), (0.9, 0.9)]]), st.sampled_from(LABELS)
    ),
)


@st.composite
def datasets(draw) -> list[Frame]:
    """Two videos of a few frames; in each at most one object of a track, and of one label all along."""
    frames = []
    for video, split in (("a", "train"), ("b", "val")):
        labels = {track: draw(st.sampled_from(LABELS)) for track in (1, 2)}
        for index in range(draw(st.integers(1, 4))):
            found = [replace(one, **draw(extras)) for one in draw(st.lists(shapes, max_size=3))]
            tracks = draw(st.permutations([1, 2, None]))
            found = [
                replace(one, track=t, label=labels.get(t, one.label)) for one, t in zip(found, tracks, strict=False)
            ]
            frames.append(Frame(picture(video, index, split=split), tuple(found)))
    return frames


def kept(format_: str, frame: Frame, one: Instance) -> tuple:
    """What must come back of an instance, by the table of losses."""
    fields = losses.FIELDS[format_]
    says = tuple(
        (name, dict(value) if name == "attributes" else value)
        for name in ("track", "occluded", "crowd", "attributes", "score", "state", "source")
        if name in fields and not (name == "attributes" and format_ == "cvat-video")
        for value in [getattr(one, name)]
    )
    return (frame.picture.video, frame.picture.index, one.label, nearest(format_, one), *says)


def nearest(format_: str, one: Instance) -> object:
    """The shape as the format has it, to half a pixel."""
    held = losses.SHAPES[format_]
    is_plain = one.polygon is not None and len(one.polygon) == len(one.polygon[0]) == 1
    if one.kind is Kind.POLYGON and Kind.POLYGON in held and (format_ == "parquet" or is_plain):
        return tuple(rounded(point) for part in one.polygon for ring in part for point in ring)
    if one.kind is not Kind.BOX and Kind.MASK in held:
        return (one.mask or polygons.to_rle(one.polygon, (HEIGHT, WIDTH))).counts
    if one.kind is Kind.BOX and format_ == "coco-video":
        return pixels.boxed(one.box, picture("a", 0)).counts
    return rounded(one.box)


def rounded(values) -> tuple:
    return tuple(round(value * 2048) for value in values)


def where(frame: Frame) -> tuple[str, int]:
    """Video and place of a picture that came back, by its file where nothing else tells."""
    if frame.picture.video and frame.picture.index is not None:
        return frame.picture.video, frame.picture.index
    video, name = frame.picture.file.removesuffix(".jpg").replace("_", "/").split("/")[-2:]
    return video, int(name) // 40_000


@pytest.mark.parametrize("format_", [one for one in get_args(Format) if one != "yolo-segment"])
@given(frames=datasets())
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_out_and_in_again_is_the_same_up_to_what_the_report_says(format_, frames, tmp_path) -> None:
    path, report = written(format_, contents(frames, *LABELS), tmp_path)
    back, problems = read(format_, path)

    made_tracks = "tracks-made" in report.counts
    got = [
        kept(format_, replace(frame, picture=replace(frame.picture, video=where(frame)[0], index=where(frame)[1])), one)
        for frame in back
        for one in frame.instances
        if not one.outside
    ]
    sent = [kept(format_, frame, one) for frame in frames for one in frame.instances if _survives(format_, one)]
    if made_tracks or format_ in {
        "cvat-video",
        "coco-video",
    }:  # what belonged to no track has one now, or was alone in one
        got, sent = (
            [tuple(x for x in one if not (isinstance(x, tuple) and x[:1] == ("track",))) for one in side]
            for side in (got, sent)
        )
    assert sorted(map(repr, got)) == sorted(map(repr, sent))
    assert not problems.counts
    for name in ("score", "state", "source"):
        if name not in losses.FIELDS[format_] and any(getattr(one, name) is not None for one in instances(frames)):
            assert f"{name}-lost" in report.counts


def _survives(format_: str, one: Instance) -> bool:
    return format_ != "coco-video" or bool(rle.area(_runs(one)))


def _runs(one: Instance) -> rle.Rle:
    return pixels.outline(one, picture("a", 0)) or pixels.boxed(one.box, picture("a", 0))


def test_a_mask_goes_through_yolo_as_one_polygon_that_covers_its_pixels(tmp_path) -> None:
    sent = mask("car")

    path, report = written("yolo-segment", contents([Frame(picture("a", 0), (sent,))], "car"), tmp_path)
    (back,) = instances(read("yolo-segment", path)[0])

    assert report.counts["mask-as-other"] == report.counts["cut-open"] == 1
    assert rle.iou([polygons.to_rle(back.polygon, (HEIGHT, WIDTH))], [sent.mask])[0, 0] > 0.9


def test_a_picture_without_objects_is_kept(tmp_path) -> None:
    for format_ in get_args(Format):
        frames = [Frame(picture("a", 0), (box("car"),)), Frame(picture("a", 1))]
        path, _ = written(format_, contents(frames, "car"), tmp_path)
        names = Source(path).names
        if format_.startswith("yolo"):
            assert {"labels/train/a_0000000000000.txt", "labels/train/a_0000000040000.txt"} <= set(names)
        elif format_ in {"coco", "coco-video"}:
            assert {where(frame)[1] for frame in read(format_, path)[0]} == {0, 1}


def test_classes_keep_their_numbers_where_others_are_gone(tmp_path) -> None:
    frames = [Frame(picture("a", 0), (box("car"),))]
    what = replace(contents(frames), categories=(replace(contents(frames, "car").categories[0], number=4),))

    yolo, report = written("yolo-detect", what, tmp_path)
    coco, _ = written("coco", what, tmp_path)
    mot, _ = written("mot", replace(what, frames=what.frames), tmp_path)

    assert Source(yolo).read("labels/train/a_0000000000000.txt").startswith(b"3 ")
    assert report.counts["unused-classes"] == 1
    document = json.loads(Source(coco).read("annotations/instances_train.json"))
    assert document["categories"][0]["id"] == document["annotations"][0]["category_id"] == 4
    assert Source(mot).read("train/a/gt/gt.txt").split(b",")[7] == b"4"
    assert Source(mot).read("train/a/gt/labels.txt").splitlines()[3] == b"car"


def test_the_same_dataset_has_the_same_bytes(tmp_path) -> None:
    what = contents([Frame(picture("a", 0), (box("car", track=1), mask("car"))), Frame(picture("a", 1))], "car")

    for format_ in set(get_args(Format)) - {"parquet"}:
        first = written(format_, what, tmp_path)[0].read_bytes()
        assert written(format_, what, tmp_path)[0].read_bytes() == first


def test_cvat_closes_a_track_one_frame_after_it_was_last_seen_and_opens_it_again(tmp_path) -> None:
    seen = {0, 1, 4}
    frames = [Frame(picture("a", n), (box("car", track=7),) if n in seen else ()) for n in range(7)]

    path, _ = written("cvat-video", contents(frames, "car"), tmp_path)

    back = {frame.picture.index: frame.instances[0].outside for frame in read("cvat-video", path)[0]}
    assert back == {0: False, 1: False, 2: True, 4: False, 5: True}


def test_verdicts_are_carried_where_there_is_a_place_and_reported_elsewhere(tmp_path) -> None:
    frames = [Frame(picture("a", n), (box("car", track=1),), {"dog": "exhaustive_absent"}) for n in range(2)]
    what = contents(frames, "car", "dog")

    for format_ in ("parquet", "coco-video"):
        path, report = written(format_, what, tmp_path)
        words = [frame.verdicts for frame in read(format_, path)[0] if frame.verdicts]
        assert words == [{"dog": "exhaustive_absent"}] * 2
        assert "verdicts-lost" not in report.counts or format_ == "coco-video"
    assert written("coco", what, tmp_path)[1].counts["verdicts-lost"] == 2


# -- what bad files get --------------------------------------------------------------------------


def archive(folder: Path, members: dict[str, bytes], *, mode: int | None = None) -> Path:
    path = folder / "bad.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if mode is not None:
                info.external_attr = mode << 16
            out.writestr(info, content)
    return path


@pytest.mark.parametrize("name", ["../out.json", "a/../../out.json", "/etc/passwd", "C:/out.json", "a\\..\\out.json"])
def test_a_member_that_points_outside_of_the_archive_is_refused(name, tmp_path) -> None:
    with pytest.raises(AnnotationsUnreadable, match="points outside"):
        Source(archive(tmp_path, {name: b"{}"}))


def test_a_link_in_an_archive_is_refused(tmp_path) -> None:
    with pytest.raises(AnnotationsUnreadable, match="symbolic link"):
        Source(archive(tmp_path, {"a.json": b"/etc/passwd"}, mode=stat.S_IFLNK | 0o777))


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path) -> None:
    with pytest.raises(AnnotationsUnreadable, match="unpacks to more"):
        Source(archive(tmp_path, {"a.json": bytes(64 * 2**20)}))


def test_entities_in_xml_are_refused_and_read_no_file(tmp_path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hidden")
    (tmp_path / "x").mkdir()
    for number, body in enumerate(
        (
            f'<!DOCTYPE a [<!ENTITY x SYSTEM "file://{secret}">]><annotations><meta>&x;</meta></annotations>',
            '<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><annotations><meta>&b;</meta></annotations>',
        )
    ):
        (tmp_path / "x" / "a.xml").write_text(body)
        with pytest.raises(AnnotationsUnreadable) as refused:
            read("cvat-video", tmp_path / "x")
        assert "hidden" not in str(refused.value), number


def coco_file(folder: Path, **changes) -> Path:
    document = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 64, "height": 48}],
        "categories": [{"id": 1, "name": "car"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}],
        **changes,
    }
    path = folder / "bad.json"
    path.write_text(json.dumps(document))
    return path


def annotation(**changes) -> dict:
    return {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], **changes}


@pytest.mark.parametrize(
    ("code", "wrong"),
    [
        ("duplicate-id", [annotation(), annotation()]),
        ("zero-id", [annotation(id=0), annotation()]),
        ("unknown-category", [annotation(category_id=9), annotation(id=2)]),
        ("unknown-picture", [annotation(image_id=9), annotation(id=2)]),
        ("not-a-polygon", [annotation(segmentation=[[1, 2, 3, 4]]), annotation(id=2)]),
        ("not-a-polygon", [annotation(segmentation=[[1, 2, 3, 4, 5, 6, 7]]), annotation(id=2)]),
        ("too-many-points", [annotation(segmentation=[[1.5] * 30_000]), annotation(id=2)]),
        ("wrong-mask", [annotation(segmentation={"size": [48, 64], "counts": [1, 2, 3]}), annotation(id=2)]),
        ("wrong-mask", [annotation(segmentation={"size": [10, 10], "counts": [100]}), annotation(id=2)]),
        ("wrong-mask", [annotation(segmentation={"size": [48, 64], "counts": "\x7f\x7f"}), annotation(id=2)]),
        ("wrong-mask", [annotation(segmentation={"size": "big", "counts": 3}), annotation(id=2)]),
        ("empty-box", [annotation(bbox=[1, 2, 0, 4]), annotation(id=2)]),
        ("no-shape", [annotation(bbox=None), annotation(id=2)]),
        ("clipped", [annotation(bbox=[60, 40, 30, 30])]),
    ],
)
def test_a_wrong_annotation_is_a_line_with_file_and_place(code, wrong, tmp_path) -> None:
    frames, report = read("coco", coco_file(tmp_path, annotations=wrong))

    assert report.counts[code] == 1
    line = next(line for line in report.lines if line.code == code)
    assert (line.file, line.place[:12]) == ("bad.json", "annotations[")
    assert len(instances(frames)) == (2 if code == "zero-id" else 1)


@pytest.mark.parametrize(
    "wrong",
    [{"images": []}, {"images": [{"id": 1, "file_name": "a.jpg", "width": 0, "height": 5}]}, {"images": [{"id": 1}]}],
)
def test_a_file_without_usable_pictures_is_refused(wrong, tmp_path) -> None:
    with pytest.raises(AnnotationsUnreadable, match="no pictures"):
        read("coco", coco_file(tmp_path, **wrong))


def test_json_that_ends_early_names_the_file_and_where(tmp_path) -> None:
    path = coco_file(tmp_path)
    path.write_text(path.read_text()[:-30])

    with pytest.raises(AnnotationsUnreadable) as refused:
        read("coco", path)

    assert refused.value.facts["file"] == "bad.json"


@pytest.mark.parametrize(
    "row",
    [
        "car 1 2 3 4",
        "0 0.5 0.5",
        "0 nan 0.5 0.5 0.5",
        "0.5 1 1 1 1",
        "9 0.5 0.5 0.5 0.5",
        "0 0.1 0.1 0.2 0.2 0.3 0.3 0.4 7",
    ],
)
def test_a_wrong_row_of_yolo_is_a_line_with_file_and_place(row, tmp_path) -> None:
    (tmp_path / "set" / "labels").mkdir(parents=True)
    (tmp_path / "set" / "data.yaml").write_text("names: [car]")
    (tmp_path / "set" / "labels" / "a.txt").write_text(f"0 0.5 0.5 0.5 0.5\n{row}\n")

    _, report = read("yolo-detect", tmp_path / "set")

    (line,) = report.lines
    assert (line.file, line.place) == ("labels/a.txt", "line 2")


@pytest.mark.parametrize("row", ["1,2,3", "0,1,1,1,5,5", "1,0,1,1,5,5,1,-1,1", "1,1,a,1,5,5"])
def test_a_wrong_row_of_mot_is_a_line_with_file_and_place(row, tmp_path) -> None:
    (tmp_path / "gt").mkdir()
    (tmp_path / "gt/gt.txt").write_text(f"1,1,1,1,5,5,1,-1,1\n{row}\n")

    _, report = read("mot", tmp_path)

    assert [(line.file, line.place) for line in report.lines] == [("gt/gt.txt", "line 2")]


def test_two_boxes_of_one_track_at_one_frame_are_reported(tmp_path) -> None:
    (tmp_path / "gt").mkdir()
    (tmp_path / "gt/gt.txt").write_text("1,1,1,1,5,5,1,-1,1\n1,1,2,2,5,5,1,-1,1\n")

    frames, report = read("mot", tmp_path)

    assert report.counts == {"duplicate-id": 1}
    assert len(instances(frames)) == 1
