"""What we write is read, and found right, by well-kept libraries: pycocotools here, Datumaro and TrackEval in a Python of
their own, since they hold other versions of Pillow and Arrow than Argus does.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from argus_ray.annotations import polygons
from argus_ray.datasets import formats
from argus_ray.datasets.archives import ZipWriter
from argus_ray.datasets.records import Frame
from argus_ray.datasets.report import Report
from tests.formats import HEIGHT, WIDTH, box, contents, in_readers, mask, picture, polygon, written

with_readers = pytest.mark.skipif(
    not (Path(sys.prefix) / "readers" / "bin" / "python").exists(), reason="`make setup` installs the readers"
)

FRAMES = [
    Frame(picture("a", 0), (box("car", (0, 0, 0.25, 0.5), track=1), mask("dog", track=2))),
    Frame(picture("a", 1), (box("car", (0.25, 0, 0.25, 0.5), track=1, occluded=True), polygon("dog", [[(0.1, 0.1), (0.5, 0.1), (0.3, 0.8)]]))),
    Frame(picture("a", 2)),
    Frame(picture("a", 3), (box("car", (0.5, 0, 0.25, 0.5), track=1),)),
]  # fmt: skip


def unpacked(format_, folder: Path, frames=FRAMES) -> Path:
    """The dataset in that format, with pictures, in a folder."""
    path = folder / "out.zip"
    with path.open("wb") as file:
        out, what = ZipWriter(file), contents(frames, "car", "dog")
        formats.write(format_, what, out, Report(), folder)
        content = io.BytesIO()
        Image.new("RGB", (WIDTH, HEIGHT)).save(content, "JPEG")
        for frame in frames:
            out.put(formats.PICTURE_PATHS[format_](frame.picture), content.getvalue())
        out.close()
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder / "out")
    return folder / "out"


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_pycocotools_reads_our_coco_and_finds_our_areas(tmp_path) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    path, _ = written("coco", contents(FRAMES, "car", "dog"), tmp_path)
    with zipfile.ZipFile(path) as archive:
        archive.extract("annotations/instances_train.json", tmp_path)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(tmp_path / "annotations/instances_train.json"))
        annotations = coco.loadAnns(coco.getAnnIds())
        shaped = [one for one in annotations if one["segmentation"]]
        results = coco.loadRes(
            [
                {"image_id": one["image_id"], "category_id": one["category_id"], "bbox": one["bbox"], "score": 0.9}
                for one in annotations
            ]
        )
        evaluation = COCOeval(coco, results, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()

    assert len(coco.imgs) == 4
    assert sorted(coco.cats) == [2, 3]
    assert min(coco.anns) == 1
    assert len(shaped) == 2
    runs, drawn = sorted(shaped, key=lambda one: isinstance(one["segmentation"], list))
    assert np.array_equal(coco.annToMask(runs).astype(bool), _mask_of(FRAMES[0].instances[1]))
    assert coco.annToMask(runs).sum() == runs["area"]
    assert coco.annToMask(drawn).sum() == pytest.approx(drawn["area"], rel=0.1)
    assert evaluation.stats[0] == pytest.approx(1)


def _mask_of(instance) -> np.ndarray:
    from pycocotools import mask as codec

    return codec.decode({"size": list(instance.mask.size), "counts": instance.mask.counts.encode()}).astype(bool)


DATUMARO = """
import json, sys, warnings
warnings.simplefilter("ignore")
from datumaro.components.dataset import Dataset
from datumaro.components.annotation import AnnotationType
dataset = Dataset.import_from(sys.argv[1], sys.argv[2])
labels = [one.name for one in dataset.categories()[AnnotationType.label].items]
found = []
for item in dataset:
    for one in item.annotations:
        box = [float(value) for value in one.get_bbox()] if hasattr(one, "get_bbox") else None
        keep = {k: one.attributes.get(k) for k in ("track_id", "occluded", "outside", "keyframe", "is_crowd") if k in one.attributes}
        found.append([str(item.id), one.type.name, labels[one.label], box, keep])
print(json.dumps({"labels": labels, "items": sorted(str(i.id) for i in dataset), "found": found}))
"""


def by_datumaro(folder: Path, format_: str) -> dict:
    return json.loads(in_readers(DATUMARO, folder, format_).splitlines()[-1])


@with_readers
@pytest.mark.parametrize(
    ("format_", "their_name", "folder"),
    [("coco", "coco", "."), ("yolo-detect", "yolo", "."), ("cvat-video", "cvat", "a"), ("mot", "mot_seq", "train/a")],
)
def test_datumaro_reads_our_boxes_where_they_are(format_, their_name, folder, tmp_path) -> None:
    # it reads no masks of CVAT's tracks, which CVAT itself writes
    frames = [Frame(f.picture, tuple(one for one in f.instances if one.mask is None)) for f in FRAMES]
    seen = by_datumaro(unpacked(format_, tmp_path, frames) / folder, their_name)

    cars = sorted(one[3] for one in seen["found"] if one[2] == "car" and not one[4].get("outside"))
    shift = 1 if format_ == "mot" else 0  # it reads the corners of MOT as they are written, from 1
    wanted = [[x * WIDTH + shift, shift, 0.25 * WIDTH, 0.5 * HEIGHT] for x in (0, 0.25, 0.5)]
    for ours, theirs in zip(wanted, cars, strict=True):
        assert theirs == pytest.approx(ours, abs=1e-3)
    if format_ != "cvat-video":  # which lists the frames that have something
        assert len(seen["items"]) == 4
    if format_ in {"cvat-video", "mot"}:
        assert {one[4]["track_id"] for one in seen["found"] if one[2] == "car"} == {1}
        assert [one[4]["occluded"] for one in seen["found"] if one[2] == "car" and not one[4].get("outside")].count(
            True
        ) == 1


@with_readers
def test_datumaro_reads_our_polygons_and_masks(tmp_path) -> None:
    seen = by_datumaro(unpacked("coco", tmp_path), "coco")

    shapes = {one[1]: one for one in seen["found"] if one[2] == "dog"}
    assert shapes.keys() >= {"mask", "polygon"}
    x, y, w, h = FRAMES[0].instances[1].box
    assert shapes["mask"][3] == pytest.approx([x * WIDTH, y * HEIGHT, w * WIDTH - 1, h * HEIGHT - 1], abs=1)
    assert shapes["mask"][4]["is_crowd"] is False


TRACKEVAL = """
import json, sys
import numpy as np
for name, kind in (("float", float), ("int", int), ("bool", bool)):
    np.__dict__.setdefault(name, kind) if name not in dir(np) else None
import trackeval
folder = sys.argv[1]
evaluator = trackeval.Evaluator({"USE_PARALLEL": False, "PRINT_RESULTS": False, "PRINT_CONFIG": False, "OUTPUT_SUMMARY": False,
    "OUTPUT_DETAILED": False, "PLOT_CURVES": False, "TIME_PROGRESS": False, "OUTPUT_EMPTY_CLASSES": False, "LOG_ON_ERROR": None,
    "BREAK_ON_ERROR": True, "PRINT_ONLY_COMBINED": False})
data = trackeval.datasets.MotChallenge2DBox({"GT_FOLDER": folder, "TRACKERS_FOLDER": folder + "/trackers", "OUTPUT_FOLDER": None,
    "TRACKERS_TO_EVAL": ["ours"], "CLASSES_TO_EVAL": ["pedestrian"], "BENCHMARK": "MOT15", "SPLIT_TO_EVAL": "train",
    "DO_PREPROC": False, "SKIP_SPLIT_FOL": True, "SEQ_INFO": {"a": None}, "PRINT_CONFIG": False})
results, _ = evaluator.evaluate([data], [trackeval.metrics.HOTA(), trackeval.metrics.CLEAR({"PRINT_CONFIG": False}), trackeval.metrics.Identity({"PRINT_CONFIG": False})])
one = results["MotChallenge2DBox"]["ours"]["a"]["pedestrian"]
print(json.dumps({"hota": float(np.mean(one["HOTA"]["HOTA"])), "mota": float(one["CLEAR"]["MOTA"]), "idf1": float(one["Identity"]["IDF1"]), "ids": int(one["CLEAR"]["CLR_Frames"])}))
"""


@with_readers
def test_trackeval_finds_our_tracks_equal_to_themselves(tmp_path) -> None:
    what = contents(
        [Frame(f.picture, tuple(one for one in f.instances if one.label == "car")) for f in FRAMES], "pedestrian", "car"
    )
    path, _ = written("mot", what, tmp_path)
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "out")
    root = tmp_path / "out" / "train"
    rows = (root / "a/gt/gt.txt").read_text().splitlines()
    values = [row.split(",") for row in rows]
    (root / "a/gt/gt.txt").write_text(
        "".join(",".join([*v[:6], "1", "1", "1"]) + "\n" for v in values)
    )  # of their one class
    (root / "trackers/ours/data").mkdir(parents=True)
    (root / "trackers/ours/data/a.txt").write_text(
        "".join(",".join([*v[:6], "0.9", "-1", "-1", "-1"]) + "\n" for v in values)
    )

    seen = json.loads(in_readers(TRACKEVAL, root).splitlines()[-1])

    assert {name: round(value, 6) for name, value in seen.items()} == {"hota": 1, "mota": 1, "idf1": 1, "ids": 4}


def test_a_polygon_covers_what_pycocotools_draws_of_it_but_for_its_edge() -> None:
    from pycocotools import mask as codec

    ring = [(0.1, 0.1), (0.5, 0.1), (0.3, 0.8)]
    flat = [value * size for point in ring for value, size in zip(point, (WIDTH, HEIGHT), strict=True)]
    (theirs,) = codec.frPyObjects([flat], HEIGHT, WIDTH)
    ours = polygons.to_rle([[ring]], (HEIGHT, WIDTH))
    assert codec.iou([{"size": [HEIGHT, WIDTH], "counts": ours.counts.encode()}], [theirs], [0])[0, 0] > 0.9
