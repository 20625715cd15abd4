"""Concepts and objects on request, over HTTP, with people of every role; the model is tiny and finds something everywhere."""

from __future__ import annotations

import io
from typing import Any
from uuid import UUID, uuid4

import httpx
import numpy as np
import pytest
from PIL import Image
from pydantic import SecretStr

from argus_ray import rle, weights
from argus_ray.s3 import frame_key
from argus_ray.synthetic.scene import random_scene, render
from tests import tiny_sam3
from tests.library import library
from tests.served_sam3 import InProcess

BOX = {"x": 0.1, "y": 0.2, "w": 0.3, "h": 0.4}
OTHER_BOX = {"x": 0.5, "y": 0.5, "w": 0.25, "h": 0.3}
WIDTH, HEIGHT = 160, 90


@pytest.fixture(scope="module")
def model(s3, tmp_path_factory) -> InProcess:
    return InProcess(tiny_sam3.write(tmp_path_factory.mktemp("sam3")), s3)


@pytest.fixture(scope="module")
def place(postgres, s3, model):
    with library(postgres, s3, sam3=model) as place:
        owner_url = postgres.url(place.owner.info.dbname)
        weights.register_sam3(place.settings.model_copy(update={"database_url": SecretStr(owner_url)}), model.uri)
        yield place


@pytest.fixture(scope="module")
def people(place):
    clients = {name: place.person(f"{name}@example.org") for name in ("owner", "annotator", "viewer", "eve")}
    yield clients
    for client in clients.values():
        client.close()


@pytest.fixture(scope="module")
def project(place, people) -> UUID:
    return place.project(people["owner"], annotator=people["annotator"], viewer=people["viewer"])


@pytest.fixture(scope="module")
def label(people, project) -> dict[str, Any]:
    new = {"name": "Auto", "colour": "#0072b2", "prompts": ["red car", "blue car"]}
    return people["owner"].post(f"/v1/projects/{project}/labels", json=new).raise_for_status().json()


@pytest.fixture(scope="module")
def frames(place, project) -> list[UUID]:
    """Three frames of a ready video, with their pictures."""
    (row,) = place.sql(
        "insert into videos (project_id, name, state, size_bytes, width, height, duration_us, start_us)"
        " values (%s, 'street.mp4', 'ready', 1, %s, %s, 10000000, 0) returning id", project, WIDTH, HEIGHT,
    )  # fmt: skip
    rng, ids = np.random.default_rng(2), []
    for pts_us in (0, 1_000_000, 2_000_000):
        file = io.BytesIO()
        Image.fromarray(render(random_scene(rng), WIDTH, HEIGHT).rgb).save(file, "JPEG")
        place.s3.put_frames([(frame_key(project, row["id"], pts_us), file.getvalue())])
        ids.append(uuid4())
        place.sql(
            "insert into frames (project_id, video_id, pts_us, id, job_id, segment_number, width, height, size_bytes, why)"
            " values (%s, %s, %s, %s, uuid_v7(), 0, %s, %s, 1, 'fps')", project, row["id"], pts_us, ids[-1], WIDTH, HEIGHT,
        )  # fmt: skip
    return ids


def predict(client: httpx.Client, frame: UUID, **asked: Any) -> httpx.Response:
    return client.post(f"/v1/frames/{frame}:predict", json=asked)


def found(client: httpx.Client, frame: UUID, **asked: Any) -> dict[str, Any]:
    return predict(client, frame, **asked).raise_for_status().json()


def test_a_phrase_finds_masks_of_the_videos_size(people, frames, model):
    answer = found(people["viewer"], frames[0], text="red car")
    assert (answer["frame_id"], answer["pts_us"], answer["method"]) == (str(frames[0]), 0, "sam3")
    assert answer["model"] == {"family": "sam3", "uri": model.uri, "weights_id": model.model.weights_id}
    assert 0 < answer["presence"] < 1
    scores = [item["score"] for item in answer["items"]]
    assert scores == sorted(scores, reverse=True)
    for item in answer["items"]:
        mask = rle.Rle(tuple(item["mask"]["size"]), item["mask"]["counts"])
        rle.check(mask, (HEIGHT, WIDTH))
        x, y, w, h = rle.bbox(mask)
        assert list(item["box"].values()) == pytest.approx([x / WIDTH, y / HEIGHT, w / WIDTH, h / HEIGHT])


def test_examples_and_what_is_none_of_it_change_what_is_found(people, frames):
    ask = people["annotator"], frames[0]
    answers = [
        found(*ask, text="red car"),
        found(*ask, boxes=[BOX]),
        found(*ask, text="red car", boxes=[BOX]),
        found(*ask, text="red car", boxes=[BOX], negative_boxes=[OTHER_BOX]),
    ]
    assert len({answer["presence"] for answer in answers}) == 4


def test_points_and_boxes_point_at_objects(people, frames):
    ask = people["annotator"], frames[1]
    click = found(*ask, points=[{"x": 0.5, "y": 0.5}])
    assert (click["method"], len(click["items"])) == ("sam3-clicks", 1)
    corrected = found(
        *ask,
        points=[{"x": 0.5, "y": 0.5}, {"x": 0.1, "y": 0.1, "positive": False}],
        boxes=[OTHER_BOX],
        mask=click["items"][0]["mask"],
    )
    assert corrected["items"][0]["mask"] != click["items"][0]["mask"]
    assert len(found(*ask, what="object", boxes=[BOX, OTHER_BOX])["items"]) == 2


def test_a_label_is_found_by_all_its_phrases_and_each_instance_once(people, frames, label):
    answer = found(people["annotator"], frames[0], label_id=label["id"], threshold=0)
    alone = [found(people["annotator"], frames[0], text=phrase, threshold=0) for phrase in label["prompts"]]
    assert answer["presence"] == pytest.approx(max(one["presence"] for one in alone), abs=1e-5)
    masks = [rle.Rle(tuple(item["mask"]["size"]), item["mask"]["counts"]) for item in answer["items"]]
    assert 0 < len(masks) <= sum(len(one["items"]) for one in alone)
    assert (rle.iou(masks, masks) - np.eye(len(masks))).max() <= 0.5


def test_what_is_saved_is_the_models_proposal_of_whoever_asked(place, people, project, frames, label, model):
    answer = found(people["annotator"], frames[0], text="red car", label_id=label["id"], save="proposed")
    assert answer["items"]
    for item in answer["items"]:
        kept = people["viewer"].get(f"/v1/annotations/{item['annotation_id']}").raise_for_status().json()
        assert (kept["source"], kept["state"], kept["method"]) == ("model", "proposed", "sam3")
        assert kept["label_id"] == label["id"]
        assert kept["mask"] == item["mask"]
        assert kept["score"] == pytest.approx(item["score"], abs=1e-6)
        assert kept["presence"] == pytest.approx(answer["presence"], abs=1e-6)
        assert kept["author"].startswith("user:")
        (registered,) = place.sql("select weights_id from models where id = %s", kept["model_id"])
        assert registered["weights_id"] == model.model.weights_id


def test_a_viewer_may_look_and_not_save_and_a_stranger_sees_nothing(place, people, frames, label, project):
    before = place.sql("select count(*) as n from annotations")
    assert predict(people["viewer"], frames[2], text="red car").status_code == 200
    refused = predict(people["viewer"], frames[2], text="red car", label_id=label["id"], save="proposed")
    assert refused.status_code == 403
    assert predict(people["eve"], frames[2], text="red car").status_code == 404
    assert preview(people["eve"], project, frames, text="red car").status_code == 404
    assert place.sql("select count(*) as n from annotations") == before


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({}, "say what to find"),
        ({"text": ""}, "the phrase is empty"),
        ({"text": "x" * 10_240}, "tokens"),
        ({"text": "red car", "points": [{"x": 0.5, "y": 0.5}]}, "an object is pointed at"),
        ({"text": "red car", "save": "proposed"}, "label_id"),
        ({"text": "red car", "save": "accepted"}, "save"),
        ({"text": "red car", "label_id": str(uuid4())}, "the project has no label"),
        ({"boxes": [{"x": 0.9, "y": 0.1, "w": 0.3, "h": 0.1}]}, "ends outside"),
        ({"points": [{"x": 1.5, "y": 0.5}]}, "less than or equal to 1"),
        ({"points": [{"x": 0.5, "y": 0.5}] * 257}, "256"),
        ({"points": [{"x": 0.5, "y": 0.5}], "boxes": [BOX, OTHER_BOX]}, "at most one box"),
        ({"mask": {"size": [8, 8], "counts": "0P2"}}, "size is 8 x 8"),
        ({"negative_boxes": [BOX]}, "say what to find"),
        ({"what": "object"}, "point at the object"),
    ],
)
def test_what_cannot_be_asked_is_told_and_changes_nothing(place, people, frames, asked, told):
    before = place.sql("select count(*) as n from annotations")
    answer = predict(people["annotator"], frames[0], **asked)
    assert answer.status_code == 422
    assert told in answer.json()["detail"]
    assert place.sql("select count(*) as n from annotations") == before


def test_nan_is_no_number_of_json(people, frames):
    body = '{"points": [{"x": NaN, "y": 0.5}]}'
    answer = people["annotator"].post(
        f"/v1/frames/{frames[0]}:predict", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 422


# -- previews --------------------------------------------------------------------------------------


def preview(
    client: httpx.Client, project: UUID, frames: list[UUID], accept: str = "*/*", **asked: Any
) -> httpx.Response:
    return client.post(
        f"/v1/projects/{project}/concepts:preview",
        json={"frame_ids": [str(one) for one in frames], **asked},
        headers={"Accept": accept},
    )


def test_a_preview_answers_each_frame_in_the_order_asked(people, project, frames):
    order = [frames[2], frames[0], frames[1]]
    answer = preview(people["viewer"], project, order, text="red car").raise_for_status().json()
    assert [item["frame_id"] for item in answer["items"]] == [str(one) for one in order]
    alone = found(people["viewer"], frames[0], text="red car")
    assert answer["items"][1]["presence"] == pytest.approx(alone["presence"], abs=1e-5)


def test_a_preview_is_drawn_as_a_sheet_for_who_accepts_pictures(place, people, project, frames, label):
    answer = preview(people["viewer"], project, frames, "image/png", label_id=label["id"]).raise_for_status()
    assert answer.headers["content-type"] == "image/png"
    drawn = np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"))
    assert drawn.shape[0] > HEIGHT
    assert drawn.shape[1] > 3 * WIDTH
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 100


@pytest.mark.parametrize(
    ("change", "status", "told"),
    [
        ({"frame_ids": []}, 422, "frame_ids"),
        ({"frame_ids": [str(uuid4())] * 17}, 422, "frame_ids"),
        ({"frame_ids": [str(uuid4())]}, 404, "no such"),
        ({"text": None}, 422, "one of the two"),
        ({"text": "red " * 40}, 422, "42 tokens"),
    ],
)
def test_a_preview_that_cannot_be_is_told(people, project, frames, change, status, told):
    asked = {"frame_ids": [str(frames[0])], "text": "red car", **change}
    answer = people["viewer"].post(f"/v1/projects/{project}/concepts:preview", json=asked)
    assert answer.status_code == status
    assert told in answer.json()["detail"]


def test_frames_of_another_project_are_not_of_this_one(place, people, frames):
    other = place.project(people["owner"])
    answer = preview(people["owner"], other, frames[:1], text="red car")
    assert answer.status_code == 404
