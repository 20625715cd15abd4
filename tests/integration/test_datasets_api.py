"""Datasets over HTTP: made, edited, frozen, compared, exported and imported, by whoever may."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from uuid import UUID, uuid4

import httpx
import pytest
from click.testing import CliRunner

from argus_ray.cli import cli
from argus_ray.datasets.every_frame import pictures
from argus_ray.pipelines.dataset_work import WORKS
from argus_ray.s3 import frame_key, original_key
from argus_ray.video.limits import Limits
from argus_ray.video.pictures import Output
from argus_ray.video.work import Stored
from tests import clips
from tests.annotated import Annotated
from tests.library import Library, library

SECOND = 1_000_000


@pytest.fixture(scope="module")
def place(postgres, s3) -> Iterator[Library]:
    with library(postgres, s3) as place:
        yield place


@pytest.fixture(scope="module")
def ana(place) -> Iterator[httpx.Client]:
    with place.person("ana@example.org") as client:
        yield client


@pytest.fixture(scope="module")
def vic(place) -> Iterator[httpx.Client]:
    with place.person("vic@example.org") as client:
        yield client


@pytest.fixture
def project(place, ana, vic) -> Annotated:
    """One with a video of two annotated frames."""
    made = Annotated(place, place.project(ana, viewer=vic))
    made.label("car")
    video = made.video("yard.mp4", 0, SECOND)
    made.box(video, 0, "car", (0, 0, 0.25, 0.25))
    made.box(video, SECOND, "car", (0.25, 0, 0.25, 0.25))
    return made


def create(client: httpx.Client, project: Annotated, **more) -> httpx.Response:
    return client.post(f"/v1/projects/{project.project_id}/datasets", json={"name": f"cars {uuid4()}", **more})


def finished(client: httpx.Client, project: Annotated, asked: httpx.Response) -> dict:
    """The job that was asked for, when it was done."""
    assert asked.status_code in {201, 202}, asked.text
    project.done(UUID(asked.json()["id"]), WORKS)
    return client.get(f"/v1/jobs/{asked.json()['id']}").raise_for_status().json()


def frozen(client: httpx.Client, project: Annotated, dataset_id: str) -> dict:
    job = finished(client, project, client.post(f"/v1/datasets/{dataset_id}/versions"))
    return client.get(f"/v1/dataset-versions/{job['result']['dataset_version_id']}").raise_for_status().json()


def test_a_dataset_is_edited_by_its_version_and_its_name_is_free_again_when_it_is_gone(ana, project) -> None:
    made = create(ana, project, name="cars")
    assert made.status_code == 201
    address = made.headers["Location"]
    assert made.json()["query"]["states"] == ["accepted"]
    assert create(ana, project, name="Cars").status_code == 409

    renamed = ana.patch(address, json={"name": "more cars"}, headers={"If-Match": made.headers["ETag"]})
    stale = ana.patch(address, json={"name": "cars"}, headers={"If-Match": made.headers["ETag"]})

    assert (renamed.json()["name"], renamed.headers["ETag"]) == ("more cars", '"2"')
    assert stale.status_code == 412
    assert ana.delete(address, headers={"If-Match": '"2"'}).status_code == 204
    assert ana.get(address).status_code == 404
    assert create(ana, project, name="more cars").status_code == 201


@pytest.mark.parametrize(
    "wrong",
    [{"splits": {"train": 0.5, "val": 0.1, "test": 0.1}}, {"query": {"states": []}}, {"query": {"x": 1}}, {"name": ""}],
)
def test_a_dataset_that_makes_no_sense_is_refused(ana, project, wrong) -> None:
    assert create(ana, project, **wrong).status_code == 422


def test_a_viewer_sees_datasets_and_makes_and_freezes_none(ana, vic, project) -> None:
    dataset = create(ana, project).json()

    assert create(vic, project).status_code == 403
    assert vic.get(f"/v1/datasets/{dataset['id']}").status_code == 200
    assert vic.post(f"/v1/datasets/{dataset['id']}/versions").status_code == 403
    assert vic.patch(f"/v1/datasets/{dataset['id']}", json={"name": "x"}, headers={"If-Match": "*"}).status_code == 403


def test_versions_are_listed_and_compared_and_nobody_outside_sees_them(ana, place, project) -> None:
    dataset = create(ana, project).json()["id"]
    first = frozen(ana, project, dataset)
    (car,) = place.sql("select id from annotations where project_id = %s and pts_us = 0", project.project_id)
    place.sql("update annotations set w = 0.5 where id = %s", car["id"])
    video = project.video("new.mp4", 0)
    project.label("dog")
    project.box(video, 0, "dog", (0, 0, 0.25, 0.25))
    second = frozen(ana, project, dataset)

    found = ana.get(f"/v1/dataset-versions/{first['id']}/diff", params={"to": second["id"]}).raise_for_status().json()

    assert found["frames"] == {"added": 1, "removed": 0, "changed": 1}
    assert found["annotations"] == {"added": 1, "removed": 0, "changed": 1}
    labels = {
        label["name"]: (label["before"], label["after"], label["added"], label["changed"]) for label in found["labels"]
    }
    assert labels == {"car": (2, 2, 0, 1), "dog": (0, 1, 1, 0)}
    assert (found["same"], found["moved_videos"]) == (False, [])
    same = ana.get(f"/v1/dataset-versions/{first['id']}/diff", params={"to": first["id"]}).json()
    assert (same["same"], same["frames"]) == (True, {"added": 0, "removed": 0, "changed": 0})
    listed = ana.get(f"/v1/datasets/{dataset}/versions").json()["items"]
    assert [version["number"] for version in listed] == [2, 1]
    assert listed[0]["parent_id"] == first["id"]
    with place.person("eve@example.org") as eve:
        assert eve.get(f"/v1/dataset-versions/{first['id']}").status_code == 404
        assert eve.get(f"/v1/dataset-versions/{first['id']}/diff", params={"to": second["id"]}).status_code == 404
        assert eve.post(f"/v1/dataset-versions/{first['id']}/exports", json={"format": "coco"}).status_code == 404


def test_an_export_is_downloaded_in_pieces_by_whoever_may_see_the_project(ana, vic, project) -> None:
    version = frozen(ana, project, create(ana, project).json()["id"])
    asked = ana.post(f"/v1/dataset-versions/{version['id']}/exports", json={"format": "coco", "pictures": True})
    early = ana.get(f"/v1/jobs/{asked.json()['id']}/download")
    job = finished(ana, project, asked)

    answer = vic.get(f"/v1/jobs/{job['id']}/download").raise_for_status().json()

    assert early.status_code == 409
    size = answer["size_bytes"]
    halves = [
        httpx.get(answer["url"], headers={"Range": f"bytes={start}-{end}"}, trust_env=False)
        for start, end in ((0, size // 2 - 1), (size // 2, size - 1))
    ]
    assert [half.status_code for half in halves] == [206, 206]
    archive = zipfile.ZipFile(io.BytesIO(halves[0].content + halves[1].content))
    assert archive.testzip() is None
    assert job["result"]["report"] == json.loads(archive.read("report.json"))["report"]
    assert vic.get(f"/v1/jobs/{job['id']}/download", params={"redirect": 1}, follow_redirects=False).status_code == 307


def test_a_file_is_sent_looked_at_and_imported(ana, place, project) -> None:
    body = json.dumps(
        {
            "images": [{"id": 1, "file_name": "yard/0000001000000.jpg", "width": 64, "height": 48}],
            "categories": [{"id": 1, "name": "car"}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5]}],
        }
    ).encode()
    sent = ana.post(f"/v1/projects/{project.project_id}/imports", json={"size_bytes": len(body)})
    assert sent.status_code == 201, sent.text
    upload = sent.json()
    httpx.put(upload["url"], content=body, headers=upload["headers"], trust_env=False).raise_for_status()
    spec = {"kind": "import", "object_key": upload["object_key"], "format": "coco"}

    looked = finished(ana, project, ana.post(f"/v1/projects/{project.project_id}/jobs", json={"spec": spec}))
    done = finished(
        ana, project, ana.post(f"/v1/projects/{project.project_id}/jobs", json={"spec": {**spec, "dry_run": False}})
    )

    assert (looked["result"]["dry_run"], looked["result"]["annotations"]) == (True, 1)
    assert done["result"]["new_annotations"] == 1
    assert (
        len(place.sql("select 1 from annotations where project_id = %s and source = 'import'", project.project_id)) == 1
    )


def test_a_file_that_is_too_large_is_refused_before_it_is_sent(ana, vic, project) -> None:
    address = f"/v1/projects/{project.project_id}/imports"
    assert ana.post(address, json={"size_bytes": 2**40}).status_code == 413
    assert vic.post(address, json={"size_bytes": 1}).status_code == 403


def test_an_export_is_verified_from_the_command_line(ana, place, tmp_path) -> None:
    made = Annotated(place, place.project(ana))
    made.label("car")
    clip = clips.make(tmp_path / "a.mp4", seconds=1)
    size_bytes, (width, height) = clip.path.stat().st_size, clip.displayed
    video = made.video("a.mp4", *clip.pts_us[:2], size_bytes=size_bytes, width=width, height=height)
    place.s3.put_file(original_key(made.project_id, video), clip.path)
    stored = Stored(str(clip.path), "a.mp4", size_bytes)
    pictured = {
        one.pts_us: one.jpeg for one in pictures(stored, Output(long_side=1920, quality=85, model_size=32), Limits())
    }
    place.s3.put_frames([(frame_key(made.project_id, video, at), pictured[at]) for at in clip.pts_us[:2]])
    for at in clip.pts_us[:2]:
        made.box(video, at, "car", (0, 0, 0.25, 0.25))
    version = made.freeze(made.dataset())
    job = finished(ana, made, ana.post(f"/v1/dataset-versions/{version['id']}/exports", json={"format": "coco"}))
    address = ana.get(f"/v1/jobs/{job['id']}/download").json()["url"]
    (tmp_path / "coco-v1.zip").write_bytes(httpx.get(address, trust_env=False).content)
    key = ana.post(f"/v1/projects/{made.project_id}/api-keys", json={"name": "verify"}).raise_for_status().json()["key"]

    said = CliRunner().invoke(
        cli, ["--url", place.url, "--api-key", key, "verify", str(tmp_path / "coco-v1.zip"), "--all"]
    )

    assert said.exit_code == 0, said.output
    assert [line.split("\t")[2] for line in said.stdout.splitlines()] == ["same", "same"]
    assert "2 same" in said.stderr
