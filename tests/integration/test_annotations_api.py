"""Labels, annotations and tracks over HTTP, with people of every role."""

from __future__ import annotations

import httpx
import pytest

from tests.library import library

ANY = {"If-Match": "*"}
BOX = {"x": 0.1, "y": 0.2, "w": 0.3, "h": 0.4}


@pytest.fixture(scope="module")
def place(postgres, s3):
    with library(postgres, s3) as place:
        yield place


@pytest.fixture(scope="module")
def people(place):
    clients = {name: place.person(f"{name}@example.org") for name in ("owner", "editor", "annotator", "viewer", "eve")}
    yield clients
    for client in clients.values():
        client.close()


@pytest.fixture(scope="module")
def ann(people):
    return people["annotator"]


@pytest.fixture
def project(place, people):
    return place.project(people["owner"], **{role: people[role] for role in ("editor", "annotator", "viewer")})


@pytest.fixture
def video(place, people, project) -> str:
    """A ready video of 640 x 360 and ten seconds, with a frame each second."""
    job = place.bring(people["owner"], project)
    place.make_ready(job, *range(0, 10_000_000, 1_000_000))
    return job["video_id"]


@pytest.fixture
def car(people, project) -> dict:
    return make_label(people["editor"], project, name="red car")


def make_label(client, project, **new) -> dict:
    return client.post(f"/v1/projects/{project}/labels", json=new).raise_for_status().json()


def box(video, label, pts_us=0, **more) -> dict:
    return {"video_id": video, "label_id": label["id"], "pts_us": pts_us, "box": BOX, **more}


def annotate(client, project, *new) -> list[dict]:
    answer = client.post(f"/v1/projects/{project}/annotations", json={"annotations": list(new)})
    assert answer.status_code == 201, answer.text
    return answer.json()["items"]


def window(client, video, **params) -> list[dict]:
    items, cursor = [], None
    while True:
        page = client.get(
            f"/v1/videos/{video}/annotations", params={**params, **({"cursor": cursor} if cursor else {})}
        )
        assert page.status_code == 200, page.text
        items += page.json()["items"]
        cursor = page.json()["next_cursor"]
        if cursor is None:
            return items


def problem(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()["type"].removeprefix("/problems/")


# -- labels ----------------------------------------------------------------------------------------


def test_a_label_is_asked_for_by_its_name_until_it_has_phrases(people, project):
    label = make_label(people["editor"], project, name=" red   car ")

    assert (label["name"], label["prompts"], label["number"]) == ("red car", ["red car"], 1)


def test_what_was_annotated_is_read_as_it_was_made(people, ann, project, video, car):
    (made,) = annotate(ann, project, box(video, car, 1_000_000))

    assert window(people["viewer"], video) == [made]
    assert (made["box"], made["state"], made["source"], made["area_px"]) == (BOX, "accepted", "human", 27648)
    assert ann.get(f"/v1/annotations/{made['id']}").json() == made
