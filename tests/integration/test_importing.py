"""Imports: a file of another tool becomes annotations, whole or not at all, and says what it did not know."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from argus_ray.pipelines.dataset_work import WORKS
from argus_ray.s3 import import_key, original_key
from tests import clips
from tests.annotated import HEIGHT, WIDTH, Annotated, annotated
from tests.library import Library, library

SECOND = 1_000_000


@pytest.fixture(scope="module")
def place(postgres, s3) -> Iterator[Library]:
    with library(postgres, s3) as place:
        yield place


@pytest.fixture
def project(place) -> Annotated:
    return annotated(place, "car")


def imported(project: Annotated, content: bytes | dict | str, format_: str, **options) -> dict:
    """The job of an import of that file."""
    key = import_key(project.project_id, uuid4())
    body = (
        content
        if isinstance(content, bytes)
        else (json.dumps(content) if isinstance(content, dict) else content).encode()
    )
    project.place.s3.client.put_object(Bucket=project.place.s3.bucket, Key=key, Body=body)
    spec = {"kind": "import", "object_key": key, "format": format_, "dry_run": False, **options}
    return project.done(project.ask(spec), WORKS)


def rows(project: Annotated) -> list[dict]:
    return project.place.sql(
        "select a.*, l.name as label, t.number as track from annotations a join labels l on l.id = a.label_id"
        " left join tracks t on t.id = a.track_id where a.project_id = %s order by a.video_id, a.pts_us, l.name, a.x",
        project.project_id,
    )


def zipped(**members: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def coco(name: str, *annotations: dict, width: int = WIDTH, height: int = HEIGHT) -> dict:
    return {
        "images": [{"id": 1, "file_name": name, "width": width, "height": height}],
        "categories": [{"id": 1, "name": "Car"}, {"id": 2, "name": "dog"}],
        "annotations": [{"id": n, "image_id": 1, **one} for n, one in enumerate(annotations, 1)],
    }


def test_a_dry_run_says_what_would_come_and_changes_nothing(project) -> None:
    project.video("yard.mp4", 0, SECOND)
    file = coco(
        "yard/0000001000000.jpg", {"category_id": 1, "bbox": [16, 12, 32, 24]}, {"category_id": 2, "bbox": [0, 0, 8, 8]}
    )

    job = imported(project, file, "coco", dry_run=True)

    assert job["state"] == "succeeded", job["reason"]
    assert job["result"]["annotations"] == 1
    assert job["result"]["report"]["counts"] == {"unknown-label-dog": 1}
    assert rows(project) == []


def test_what_is_imported_is_a_proposal_with_its_source_and_job(project) -> None:
    video = project.video("yard.mp4", 0, SECOND)

    job = imported(
        project, coco("yard/0000001000000.jpg", {"category_id": 1, "bbox": [16, 12, 32, 24], "score": 0.5}), "coco"
    )

    (row,) = rows(project)
    assert (row["video_id"], row["pts_us"], row["label"], row["state"], row["source"]) == (
        video,
        SECOND,
        "car",
        "proposed",
        "import",
    )
    assert (row["x"], row["y"], row["w"], row["h"], row["score"]) == (0.25, 0.25, 0.5, 0.5, 0.5)
    assert row["job_id"] == job["id"]


def test_the_same_file_twice_is_there_once(project) -> None:
    project.video("yard.mp4", 0, SECOND)
    file = coco(
        "yard/0000001000000.jpg",
        {"category_id": 1, "bbox": [16, 12, 32, 24]},
        {"category_id": 1, "bbox": [16, 12, 32, 24]},
    )

    first, second = imported(project, file, "coco")["result"], imported(project, file, "coco")["result"]

    assert (first["new_annotations"], second["new_annotations"], second["there_already"]) == (2, 0, 2)
    assert len(rows(project)) == 2


def test_missing_labels_are_made_where_that_is_asked(project) -> None:
    project.video("yard.mp4", 0)

    job = imported(
        project, coco("yard/0000000000000.jpg", {"category_id": 2, "bbox": [1, 1, 5, 5]}), "coco", create_labels=True
    )

    assert job["result"]["new_labels"] == ["dog"]
    assert [row["label"] for row in rows(project)] == ["dog"]


def test_names_of_the_file_mean_what_the_asker_says(project) -> None:
    video = project.video("another name.mp4", 0, pictures=False)
    file = coco("a/0000000000000.jpg", {"category_id": 2, "bbox": [1, 1, 5, 5]})

    imported(project, file, "coco", videos={"a": str(video)}, labels={"dog": str(project.labels["car"])})

    assert [(row["video_id"], row["label"]) for row in rows(project)] == [(video, "car")]


def test_a_file_about_no_video_here_fails_in_words_and_changes_nothing(project) -> None:
    job = imported(
        project,
        coco("elsewhere/0000000000000.jpg", {"category_id": 1, "bbox": [1, 1, 5, 5]}),
        "coco",
        create_labels=True,
    )

    assert (job["state"], job["reason"]["type"]) == ("failed", "annotations-unreadable")
    assert "elsewhere" in job["reason"]["detail"]
    assert [
        label["name"]
        for label in project.place.sql("select name from labels where project_id = %s", project.project_id)
    ] == ["car"]


def test_pictures_of_another_shape_than_their_video_are_left_out_with_a_line(project) -> None:
    project.video("yard.mp4", 0)

    job = imported(
        project, coco("yard/0000000000000.jpg", {"category_id": 1, "bbox": [1, 1, 5, 5]}, width=100, height=100), "coco"
    )

    assert job["result"]["report"]["counts"]["wrong-size"] == 1
    assert rows(project) == []


def test_a_polygon_that_crosses_itself_is_kept_as_its_pixels(project) -> None:
    project.video("yard.mp4", 0)
    bow_tie = {"category_id": 1, "segmentation": [[10, 10, 40, 40, 40, 10, 10, 40]]}

    job = imported(project, coco("yard/0000000000000.jpg", bow_tie), "coco")

    assert job["result"]["report"]["counts"] == {"polygon-as-mask": 1}
    (row,) = rows(project)
    assert (row["kind"], row["polygon"]) == ("mask", None)
    assert row["area_px"] == pytest.approx(450, abs=40)


def test_places_of_pictures_become_times_by_the_original(place, tmp_path: Path) -> None:
    project = annotated(place, "car")
    clip = clips.make(tmp_path / "a.mp4", seconds=1)
    width, height = clip.displayed
    video = project.video("seq.mp4", 0, width=width, height=height, size_bytes=clip.path.stat().st_size, pictures=False)
    place.s3.put_file(original_key(project.project_id, video), clip.path)
    content = zipped(**{
        "seq/seqinfo.ini": f"[Sequence]\nname=seq\nimWidth={width}\nimHeight={height}\nseqLength=25\n",
        "seq/gt/labels.txt": "car\n",
        "seq/gt/gt.txt": "1,1,1,1,10,10,1,1,1\n11,1,11,1,10,10,1,1,1\n11,1,12,1,10,10,1,1,1\n99,1,1,1,10,10,1,1,1\n",
    })  # fmt: skip

    job = imported(project, content, "mot")

    found = rows(project)
    assert [(row["pts_us"], row["track"]) for row in found] == [(clip.pts_us[0], 1), (clip.pts_us[10], 1)]
    assert job["result"]["report"]["counts"] == {"duplicate-id": 1, "left-out": 1, "no-such-frame": 1}
    (track,) = place.sql("select * from tracks where project_id = %s", project.project_id)
    assert (track["start_us"], track["end_us"], track["keyframes"], track["source"]) == (
        clip.pts_us[0],
        clip.pts_us[10],
        2,
        "import",
    )


@pytest.mark.parametrize("format_", ["coco", "yolo-track", "cvat-video", "mot", "parquet", "coco-video"])
def test_what_was_exported_can_be_imported_elsewhere(place, format_) -> None:
    here, there = annotated(place, "car", "dog"), annotated(place, "car", "dog")
    for project in (here, there):
        project.video("yard.mp4", 0, SECOND, 2 * SECOND)
    (video,) = here.place.sql("select id from videos where project_id = %s", here.project_id)
    track = here.track(video["id"], "car")
    here.box(video["id"], 0, "car", (0, 0, 0.25, 0.25), track_id=track)
    here.box(video["id"], 2 * SECOND, "car", (0.5, 0.5, 0.25, 0.25), track_id=track)
    here.box(video["id"], SECOND, "dog", (0.5, 0.5, 0.125, 0.125))
    version = here.freeze(here.dataset())
    job = here.done(here.ask({"kind": "export", "dataset_version_id": str(version["id"]), "format": format_}), WORKS)
    archive = place.s3.get(place.s3.at(job["result"]["object_key"]))

    done = imported(there, archive, format_, state="accepted")

    assert done["state"] == "succeeded", done["reason"]
    found = [(row["pts_us"], row["label"], round(row["x"], 3)) for row in rows(there) if not row["outside"]]
    assert found == [(0, "car", 0), (SECOND, "car", 0.25), (SECOND, "dog", 0.5), (2 * SECOND, "car", 0.5)]
    assert {row["state"] for row in rows(there)} == {"accepted"}
    assert len({row["track"] for row in rows(there) if row["label"] == "car"}) == 1


def test_a_file_of_another_project_cannot_be_imported(place, project) -> None:
    other = annotated(place, "car")
    key = import_key(other.project_id, uuid4())
    place.s3.client.put_object(Bucket=place.s3.bucket, Key=key, Body=b"{}")

    job = project.done(project.ask({"kind": "import", "object_key": key, "format": "coco"}), WORKS)

    assert (job["state"], job["reason"]["type"]) == ("failed", "not-found")
