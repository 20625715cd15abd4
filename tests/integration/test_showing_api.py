"""A frame as a picture, over HTTP: what is drawn on it, for whom, and when it is drawn again."""

from __future__ import annotations

import io
from typing import Any
from uuid import UUID

import httpx
import numpy as np
import pytest
from PIL import Image

from argus_ray.s3 import frame_key
from tests.library import library

WIDTH, HEIGHT = 320, 180
GREY = 120
BOX = {"x": 0.25, "y": 0.25, "w": 0.25, "h": 0.5}
FARTHER = {**BOX, "x": 0.6}


@pytest.fixture(scope="module")
def place(postgres, s3):
    with library(postgres, s3) as place:
        yield place


@pytest.fixture(scope="module")
def people(place):
    clients = {name: place.person(f"{name}@example.org") for name in ("owner", "viewer", "eve")}
    yield clients
    for client in clients.values():
        client.close()


@pytest.fixture(scope="module")
def project(place, people) -> UUID:
    return place.project(people["owner"], viewer=people["viewer"])


@pytest.fixture(scope="module")
def label(people, project) -> dict[str, Any]:
    new = {"name": "car", "colour": "#d55e00"}
    return people["owner"].post(f"/v1/projects/{project}/labels", json=new).raise_for_status().json()


@pytest.fixture
def video(place, people, project) -> tuple[str, list[UUID]]:
    """A ready one of three grey frames, a second apart, and their ids."""
    job = place.bring(people["owner"], project)
    place.make_ready(job, 0, 1_000_000, 2_000_000)
    file = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT), (GREY, GREY, GREY)).save(file, "JPEG")
    keys = [frame_key(project, UUID(job["video_id"]), pts_us) for pts_us in (0, 1_000_000, 2_000_000)]
    place.s3.put_frames([(key, file.getvalue()) for key in keys])
    rows = place.sql("select id from frames where video_id = %s order by pts_us", job["video_id"])
    return job["video_id"], [row["id"] for row in rows]


def annotate(client: httpx.Client, project: UUID, **new: Any) -> dict[str, Any]:
    answer = client.post(f"/v1/projects/{project}/annotations", json={"annotations": [new]})
    return answer.raise_for_status().json()["items"][0]


def drawn(client: httpx.Client, frame: UUID, **options: Any) -> np.ndarray:
    answer = client.get(f"/v1/frames/{frame}/overlay.png", params=options).raise_for_status()
    assert answer.headers["content-type"] == "image/png"
    return np.asarray(Image.open(io.BytesIO(answer.content)))


def is_drawn_at(picture: np.ndarray, x: float, y: float) -> bool:
    """Whether something else than the grey picture is to be seen near that place, in fractions."""
    row, column = round(y * (picture.shape[0] - 1)), round(x * (picture.shape[1] - 1))
    near = picture[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3].astype(int)
    return bool((np.abs(near - GREY) > 40).any())


def test_a_frame_is_drawn_with_what_is_annotated_on_it(people, project, label, video):
    video_id, frames = video
    before = drawn(people["viewer"], frames[0])
    assert before.shape == (HEIGHT, WIDTH, 3)
    assert not is_drawn_at(before, 0.25, 0.5)

    annotate(people["owner"], project, video_id=video_id, pts_us=0, label_id=label["id"], box=BOX)

    after = drawn(people["viewer"], frames[0])
    assert is_drawn_at(after, 0.25, 0.5)
    assert is_drawn_at(after, 0.5, 0.7)
    assert not is_drawn_at(after, 0.9, 0.9)
    assert not is_drawn_at(drawn(people["viewer"], frames[1]), 0.25, 0.5)


def test_a_track_is_drawn_between_its_keyframes(people, project, label, video):
    video_id, frames = video
    keyframes = [{"pts_us": 0, "box": BOX}, {"pts_us": 2_000_000, "box": FARTHER}]
    new = {"label_id": label["id"], "keyframes": keyframes}
    people["owner"].post(f"/v1/videos/{video_id}/tracks", json=new).raise_for_status()

    assert is_drawn_at(drawn(people["viewer"], frames[1]), 0.425, 0.5)
    assert is_drawn_at(drawn(people["viewer"], frames[2], colour_by="track"), 0.6, 0.5)


def test_a_picture_is_sent_once_and_drawn_anew_after_a_change(people, project, label, video):
    video_id, frames = video
    made = annotate(people["owner"], project, video_id=video_id, pts_us=0, label_id=label["id"], box=BOX)
    path = f"/v1/frames/{frames[0]}/overlay.png"
    first = people["viewer"].get(path)
    assert "private" in first.headers["cache-control"]
    had = {"If-None-Match": first.headers["etag"]}

    again = people["viewer"].get(path, headers=had)
    assert (again.status_code, again.content) == (304, b"")

    change = {"box": FARTHER}
    people["owner"].patch(f"/v1/annotations/{made['id']}", json=change, headers={"If-Match": '"1"'}).raise_for_status()
    assert people["viewer"].get(path, headers=had).status_code == 200
    assert people["viewer"].get(path, params={"width": 64}, headers=had).status_code == 200


def test_what_is_rejected_is_drawn_only_where_it_is_asked_for(people, project, label, video):
    video_id, frames = video
    made = annotate(people["owner"], project, video_id=video_id, pts_us=0, label_id=label["id"], box=BOX)
    rejected = {"state": "rejected", "reason": "a shadow"}
    people["owner"].patch(f"/v1/annotations/{made['id']}", json=rejected, headers={"If-Match": "*"}).raise_for_status()

    assert not is_drawn_at(drawn(people["viewer"], frames[0]), 0.25, 0.5)
    assert is_drawn_at(drawn(people["viewer"], frames[0], state="rejected"), 0.25, 0.5)
    assert not is_drawn_at(drawn(people["viewer"], frames[0], state="rejected", job_id=str(frames[0])), 0.25, 0.5)


def test_a_picture_is_made_smaller_and_never_larger(people, video):
    _, frames = video
    assert drawn(people["viewer"], frames[0], width=160).shape == (90, 160, 3)
    assert drawn(people["viewer"], frames[0], width=5000).shape == (HEIGHT, WIDTH, 3)
    assert people["viewer"].get(f"/v1/frames/{frames[0]}/overlay.png", params={"width": 1}).status_code == 422


def test_a_stranger_sees_no_picture(people, video):
    _, frames = video
    assert people["eve"].get(f"/v1/frames/{frames[0]}/overlay.png").status_code == 404
