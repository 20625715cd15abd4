"""Versions of datasets: what is in them, that they are the same for the same data, and that nothing changes them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import numpy as np
import psycopg
import pyarrow.parquet as pq
import pytest

from argus_ray.errors import NotFound
from tests.annotated import Annotated, annotated
from tests.library import Library, library

SECOND = 1_000_000


@pytest.fixture(scope="module")
def place(postgres, s3) -> Iterator[Library]:
    with library(postgres, s3) as place:
        yield place


@pytest.fixture
def project(place) -> Annotated:
    return annotated(place, "car", "dog")


def rows(project: Annotated, version: dict, name: str) -> list[dict]:
    s3, prefix = project.place.s3, version["manifest_key"].removesuffix("dataset.json")
    try:
        content = s3.get(s3.at(f"{prefix}{name}.parquet"))
    except NotFound:
        return []
    return pq.read_table(io.BytesIO(content)).to_pylist()


def all_rows(project: Annotated, version: dict) -> list[dict]:
    return [row for name in ("train", "val", "test") for row in rows(project, version, name)]


def test_a_version_has_the_pictures_that_are_annotated_and_what_lies_between_keyframes(project) -> None:
    video = project.video("a.mp4", 0, SECOND, 2 * SECOND, 3 * SECOND)
    track = project.track(video, "car")
    project.box(video, 0, "car", (0, 0, 0.2, 0.2), track_id=track)
    project.box(video, 2 * SECOND, "car", (0.4, 0.2, 0.2, 0.4), track_id=track)
    project.box(video, SECOND, "dog", (0.5, 0.5, 0.1, 0.1))
    project.verdict(video, 3 * SECOND, "dog", "exhaustive_absent")

    version = project.freeze(project.dataset())

    found = {row["pts_us"]: row for row in all_rows(project, version)}
    assert [len(found[pts]["annotations"]) for pts in sorted(found)] == [1, 2, 1, 0]
    between, dog = found[SECOND]["annotations"]
    assert between["box"] == pytest.approx([0.2, 0.1, 0.2, 0.3])
    assert (between["keyframe"], between["id"], between["track"]) == (False, None, 1)
    assert (dog["label"], dog["keyframe"]) == (str(project.labels["dog"]), True)
    assert found[3 * SECOND]["exhaustive_absent"] == [str(project.labels["dog"])]
    assert found[0]["etag"]
    assert version["number"] == 1
    assert version["counts"]["frames"] == 4
    assert version["counts"]["labels"] == {str(project.labels["car"]): 3, str(project.labels["dog"]): 1}


def test_a_track_is_not_there_from_outside_to_its_next_keyframe(project) -> None:
    video = project.video("a.mp4", *(n * SECOND for n in range(5)))
    track = project.track(video, "car")
    for at, outside in ((0, False), (1, True), (3, False), (4, True)):
        project.box(video, at * SECOND, "car", (0, 0, 0.2, 0.2), track_id=track, outside=outside)

    found = all_rows(project, project.freeze(project.dataset()))

    assert [row["pts_us"] // SECOND for row in found] == [0, 3]


def test_freezing_nothing_fails_in_words_and_makes_no_version(project) -> None:
    video = project.video("a.mp4", 0)
    project.box(video, 0, "car", (0, 0, 0.2, 0.2), state="proposed", source="model", score=0.4)

    job = project.done(project.ask({"kind": "freeze", "dataset_id": str(project.dataset("cars"))}))

    assert job["state"] == "failed"
    assert job["reason"]["type"] == "nothing-to-freeze"
    assert "'cars'" in job["reason"]["detail"]
    assert project.place.sql("select 1 from dataset_versions where project_id = %s", project.project_id) == []


def test_the_same_data_freeze_to_the_same_hash_and_other_data_to_another(project) -> None:
    video = project.video("a.mp4", 0, SECOND)
    project.box(video, 0, "car", (0, 0, 0.2, 0.2))
    dataset = project.dataset()

    first, second = project.freeze(dataset), project.freeze(dataset)
    project.box(video, SECOND, "car", (0, 0, 0.3, 0.2))
    third = project.freeze(dataset)

    assert first["content_hash"] == second["content_hash"] != third["content_hash"]
    assert [first["number"], second["number"], third["number"]] == [1, 2, 3]
    assert third["parent_id"] == second["id"]
    about = json.loads(project.place.s3.get(project.place.s3.at(first["manifest_key"])))
    assert about["content_hash"] == first["content_hash"]
    assert [label["name"] for label in about["ontology"]] == ["car", "dog"]


def test_a_job_that_is_done_twice_makes_one_version(project) -> None:
    from argus_ray.catalog import datasets
    from argus_ray.catalog.work import Started
    from argus_ray.datasets.freezing import freeze

    video = project.video("a.mp4", 0)
    project.box(video, 0, "car", (0, 0, 0.2, 0.2))
    dataset = project.dataset()
    job_id = project.ask({"kind": "freeze", "dataset_id": str(dataset)})
    started = Started(
        job_id,
        job_id,
        1,
        1,
        0,
        None,
        None,
        job_id,
        "freeze",
        {"dataset_id": str(dataset)},
        project.project_id,
        None,
        None,
    )

    for _ in range(2):
        effects = freeze(project.place.settings, started, lambda _: None)
        with project.place.worker.transaction() as tx:
            result = effects(tx)

    with project.place.worker.transaction() as tx:
        (only,) = tx.all(datasets.versions(dataset, before=None, rows=10))
    assert str(only.id) == result["dataset_version_id"]
    project.place.sql("delete from jobs where id = %s", job_id)


@pytest.mark.parametrize(
    "change", ["update dataset_versions set counts = '{}' where id = %s", "delete from dataset_versions where id = %s"]
)
def test_nobody_changes_a_version_not_even_the_owner_of_the_database(project, change) -> None:
    video = project.video("a.mp4", 0)
    project.box(video, 0, "car", (0, 0, 0.2, 0.2))
    version = project.freeze(project.dataset())

    with pytest.raises(psycopg.errors.CheckViolation, match="never changes"):
        project.place.sql(change, version["id"])


def test_a_video_keeps_its_split_as_the_dataset_grows(project) -> None:
    dataset = project.dataset()
    for number in range(4):
        project.box(project.video(f"{number}.mp4", 0), 0, "car", (0, 0, 0.2, 0.2))
    first = {
        row["video"]: name for name in ("train", "val", "test") for row in rows(project, project.freeze(dataset), name)
    }
    for number in range(4, 12):
        project.box(project.video(f"{number}.mp4", 0), 0, "dog", (0, 0, 0.2, 0.2))

    version = project.freeze(dataset)

    second = {row["video"]: name for name in ("train", "val", "test") for row in rows(project, version, name)}
    assert len(second) == 12
    assert {video: second[video] for video in first} == first
    assert set(first.values()) == {"train", "val", "test"}


def test_videos_that_look_alike_are_in_one_split_and_what_was_not_compared_is_said(project) -> None:
    (model,) = project.place.sql(
        "select register_model('siglip2', 'test', %s, 8::smallint, 32::smallint, 1.0, 0.0) as number",
        str(project.project_id),
    )
    random = np.random.default_rng(3)
    shared = random.normal(size=8)
    for number in range(6):
        video = project.video(f"{number}.mp4", 0, SECOND)
        project.box(video, 0, "car", (0, 0, 0.2, 0.2))
        if number < 5:
            project.vector(video, 0, random.normal(size=8), model["number"])
            project.vector(
                video, SECOND, shared + (random.normal(size=8) if number > 2 else 0.01 * number), model["number"]
            )

    version = project.freeze(project.dataset())

    found = all_rows(project, version)
    alike = {row["component"] for row in found if row["video"] in {"0.mp4", "1.mp4", "2.mp4"}}
    assert len(alike) == 1
    assert len({row["component"] for row in found}) == 4
    assert any(warning["code"] == "not-compared" for warning in version["warnings"])
