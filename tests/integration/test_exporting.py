"""Exports: jobs that write a version as a zip in S3, for other tools to read."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pyarrow.parquet as pq
import pytest

from argus_ray.datasets.every_frame import pictures
from argus_ray.datasets.exporting import export
from argus_ray.datasets.freezing import freeze
from argus_ray.s3 import original_key
from argus_ray.schemas.dataset import Format
from argus_ray.video.limits import Limits
from argus_ray.video.pictures import Output
from tests import clips
from tests.annotated import Annotated, annotated
from tests.library import Library, library

SECOND = 1_000_000
WORKS = {"freeze": freeze, "export": export}


@pytest.fixture(scope="module")
def place(postgres, s3) -> Iterator[Library]:
    with library(postgres, s3) as place:
        yield place


@pytest.fixture(scope="module")
def project(place) -> Annotated:
    return annotated(place, "car", "dog")


@pytest.fixture(scope="module")
def version(project) -> dict:
    """Two videos; a track with a gap between its keyframes, and a box that belongs to none."""
    for name in ("yard.mp4", "=cmd|' /C calc'!A0.mp4"):
        video = project.video(name, 0, SECOND, 2 * SECOND)
        track = project.track(video, "car")
        project.box(video, 0, "car", (0, 0, 0.25, 0.25), track_id=track)
        project.box(video, 2 * SECOND, "car", (0.5, 0.5, 0.25, 0.25), track_id=track)
        project.box(video, SECOND, "dog", (0.5, 0.5, 0.125, 0.125))
    return project.freeze(project.dataset(splits={"train": 1, "val": 0, "test": 0}))


def exported(project: Annotated, version: dict, format_: str, **options) -> tuple[dict, zipfile.ZipFile]:
    spec = {"kind": "export", "dataset_version_id": str(version["id"]), "format": format_, **options}
    job = project.done(project.ask(spec), WORKS)
    assert job["state"] == "succeeded", job["reason"]
    s3 = project.place.s3
    return job["result"], zipfile.ZipFile(io.BytesIO(s3.get(s3.at(job["result"]["object_key"]))))


@pytest.mark.parametrize("format_", get_args(Format))
def test_every_format_comes_with_its_list_of_pictures_and_its_report(project, version, format_) -> None:
    result, archive = exported(project, version, format_, pictures=True)

    assert archive.testzip() is None
    frames = pq.read_table(io.BytesIO(archive.read("frames.parquet"))).to_pylist()
    assert (result["frames"], result["annotations"]) == (6, 8)
    assert len(frames) == 6
    for row in frames:
        content = archive.read(row["file"])
        assert hashlib.sha256(content).hexdigest() == row["sha256"]
        assert not row["video"].startswith(("=", "+", "-", "@"))
    report = json.loads(archive.read("report.json"))
    assert report["report"] == result["report"]
    assert not result["report"]["counts"].get("picture-missing")


def test_without_pictures_the_list_still_says_their_hashes(project, version) -> None:
    _, archive = exported(project, version, "coco")

    assert sorted(archive.namelist()) == ["annotations/instances_train.json", "frames.parquet", "report.json"]
    frames = pq.read_table(io.BytesIO(archive.read("frames.parquet"))).to_pylist()
    assert all(row["sha256"] for row in frames)


def test_a_second_export_has_the_same_bytes(project, version) -> None:
    first, _ = exported(project, version, "coco", pictures=True)
    second, _ = exported(project, version, "coco", pictures=True)
    s3 = project.place.s3
    assert s3.get(s3.at(first["object_key"])) == s3.get(s3.at(second["object_key"]))


def test_every_frame_has_what_lies_between_keyframes_and_the_pictures_of_the_original(place, tmp_path: Path) -> None:
    project = annotated(place, "car")
    clip = clips.make(tmp_path / "a.mp4", seconds=1)
    times = clip.pts_us
    video = project.video(
        "a.mp4", times[0], times[10], size_bytes=clip.path.stat().st_size, width=clip.size[0], height=clip.size[1]
    )
    place.s3.put_file(original_key(project.project_id, video), clip.path)
    track = project.track(video, "car")
    project.box(video, times[0], "car", (0, 0, 0.25, 0.25), track_id=track)
    project.box(video, times[20], "car", (0.5, 0, 0.25, 0.25), track_id=track)
    version = project.freeze(project.dataset())

    result, archive = exported(project, version, "mot", frames="all", pictures=True)

    (folder,) = {name.split("/gt/")[0] for name in archive.namelist() if "/gt/" in name}
    rows = [line.split(",") for line in archive.read(f"{folder}/gt/gt.txt").decode().splitlines()]
    assert [int(row[0]) for row in rows] == list(range(1, 22))
    assert [float(row[2]) for row in rows] == pytest.approx([1 + clip.size[0] * 0.5 * n / 20 for n in range(21)], abs=1)
    assert result["frames"] == len(times)
    assert f"seqLength={len(times)}" in archive.read(f"{folder}/seqinfo.ini").decode()
    from PIL import Image

    with Image.open(io.BytesIO(archive.read(f"{folder}/img1/000011.jpg"))) as shown:
        import numpy as np

        assert clips.read_number(np.asarray(shown)) == 10
        assert shown.size == clip.size


def test_a_version_of_another_project_is_not_there(place, version) -> None:
    other = annotated(place, "car")

    job = other.done(other.ask({"kind": "export", "dataset_version_id": str(version["id"]), "format": "coco"}), WORKS)

    assert (job["state"], job["reason"]["type"]) == ("failed", "not-found")


def test_verify_says_which_pictures_the_original_still_shows(place, tmp_path: Path) -> None:
    from argus_ray.datasets.verifying import verify
    from argus_ray.s3 import frame_key
    from argus_ray.video.work import Stored

    project = annotated(place, "car")
    clip = clips.make(tmp_path / "a.mp4", seconds=1)
    times = clip.pts_us
    width, height = clip.displayed
    named = {"size_bytes": clip.path.stat().st_size, "width": width, "height": height}
    video = project.video("a.mp4", times[0], times[5], 7, **named)
    stored = Stored(str(clip.path), "a.mp4", clip.path.stat().st_size)
    made = {
        one.pts_us: one.jpeg for one in pictures(stored, Output(long_side=1920, quality=85, model_size=32), Limits())
    }
    place.s3.put_frames([(frame_key(project.project_id, video, times[0]), made[times[0]])])
    for at in (times[0], times[5], 7):
        project.box(video, at, "car", (0, 0, 0.25, 0.25))
    result, _ = exported(project, project.freeze(project.dataset()), "coco", pictures=True)
    path = tmp_path / "export.zip"
    path.write_bytes(place.s3.get(place.s3.at(result["object_key"])))
    (tmp_path / "scratch").mkdir()

    found = {one.pts_us: one.word for one in verify(path, place.settings, lambda _: stored, tmp_path / "scratch")}

    # the first one is its picture, the second one another, and at the third time there is none
    assert found == {times[0]: "same", times[5]: "differs", 7: "no-frame"}
