"""Labels, annotations and tracks over HTTP, with people of every role."""

from __future__ import annotations

from functools import partial
from uuid import UUID, uuid4

import httpx
import numpy as np
import pytest

from argus_ray import rle
from argus_ray.catalog import annotations as annotations_of
from argus_ray.catalog import arriving
from argus_ray.catalog.arriving import Arriving, Asked
from tests.library import at_once, library

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


@pytest.fixture(scope="module")
def project(place, people) -> UUID:
    return place.project(people["owner"], **{role: people[role] for role in ("editor", "annotator", "viewer")})


@pytest.fixture
def new_project(place, people) -> UUID:
    """One without labels."""
    return place.project(people["owner"], editor=people["editor"], viewer=people["viewer"])


@pytest.fixture
def video(place, project) -> str:
    """A ready video of 640 x 360 and ten seconds, with a frame each second."""
    (row,) = place.sql(
        "insert into videos (project_id, name, state, size_bytes, width, height, duration_us, start_us)"
        " values (%s, 'v', 'ready', 1, 640, 360, 10000000, 0) returning id", project,
    )  # fmt: skip
    place.sql(
        "insert into frames (project_id, video_id, pts_us, id, job_id, segment_number, width, height, size_bytes, why)"
        " select %s, %s, n * 1000000, uuid_v7(), uuid_v7(), 0, 640, 360, 1, 'fps' from generate_series(0, 9) n",
        project, row["id"],
    )  # fmt: skip
    return str(row["id"])


@pytest.fixture
def car(people, project) -> dict:
    return make_label(people["editor"], project, name=f"red car {uuid4().hex}")


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


def make_track(client, video, label, *times_us, **more) -> dict:
    """Its box moves to the right by a hundredth each second."""
    keyframes = [{"pts_us": t, "box": {**BOX, "x": BOX["x"] + t / 1e8}} for t in times_us]
    answer = client.post(f"/v1/videos/{video}/tracks", json={"label_id": label["id"], "keyframes": keyframes, **more})
    assert answer.status_code == 201, answer.text
    return answer.json()


def times(client, video, track) -> list[int]:
    return [one["pts_us"] for one in window(client, video, track_id=track["id"])]


def span(client, track) -> tuple[int, int, int]:
    now = client.get(f"/v1/tracks/{track['id']}").raise_for_status().json()
    return now["start_us"], now["end_us"], now["keyframes"]


# -- labels ----------------------------------------------------------------------------------------


def test_a_label_is_asked_for_by_its_name_until_it_has_phrases(people, new_project):
    label = make_label(people["editor"], new_project, name=" red   car ")

    assert (label["name"], label["prompts"], label["number"]) == ("red car", ["red car"], 1)


def test_labels_get_colours_that_differ_and_numbers_that_are_never_used_again(people, new_project):
    made = [make_label(people["editor"], new_project, name=f"{n}") for n in range(20)]

    assert len({label["colour"] for label in made[:16]}) == 16
    assert [label["number"] for label in made] == list(range(1, 21))


def test_a_name_is_one_labels_in_any_case_until_that_is_archived(people, new_project):
    car = make_label(people["editor"], new_project, name="red car")
    path = f"/v1/projects/{new_project}/labels"

    taken = people["editor"].post(path, json={"name": "RED Car"})
    assert problem(taken) == (409, "conflict")
    assert "label of the name 'RED Car' already" in taken.json()["detail"]

    assert people["editor"].post(f"/v1/labels/{car['id']}:archive").json()["archived_at"]
    assert people["editor"].post(path, json={"name": "RED Car"}).status_code == 201
    assert people["editor"].post(f"/v1/labels/{car['id']}:unarchive").status_code == 409


@pytest.mark.parametrize(
    "new",
    [
        {"name": ""}, {"name": " "}, {"name": "a\x00"}, {"name": "a", "prompts": []}, {"name": "a", "prompts": ["x" * 10_000]},
        {"name": "a", "colour": "red"}, {"name": "a", "names": {"Deutsch!": "x"}}, {"name": "a", "prompts": [" "]},
        {"name": "a", "attributes": [{"name": "k", "kind": "select"}]}, {"name": "a", "number": 7},
        {"name": "a", "attributes": [{"name": "k", "kind": "text"}, {"name": "k", "kind": "text"}]},
        {"name": "a", "attributes": [{"name": "k", "kind": "number", "min": 2, "max": 1}]},
    ],
)  # fmt: skip
def test_a_label_that_cannot_be_is_not_made(people, new_project, new):
    assert problem(people["editor"].post(f"/v1/projects/{new_project}/labels", json=new)) == (422, "invalid-request")
    assert people["editor"].get(f"/v1/projects/{new_project}/labels").json()["items"] == []


def test_labels_are_found_by_any_of_their_names(people, new_project):
    car = make_label(people["editor"], new_project, name="red car")
    made = make_label(people["editor"], new_project, name="helmet", names={"de": "Schutzhelm"}, prompts=["hard hat"])
    path = f"/v1/projects/{new_project}/labels"

    assert [label["id"] for label in people["viewer"].get(path, params={"name": "schutz"}).json()["items"]] == [
        made["id"]
    ]
    people["editor"].post(f"/v1/labels/{car['id']}:archive").raise_for_status()
    assert [label["name"] for label in people["viewer"].get(path).json()["items"]] == ["helmet"]
    assert len(people["viewer"].get(path, params={"archived": "true"}).json()["items"]) == 2


def test_a_label_is_edited_by_version_and_brought_back(people, new_project):
    car = make_label(people["editor"], new_project, name="red car")
    path, editor = f"/v1/labels/{car['id']}", people["editor"]
    assert problem(editor.patch(path, json={"name": "x"})) == (428, "precondition-required")

    changed = editor.patch(
        path, json={"name": "lorry", "threshold": 0.4, "attributes": []}, headers={"If-Match": '"1"'}
    )
    late = editor.patch(path, json={"name": "van"}, headers={"If-Match": '"1"'})
    cleared = editor.patch(path, json={"threshold": None}, headers={"If-Match": '"2"'}).json()

    assert (changed.json()["name"], changed.json()["threshold"], changed.headers["etag"]) == ("lorry", 0.4, '"2"')
    assert problem(late) == (412, "precondition-failed")
    assert late.json()["current"] == changed.json()
    assert (cleared["name"], cleared["threshold"]) == ("lorry", None)
    history = people["viewer"].get(f"{path}/history").json()["items"]
    assert [(entry["version"], entry["row"]["name"]) for entry in history] == [(2, "lorry"), (1, "red car")]
    assert history[0]["actor"].startswith("user:")
    assert editor.post(f"{path}:restore", json={"version": 1}).json()["name"] == "red car"
    assert problem(editor.post(f"{path}:restore", json={"version": 9})) == (404, "not-found")


def test_a_merge_moves_all_that_a_label_has(place, people, ann, project, video, car):
    editor = people["editor"]
    auto = make_label(editor, project, name=uuid4().hex, attributes=[{"name": "doors", "kind": "number"}])
    (single,) = annotate(ann, project, box(video, auto, 0, attributes={"doors": 4}))
    track = make_track(ann, video, auto, 6_000_000, 7_000_000)
    frames = ann.get(f"/v1/videos/{video}/frames").json()["items"]
    words = {0: ("exhaustive_present", "exhaustive_absent"), 1: ("partial", "exhaustive_present"),
             2: ("exhaustive_absent", "exhaustive_absent"), 3: ("exhaustive_absent", None)}  # fmt: skip
    for place_, both in words.items():
        for label, word in zip((auto, car), both, strict=True):
            if word:
                ann.put(
                    f"/v1/frames/{frames[place_]['id']}/verdicts/{label['id']}", json={"verdict": word}
                ).raise_for_status()

    merged = editor.post(f"/v1/labels/{auto['id']}:merge", json={"into": car["id"]})
    again = editor.post(f"/v1/labels/{auto['id']}:merge", json={"into": car["id"]})

    assert merged.status_code == 200, merged.text
    assert again.json()["id"] == car["id"]
    assert [one["name"] for one in merged.json()["attributes"]] == ["doors"]
    assert {one["label_id"] for one in window(ann, video)} == {car["id"]}
    assert ann.get(f"/v1/tracks/{track['id']}").json()["label_id"] == car["id"]
    told = ann.get(f"/v1/projects/{project}/verdicts", params={"video_id": video}).json()["items"]
    assert {v["label_id"] for v in told} == {car["id"]}
    assert [v["verdict"] for v in told] == ["exhaustive_present", "partial", "exhaustive_absent", "exhaustive_absent"]
    gone = ann.get(f"/v1/labels/{auto['id']}").json()
    assert gone["merged_into"] == car["id"]
    assert gone["archived_at"]
    refused = ann.post(f"/v1/projects/{project}/annotations", json={"annotations": [box(video, auto)]})
    assert problem(refused) == (422, "invalid-request")
    assert f"use {car['id']}" in refused.json()["detail"]
    # an annotation that is brought back has the label that its own has become
    back = ann.post(f"/v1/annotations/{single['id']}:restore", json={"version": 1})
    assert back.json()["label_id"] == car["id"]
    assert problem(editor.post(f"/v1/labels/{auto['id']}:unarchive")) == (409, "conflict")


def test_labels_that_cannot_be_merged_stay_as_they_are(place, people, project, car):
    editor, owner = people["editor"], people["owner"]
    elsewhere = make_label(owner, place.project(owner), name="x")
    merge = f"/v1/labels/{car['id']}:merge"

    assert problem(editor.post(merge, json={"into": car["id"]})) == (422, "invalid-request")
    assert problem(editor.post(merge, json={"into": str(uuid4())})) == (404, "not-found")
    assert problem(owner.post(merge, json={"into": elsewhere["id"]})) == (422, "invalid-request")
    assert editor.get(f"/v1/labels/{car['id']}").json() == car


# -- annotations -----------------------------------------------------------------------------------


def test_what_was_annotated_is_read_as_it_was_made(people, ann, project, video, car):
    (made,) = annotate(ann, project, box(video, car, 1_000_000))

    assert window(people["viewer"], video) == [made]
    assert (made["box"], made["state"], made["source"], made["area_px"]) == (BOX, "accepted", "human", 27648)
    assert made["author"].startswith("user:")
    assert ann.get(f"/v1/annotations/{made['id']}").json() == made


def test_every_shape_is_kept_with_the_box_around_it_and_its_pixels(ann, project, video, car):
    mask = np.zeros((360, 640), np.uint8)
    mask[36:72, 64:128] = 1
    ring = [[0.1, 0.1], [0.5, 0.1], [0.5, 0.5], [0.1, 0.5]]
    hole = [[0.2, 0.2], [0.3, 0.2], [0.3, 0.3], [0.2, 0.3]]
    shapes = [
        {"mask": {"size": [360, 640], "counts": rle.encode(mask).counts}},
        {"polygon": [[ring, hole], [[[0.8, 0.8], [0.9, 0.8], [0.9, 0.9]]]]},
        {"points": [[0.25, 0.5], [0.75, 0.25]]},
        {"tag": True, "end_us": 3_000_000},
    ]
    at = {"video_id": video, "label_id": car["id"], "pts_us": 0}

    made = annotate(ann, project, *({**at, **shape} for shape in shapes))

    assert [one["kind"] for one in made] == ["mask", "polygon", "points", "tag"]
    assert made[0]["box"] == pytest.approx({"x": 0.1, "y": 0.1, "w": 0.1, "h": 0.1})
    assert (made[0]["area_px"], made[0]["mask"]) == (36 * 64, shapes[0]["mask"])
    assert made[1]["polygon"] == shapes[1]["polygon"]
    assert made[1]["box"] == pytest.approx({"x": 0.1, "y": 0.1, "w": 0.8, "h": 0.8})
    assert made[1]["area_px"] == pytest.approx(0.155 * 640 * 360, rel=0.01)
    assert made[2]["box"] == pytest.approx({"x": 0.25, "y": 0.25, "w": 0.5, "h": 0.25})
    assert (made[3]["box"], made[3]["end_us"]) == (None, 3_000_000)
    assert sorted(window(ann, video), key=lambda one: one["id"]) == sorted(made, key=lambda one: one["id"])


FULL = "0" * 7
WRONG = [
    ({"box": {"x": 0.9, "y": 0, "w": 0.2, "h": 1}}, "outside of the picture"),
    ({"box": {"x": 0.1, "y": 0.1, "w": 0, "h": 0.1}}, "/annotations/0/box/w"),
    ({"box": {"x": "NaN", "y": 0, "w": 0.2, "h": 1}}, "/annotations/0/box/x"),
    ({}, "exactly one"),
    ({"box": BOX, "tag": True}, "exactly one"),
    ({"polygon": [[[[0, 0], [1, 1], [1, 0], [0, 1]]]]}, "crosses or touches itself"),
    ({"polygon": [[[[0, 0], [0.5, 0.5], [1, 1]]]]}, "covers nothing"),
    ({"polygon": [[[[0, 0], [1.5, 0.5], [1, 1]]]]}, "/annotations/0/polygon"),
    ({"polygon": [[]]}, "/annotations/0/polygon/0"),
    ({"polygon": []}, "/annotations/0/polygon"),
    ({"points": []}, "/annotations/0/points"),
    ({"mask": {"size": [360, 640], "counts": "52203"}}, "/annotations/0/mask: the mask's counts"),
    ({"mask": {"size": [10, 10], "counts": "T3"}}, "/annotations/0/mask: the mask's size is 10 x 10"),
    ({"mask": {"size": [360, 640], "counts": "\u20ac"}}, "/annotations/0/mask"),
    ({"tag": True, "end_us": 0}, "end_us"),
    ({"tag": True, "end_us": 99_000_000}, "/annotations/0/end_us"),
    ({"box": BOX, "end_us": 5}, "belongs to a tag"),
    ({"box": BOX, "outside": True}, "outside belongs to a keyframe"),
    ({"box": BOX, "pts_us": 99_000_000}, "outside of the video"),
    ({"box": BOX, "pts_us": -5}, "outside of the video"),
    ({"box": BOX, "label_id": str(UUID(int=1))}, "/annotations/0/label_id"),
    ({"box": BOX, "video_id": str(UUID(int=1))}, "/annotations/0/video_id"),
    ({"box": BOX, "track_id": str(UUID(int=1))}, "/annotations/0/track_id"),
    ({"box": BOX, "attributes": {"doors": 4}}, "no attribute 'doors'"),
    ({"box": BOX, "score": 1}, "/annotations/0/score"),
]


@pytest.mark.parametrize(("wrong", "said"), WRONG, ids=[str(n) for n in range(len(WRONG))])
def test_one_wrong_annotation_keeps_all_from_being_written_and_is_named(ann, project, video, car, wrong, said):
    first = {"video_id": video, "label_id": car["id"], "pts_us": 0, **wrong}

    refused = ann.post(f"/v1/projects/{project}/annotations", json={"annotations": [first, box(video, car)]})

    assert problem(refused) == (422, "invalid-request")
    assert said in refused.json()["detail"], refused.json()["detail"]
    assert window(ann, video) == []


def test_a_million_points_and_nan_are_refused_quickly(ann, project, video, car):
    start = f'{{"annotations": [{{"video_id": "{video}", "label_id": "{car["id"]}", "pts_us": 0, '
    path, headers = f"/v1/projects/{project}/annotations", {"content-type": "application/json"}

    many = ann.post(
        path, content=start + '"polygon": [[[' + ",".join(["[0.1,0.2]"] * 1_000_000) + "]]]}]}", headers=headers
    )
    nan = ann.post(path, content=start + '"box": {"x": NaN, "y": 0, "w": 1, "h": 1}}]}', headers=headers)

    assert problem(many) == (422, "invalid-request")
    assert "at most 10000" in many.json()["detail"]
    assert problem(nan) == (422, "invalid-request")
    assert problem(ann.post(path, json={"annotations": []})) == (422, "invalid-request")
    assert problem(ann.post(path, json={"annotations": [box(video, car)] * 1001})) == (422, "invalid-request")


def test_attributes_are_those_of_the_label(people, ann, project, video):
    label = make_label(
        people["editor"], project, name=uuid4().hex,
        attributes=[{"name": "helmet", "kind": "checkbox", "per_frame": True}, {"name": "age", "kind": "number", "min": 0}],
    )  # fmt: skip

    (made,) = annotate(ann, project, box(video, label, attributes={"helmet": True, "age": 30}))
    path = f"/v1/annotations/{made['id']}"

    assert made["attributes"] == {"helmet": True, "age": 30}
    for wrong in ({"helmet": "yes"}, {"age": -1}, {"age": True}, {"shoes": 1}):
        assert problem(ann.patch(path, json={"attributes": wrong}, headers=ANY)) == (422, "invalid-request")
    assert ann.patch(path, json={"attributes": {"age": 31}}, headers=ANY).json()["attributes"] == {"age": 31}


def test_labels_videos_and_tracks_of_another_project_are_not_there(place, people, ann, project, video, car):
    owner = people["owner"]
    other = place.project(owner)
    label = make_label(owner, other, name="theirs")

    mixed = owner.post(f"/v1/projects/{project}/annotations", json={"annotations": [box(video, label)]})
    elsewhere = owner.post(f"/v1/projects/{other}/annotations", json={"annotations": [box(video, label)]})

    assert problem(mixed) == problem(elsewhere) == (422, "invalid-request")


def test_an_annotation_is_corrected_deleted_and_brought_back(ann, people, project, video, car):
    (made,) = annotate(ann, project, box(video, car))
    path = f"/v1/annotations/{made['id']}"
    smaller = {**BOX, "w": 0.1}
    assert problem(ann.patch(path, json={"box": smaller})) == (428, "precondition-required")
    assert problem(ann.delete(path)) == (428, "precondition-required")

    corrected = ann.patch(path, json={"box": smaller}, headers={"If-Match": '"1"'})
    late = ann.patch(path, json={"occluded": True}, headers={"If-Match": '"1"'})
    assert (corrected.json()["box"], corrected.headers["etag"]) == (smaller, '"2"')
    assert (problem(late), late.json()["current"]) == ((412, "precondition-failed"), corrected.json())
    assert ann.delete(path, headers={"If-Match": '"1"'}).status_code == 412
    assert ann.delete(path, headers={"If-Match": '"2"'}).status_code == 204
    assert (ann.get(path).status_code, window(ann, video)) == (404, [])
    assert ann.patch(path, json={"occluded": True}, headers=ANY).status_code == 404
    assert ann.delete(path, headers=ANY).status_code == 404

    history = people["viewer"].get(f"{path}/history").json()["items"]
    back = ann.post(f"{path}:restore", json={"version": 1})

    assert [(entry["version"], entry["row"]["w"]) for entry in history] == [(2, 0.1), (1, 0.3)]
    assert (back.json()["box"], back.json()["version"]) == (BOX, 4)
    assert window(ann, video) == [back.json()]
    assert problem(ann.post(f"{path}:restore", json={"version": 77})) == (404, "not-found")


def test_a_change_that_cannot_be_changes_nothing(ann, people, project, video, car):
    (made,) = annotate(ann, project, box(video, car))
    path = f"/v1/annotations/{made['id']}"
    archived = make_label(people["editor"], project, name=uuid4().hex)
    people["editor"].post(f"/v1/labels/{archived['id']}:archive").raise_for_status()

    for wrong in (
        {"box": BOX, "points": [[0, 0]]}, {"polygon": [[[[0, 0], [1, 1], [1, 0], [0, 1]]]]}, {"end_us": 5}, {"outside": True},
        {"label_id": str(uuid4())}, {"label_id": archived["id"]}, {"reason": "x"}, {"state": "accepted", "reason": "x"},
        {"source": "model"}, {"score": 0.5}, {"pts_us": 1}, {"state": "gone"},
    ):  # fmt: skip
        assert problem(ann.patch(path, json=wrong, headers=ANY)) == (422, "invalid-request"), wrong
    assert ann.get(path).json() == made


def test_of_two_who_change_one_version_one_does_and_the_other_sees_what(people, project, video, car):
    clients = [people["annotator"], people["editor"], people["owner"]]
    (made,) = annotate(clients[0], project, box(video, car))
    path, seen = f"/v1/annotations/{made['id']}", {"If-Match": '"1"'}

    answers = at_once(*(
        partial(client.patch, path, json={"box": {**BOX, "w": 0.01 * (n + 1)}}, headers=seen) for n, client in enumerate(clients)
    ))  # fmt: skip

    assert sorted(answer.status_code for answer in answers) == [200, 412, 412]
    won = next(answer.json() for answer in answers if answer.status_code == 200)
    assert [answer.json()["current"] for answer in answers if answer.status_code == 412] == [won, won]
    assert clients[0].get(path).json() == won


def test_a_request_that_is_sent_again_annotates_once(ann, project, video, car):
    path, key = f"/v1/projects/{project}/annotations", {"Idempotency-Key": uuid4().hex}

    first, second = (ann.post(path, json={"annotations": [box(video, car)]}, headers=key) for _ in range(2))

    assert first.json() == second.json()
    assert len(window(ann, video)) == 1


def test_an_id_of_ones_own_is_taken_once(ann, project, video, car):
    own = str(uuid4())
    annotate(ann, project, box(video, car, id=own))

    taken = ann.post(
        f"/v1/projects/{project}/annotations", json={"annotations": [box(video, car), box(video, car, id=own)]}
    )

    assert problem(taken) == (409, "conflict")
    assert len(window(ann, video)) == 1


# -- windows ---------------------------------------------------------------------------------------


def test_a_window_holds_what_lies_in_it_and_tags_that_last_into_it(ann, project, video, car):
    tag = {"video_id": video, "label_id": car["id"], "pts_us": 0, "tag": True, "end_us": 3_000_000}
    made = annotate(ann, project, tag, *(box(video, car, n * 1_000_000) for n in range(5)))

    def found(**params) -> list[int]:
        return [made.index(one) for one in window(ann, video, **params)]

    assert found(from_us=1_000_000, to_us=3_000_000) == [0, 2, 3]
    assert found(from_us=1_000_000, to_us=3_000_000, limit=1) == [0, 2, 3]
    assert found(from_us=3_000_000) == [4, 5]
    assert found(at_us=2_000_000) == [0, 3]
    assert found(limit=2) == found()
    assert found(state="proposed") == []
    assert found(label_id=str(uuid4())) == []
    refused = ann.get(f"/v1/videos/{video}/annotations", params={"at_us": 1, "to_us": 2})
    assert problem(refused) == (422, "invalid-request")


# -- tracks ----------------------------------------------------------------------------------------


def test_a_track_lasts_from_its_first_to_its_last_keyframe_whatever_becomes_of_them(ann, project, video, car):
    track = make_track(ann, video, car, 3_000_000, 1_000_000)
    assert (track["start_us"], track["end_us"], track["keyframes"], track["number"]) == (1_000_000, 3_000_000, 2, 1)
    assert make_track(ann, video, car, 0)["number"] == 2

    (more,) = annotate(ann, project, box(video, car, 5_000_000, track_id=track["id"]))
    assert span(ann, track) == (1_000_000, 5_000_000, 3)
    ann.delete(f"/v1/annotations/{more['id']}", headers=ANY).raise_for_status()
    assert span(ann, track) == (1_000_000, 3_000_000, 2)
    ann.post(f"/v1/annotations/{more['id']}:restore", json={"version": 1}).raise_for_status()
    assert span(ann, track) == (1_000_000, 5_000_000, 3)
    assert ann.get(f"/v1/tracks/{track['id']}").json()["version"] == 1


def test_two_who_add_keyframes_at_once_are_both_counted(people, project, video, car):
    track = make_track(people["annotator"], video, car, 0)
    clients = [people["annotator"], people["editor"], people["owner"]]

    at_once(*(
        partial(annotate, client, project, box(video, car, 1_000_000 * (n + 1), track_id=track["id"]))
        for n, client in enumerate(clients)
    ))  # fmt: skip

    assert span(clients[0], track) == (0, 3_000_000, 4)


def test_a_track_has_one_keyframe_at_a_time(ann, project, video, car):
    track = make_track(ann, video, car, 0, 1_000_000)
    path = f"/v1/projects/{project}/annotations"
    keyframe = box(video, car, 2_000_000, track_id=track["id"])
    twice = [{"pts_us": 5, "box": BOX}, {"pts_us": 5, "box": BOX}]

    together = ann.post(path, json={"annotations": [keyframe, keyframe]})
    taken = ann.post(path, json={"annotations": [box(video, car, 0, track_id=track["id"])]})
    made = ann.post(f"/v1/videos/{video}/tracks", json={"label_id": car["id"], "keyframes": twice})

    assert (problem(together), problem(made)) == ((422, "invalid-request"), (422, "invalid-request"))
    assert "two keyframes of one track at 2000000 us" in together.json()["detail"]
    assert problem(taken) == (409, "conflict")
    assert "has a keyframe at that time already" in taken.json()["detail"]
    assert span(ann, track) == (0, 1_000_000, 2)


def test_keyframes_have_the_label_of_their_track_and_follow_it(people, ann, project, video, car):
    van = make_label(people["editor"], project, name=uuid4().hex)
    track = make_track(ann, video, car, 0, 1_000_000)
    wrong = ann.post(
        f"/v1/projects/{project}/annotations", json={"annotations": [box(video, van, 2, track_id=track["id"])]}
    )
    (first, _) = window(ann, video)

    assert problem(wrong) == (422, "invalid-request")
    relabelled = ann.patch(f"/v1/annotations/{first['id']}", json={"label_id": van["id"]}, headers=ANY)
    assert problem(relabelled) == (409, "conflict")
    changed = ann.patch(f"/v1/tracks/{track['id']}", json={"label_id": van["id"]}, headers={"If-Match": '"1"'})
    assert (changed.json()["label_id"], changed.json()["version"]) == (van["id"], 2)
    assert [(one["label_id"], one["version"]) for one in window(ann, video)] == [(van["id"], 2)] * 2


def test_attributes_of_a_track_and_of_its_keyframes_stand_where_they_belong(people, ann, project, video):
    label = make_label(
        people["editor"], project, name=uuid4().hex,
        attributes=[{"name": "pose", "kind": "text", "per_frame": True}, {"name": "sex", "kind": "text"}],
    )  # fmt: skip
    keyframe = {"pts_us": 0, "box": BOX, "attributes": {"pose": "sits"}}
    path = f"/v1/videos/{video}/tracks"

    made = ann.post(path, json={"label_id": label["id"], "attributes": {"sex": "f"}, "keyframes": [keyframe]}).json()
    wrong = ann.post(path, json={"label_id": label["id"], "attributes": {"pose": "sits"}, "keyframes": [keyframe]})

    assert made["attributes"] == {"sex": "f"}
    assert problem(wrong) == (422, "invalid-request")
    keyframe["attributes"] = {"sex": "f"}
    assert problem(ann.post(path, json={"label_id": label["id"], "keyframes": [keyframe]})) == (422, "invalid-request")


def test_a_deleted_track_takes_its_keyframes_along_and_brings_them_back(ann, project, video, car):
    track = make_track(ann, video, car, 0, 1_000_000, 2_000_000)
    path = f"/v1/tracks/{track['id']}"
    last = window(ann, video)[-1]
    ann.delete(f"/v1/annotations/{last['id']}", headers=ANY).raise_for_status()

    assert problem(ann.delete(path)) == (428, "precondition-required")
    assert ann.delete(path, headers={"If-Match": '"1"'}).status_code == 204
    assert (ann.get(path).status_code, window(ann, video)) == (404, [])
    keyframe = ann.post(f"/v1/annotations/{last['id']}:restore", json={"version": 1})
    assert problem(keyframe) == (409, "conflict")
    assert ann.post(f"{path}:restore", json={"version": 1}).status_code == 200
    assert times(ann, video, track) == [0, 1_000_000]
    assert [entry["version"] for entry in ann.get(f"{path}/history").json()["items"]] == [2, 1]


def test_a_track_is_judged_with_the_keyframes_that_nobody_judged_apart(ann, project, video, car):
    track = make_track(ann, video, car, 0, 1_000_000)
    first, _ = window(ann, video)
    ann.patch(
        f"/v1/annotations/{first['id']}", json={"state": "rejected", "reason": "gone"}, headers=ANY
    ).raise_for_status()
    path = f"/v1/tracks/{track['id']}"

    rejected = ann.patch(path, json={"state": "rejected", "reason": "a shadow"}, headers=ANY).json()
    assert (rejected["state"], rejected["reason"]) == ("rejected", "a shadow")
    assert [(one["state"], one["reason"]) for one in window(ann, video)] == [
        ("rejected", "gone"),
        ("rejected", "a shadow"),
    ]


def seen(client, video, **params) -> list[tuple]:
    """Time, left edge and whether it is interpolated, of all that is to be seen."""
    items = window(client, video, interpolate=True, **params)
    return [(i["pts_us"], round(i["box"]["x"], 6), i["interpolated"]) for i in items if not i["outside"]]


def test_a_track_is_seen_between_its_keyframes_at_the_times_of_frames(ann, project, video, car):
    track = make_track(ann, video, car, 1_000_000, 5_000_000)

    assert seen(ann, video) == [
        (1_000_000, 0.11, False), (2_000_000, 0.12, True), (3_000_000, 0.13, True), (4_000_000, 0.14, True),
        (5_000_000, 0.15, False),
    ]  # fmt: skip
    assert seen(ann, video, limit=1) == seen(ann, video, limit=2) == seen(ann, video)
    # the keyframes lie outside of the window, and the track does not
    assert seen(ann, video, from_us=2_000_000, to_us=4_000_000) == [(2_000_000, 0.12, True), (3_000_000, 0.13, True)]
    assert seen(ann, video, at_us=2_500_000) == [(2_500_000, 0.125, True)]
    assert seen(ann, video, from_us=6_000_000) == seen(ann, video, to_us=1_000_000) == []
    assert window(ann, video, at_us=2_500_000) == []
    (shown,) = window(ann, video, at_us=2_500_000, interpolate=True)
    assert (shown["id"], shown["track_id"], shown["label_id"], shown["kind"]) == (None, track["id"], car["id"], "box")
    page = ann.get(f"/v1/videos/{video}/annotations", params={"at_us": 2_500_000, "interpolate": True}).json()
    assert [one["id"] for one in page["tracks"]] == [track["id"]]


def test_pages_of_many_tracks_show_each_at_each_time_once(ann, project, video, car):
    for first in range(4):
        make_track(ann, video, car, first * 1_000_000, 9_000_000)
    annotate(ann, project, *(box(video, car, n * 1_000_000) for n in range(10)))

    whole = window(ann, video, interpolate=True)

    assert [one["pts_us"] for one in whole] == sorted(one["pts_us"] for one in whole)
    assert len(whole) == 10 + sum(10 - first for first in range(4))
    for limit in (1, 3, 7):
        assert window(ann, video, interpolate=True, limit=limit) == whole


def test_masks_hold_polygons_move_and_what_is_outside_is_not_seen(ann, project, video, car):
    mask = {"size": [360, 640], "counts": rle.encode(np.eye(360, 640, dtype=np.uint8)).counts}
    square = [[0.1, 0.1], [0.2, 0.1], [0.2, 0.2], [0.1, 0.2]]
    right = [[x + 0.4, y] for x, y in square]
    path = f"/v1/videos/{video}/tracks"

    def follow(*keyframes: dict) -> None:
        ann.post(path, json={"label_id": car["id"], "keyframes": keyframes}).raise_for_status()

    follow({"pts_us": 0, "mask": mask}, {"pts_us": 2_000_000, "mask": mask})
    follow({"pts_us": 0, "polygon": [[square]]}, {"pts_us": 2_000_000, "polygon": [[right]]})
    follow({"pts_us": 0, "box": BOX, "outside": True}, {"pts_us": 2_000_000, "box": BOX})

    held, moved = window(ann, video, at_us=1_000_000, interpolate=True)
    if held["kind"] == "polygon":
        held, moved = moved, held
    assert held["mask"] == mask
    assert moved["polygon"][0][0] == [pytest.approx((x + 0.2, y)) for x, y in square]
    assert moved["box"]["x"] == pytest.approx(0.3)


def test_rejected_keyframes_are_not_on_the_way(ann, project, video, car):
    track = make_track(ann, video, car, 0, 2_000_000)
    (wrong,) = annotate(ann, project, box(video, car, 1_000_000, track_id=track["id"]))
    ann.patch(
        f"/v1/annotations/{wrong['id']}", json={"state": "rejected", "reason": "no"}, headers=ANY
    ).raise_for_status()

    assert seen(ann, video, at_us=500_000) == [(500_000, 0.105, True)]


def test_a_track_that_is_split_looks_as_before_and_so_does_one_merged_again(ann, project, video, car):
    track = make_track(ann, video, car, 0, 4_000_000, 8_000_000)
    before = seen(ann, video)
    path = f"/v1/tracks/{track['id']}"

    split = ann.post(f"{path}:split", json={"at_us": 2_500_000}, headers={"If-Match": '"1"'})
    assert split.status_code == 201, split.text
    first, other = split.json()["track"], split.json()["other"]
    assert (first["start_us"], first["end_us"], other["start_us"], other["end_us"]) == (
        0,
        2_500_000,
        2_500_000,
        8_000_000,
    )
    assert [(t, x) for t, x, _ in seen(ann, video) if t != 2_500_000] == [(t, x) for t, x, _ in before]
    assert seen(ann, video, track_id=first["id"], at_us=2_400_000) == [(2_400_000, 0.124, True)]
    assert problem(ann.post(f"{path}:split", json={"at_us": 1}, headers={"If-Match": '"1"'})) == (
        412,
        "precondition-failed",
    )

    merged = ann.post(f"{path}:merge", json={"track_id": other["id"]})
    assert merged.status_code == 200, merged.text
    assert span(ann, track) == (0, 8_000_000, 4)
    assert [(t, x) for t, x, _ in seen(ann, video) if t % 1_000_000 == 0] == [(t, x) for t, x, _ in before]
    assert ann.get(f"/v1/tracks/{other['id']}").status_code == 404


@pytest.mark.parametrize("at_us", [0, 9_000_000, 8_000_001])
def test_no_track_is_split_into_nothing(ann, video, car, at_us):
    track = make_track(ann, video, car, 0, 8_000_000)

    assert problem(ann.post(f"/v1/tracks/{track['id']}:split", json={"at_us": at_us})) == (422, "invalid-request")


def test_tracks_that_are_both_seen_at_one_time_are_not_merged(ann, project, video, car):
    one, other = (make_track(ann, video, car, 0, 1_000_000) for _ in range(2))
    path = f"/v1/tracks/{one['id']}:merge"

    refused = ann.post(path, json={"track_id": other["id"]})

    assert problem(refused) == (409, "conflict")
    assert "both tracks have a keyframe at 0 us" in refused.json()["detail"]
    assert problem(ann.post(path, json={"track_id": one["id"]})) == (422, "invalid-request")
    assert problem(ann.post(path, json={"track_id": str(uuid4())})) == (422, "invalid-request")
    assert span(ann, other) == (0, 1_000_000, 2)


def test_a_track_is_ended_from_here_on(ann, video, car):
    track = make_track(ann, video, car, 0, 4_000_000, 8_000_000)
    path = f"/v1/tracks/{track['id']}:end"

    assert problem(ann.post(path, json={"at_us": 0})) == (422, "invalid-request")
    assert ann.post(path, json={"at_us": 6_000_000}).status_code == 200
    assert [t for t, _, _ in seen(ann, video)] == [0, 1_000_000, 2_000_000, 3_000_000, 4_000_000, 5_000_000]
    assert seen(ann, video)[-1] == (5_000_000, 0.15, True)


def test_a_link_is_cut_and_joined_by_a_person(place, ann, project, video, car):
    track = make_track(ann, video, car, 0, 2_000_000, 3_000_000, 5_000_000)
    for border_us in (2_000_000, 4_000_000):
        place.sql(
            "insert into track_links (project_id, video_id, track_id, border_us, iou, score) values (%s, %s, %s, %s, 0.9, 0.9)",
            project, video, track["id"], border_us,
        )  # fmt: skip
    first, second = ann.get(f"/v1/tracks/{track['id']}/links").json()["items"]

    cut = ann.post(f"/v1/track-links/{first['id']}:cut").json()
    again = ann.post(f"/v1/track-links/{first['id']}:cut").json()

    assert (cut["state"], again) == ("cut", cut)
    other = {"id": cut["other_track_id"]}
    assert (times(ann, video, track), times(ann, video, other)) == (
        [0, 2_000_000],
        [3_000_000, 5_000_000],
    )
    assert [link["id"] for link in ann.get(f"/v1/tracks/{other['id']}/links").json()["items"]] == [
        first["id"],
        second["id"],
    ]
    joined = ann.post(f"/v1/track-links/{first['id']}:join").json()
    assert (joined["state"], joined["track_id"], joined["other_track_id"]) == ("joined", track["id"], None)
    assert [t for t, _, _ in seen(ann, video, track_id=track["id"])] == [
        0,
        1_000_000,
        2_000_000,
        3_000_000,
        4_000_000,
        5_000_000,
    ]
    assert {link["track_id"] for link in ann.get(f"/v1/tracks/{track['id']}/links").json()["items"]} == {track["id"]}
    assert problem(ann.post(f"/v1/track-links/{uuid4()}:cut")) == (404, "not-found")


def test_a_track_is_tracked_again_from_a_corrected_keyframe_by_a_job(place, people, ann, project, video, car):
    track = make_track(ann, video, car, 2_000_000, 4_000_000)
    path = f"/v1/tracks/{track['id']}:retrack"
    place.sql(
        "insert into models (number, family, uri, weights_id, image_size)"
        " select coalesce(max(number), 0) + 1, 'sam3', %s, %s, 8 from models", place.settings.sam3_model, uuid4().hex,
    )  # fmt: skip

    asked = ann.post(path, json={"pts_us": 2_000_000})

    assert asked.status_code == 202, asked.text
    assert (asked.json()["kind"], asked.json()["video_id"]) == ("track", video)
    assert asked.json()["spec"] == {"kind": "retrack", "track_id": track["id"], "pts_us": 2_000_000}
    assert asked.headers["location"] == f"/v1/jobs/{asked.json()['id']}"
    assert problem(people["viewer"].post(path, json={"pts_us": 4_000_000})) == (403, "forbidden")
    assert problem(ann.post(path, json={"pts_us": 3_000_000})) == (404, "not-found")


# -- roles -----------------------------------------------------------------------------------------


def test_each_role_does_what_is_its_to_do_and_no_more(people, project, video, car):
    owner, ann, viewer, eve = (people[name] for name in ("owner", "annotator", "viewer", "eve"))
    (made,) = annotate(ann, project, box(video, car))
    track = make_track(ann, video, car, 0, 1_000_000)
    frame = ann.get(f"/v1/videos/{video}/frames").json()["items"][5]
    one, followed, label = f"/v1/annotations/{made['id']}", f"/v1/tracks/{track['id']}", f"/v1/labels/{car['id']}"
    of_project = f"/v1/projects/{project}"
    ontology = [
        ("POST", f"{of_project}/labels", {"name": uuid4().hex}),
        ("PATCH", label, {"threshold": 0.5}),
        ("POST", f"{label}:archive", None),
        ("POST", f"{label}:merge", {"into": make_label(people["editor"], project, name=uuid4().hex)["id"]}),
    ]
    annotating = [
        ("POST", f"{of_project}/annotations", {"annotations": [box(video, car)]}),
        ("PATCH", one, {"occluded": True}),
        (
            "POST",
            f"{of_project}/annotations:reject",
            {"filter": {"video_ids": [video], "state": ["accepted"]}, "reason": "x"},
        ),
        ("POST", f"/v1/videos/{video}/tracks", {"label_id": car["id"], "keyframes": [{"pts_us": 0, "box": BOX}]}),
        ("PATCH", followed, {"state": "proposed"}),
        ("POST", f"{followed}:end", {"at_us": 500_000}),
        ("PUT", f"/v1/frames/{frame['id']}/verdicts/{car['id']}", {"verdict": "partial"}),
        ("POST", f"{of_project}/verdicts", {"target": {}, "label_id": car["id"], "verdict": "partial"}),
        ("DELETE", one, None),
        ("DELETE", followed, None),
    ]

    def ask(client, method, path, body) -> int:
        return client.request(method, path, json=body, headers=ANY).status_code

    assert [ask(viewer, *asked) for asked in ontology + annotating] == [403] * len(ontology + annotating)
    assert [ask(ann, *asked) for asked in ontology] == [403] * len(ontology)
    assert {ask(eve, *asked) for asked in ontology + annotating} == {404}
    assert eve.get(one).status_code == eve.get(f"{one}/history").status_code == 404
    assert ann.get(one).json() == made
    assert {ask(ann, *asked) for asked in annotating} <= {200, 201, 204}
    assert {ask(owner, *asked) for asked in ontology} <= {200, 201}


# -- review by filter ------------------------------------------------------------------------------


def propose(place, project, video, label, scores, *, model=None) -> UUID:
    """What a job would bring: a box of each score, a second apart; the model's id."""
    if model is None:
        (row,) = place.sql(
            "insert into models (number, family, uri, weights_id, image_size)"
            " select coalesce(max(number), 0) + 1, 'sam3', 'x', %s, 8 from models returning id", uuid4().hex,
        )  # fmt: skip
        model = row["id"]
    label_id, video_id = UUID(label["id"]), UUID(video)
    found = [
        Arriving(video_id, n * 1_000_000, label_id, **BOX, kind="box", score=score) for n, score in enumerate(scores)
    ]
    asked = [Asked(video_id, n * 1_000_000, label_id, presence=0.9) for n in range(10)]
    with place.worker.transaction() as tx:
        arriving.propose(tx, project, model, None, asked, found)
    return model


def test_what_models_propose_is_accepted_and_rejected_by_filter(place, ann, project, video, car):
    propose(place, project, video, car, [0.1, 0.4, 0.6, 0.9])
    (human,) = annotate(ann, project, box(video, car))
    path, here = f"/v1/projects/{project}/annotations", {"video_ids": [video]}

    accepted = ann.post(f"{path}:accept", json={"filter": {**here, "min_score": 0.5}})
    rejected = ann.post(f"{path}:reject", json={"filter": {**here, "label_ids": [car["id"]]}, "reason": "too weak"})
    again = ann.post(f"{path}:accept", json={"filter": here})

    assert (accepted.json(), rejected.json()) == ({"annotations": 2, "tracks": 0}, {"annotations": 2, "tracks": 0})
    assert again.json() == {"annotations": 0, "tracks": 0}
    shown = {round(one["score"], 3): one for one in window(ann, video) if one["source"] == "model"}
    assert {score: one["state"] for score, one in shown.items()} == {
        0.1: "rejected", 0.4: "rejected", 0.6: "accepted", 0.9: "accepted"
    }  # fmt: skip
    assert (shown[0.1]["reason"], shown[0.1]["reviewed_by"]) == ("too weak", human["author"])
    assert shown[0.9]["reviewed_at"] > shown[0.9]["created_at"]
    assert ann.get(f"/v1/annotations/{human['id']}").json() == human
    assert problem(ann.post(f"{path}:reject", json={"filter": here})) == (422, "invalid-request")
    assert problem(ann.post(f"{path}:accept", json={"filter": {"colour": "red"}})) == (422, "invalid-request")


def test_tracks_are_accepted_with_their_keyframes_and_rejected_with_the_last(place, ann, project, video, car):
    track = make_track(ann, video, car, 0, 1_000_000)
    place.sql("update tracks set state = 'proposed' where id = %s", track["id"])
    place.sql("update annotations set state = 'proposed' where track_id = %s", track["id"])
    path, state = f"/v1/projects/{project}/annotations", lambda: ann.get(f"/v1/tracks/{track['id']}").json()["state"]

    first = {"filter": {"track_ids": [track["id"]], "to_us": 1}, "reason": "no"}
    assert ann.post(f"{path}:reject", json=first).json() == {"annotations": 1, "tracks": 0}
    assert state() == "proposed"
    assert ann.post(f"{path}:accept", json={"filter": {"track_ids": [track["id"]]}}).json() == {
        "annotations": 1,
        "tracks": 1,
    }
    assert state() == "accepted"
    rest = {"filter": {"track_ids": [track["id"]], "state": ["accepted"]}, "reason": "no"}
    assert ann.post(f"{path}:reject", json=rest).json() == {"annotations": 1, "tracks": 1}
    assert state() == "rejected"


def test_a_corrected_proposal_is_a_persons_and_an_accepted_one_is_the_models(place, ann, project, video, car):
    model = propose(place, project, video, car, [0.3, 0.4, 0.5])
    corrected, _, accepted = (f"/v1/annotations/{one['id']}" for one in window(ann, video))

    by_shape = ann.patch(corrected, json={"box": {**BOX, "w": 0.2}}, headers=ANY).json()
    by_word = ann.patch(accepted, json={"state": "accepted"}, headers=ANY).json()

    assert (by_shape["source"], by_shape["state"], by_shape["model_id"]) == ("human", "accepted", str(model))
    assert (by_word["source"], by_word["state"]) == ("model", "accepted")
    assert by_word["reviewed_by"] == by_shape["reviewed_by"] != None  # noqa: E711
    (entry,) = ann.get(f"{corrected}/history").json()["items"]
    assert (entry["row"]["source"], entry["row"]["model_id"], entry["row"]["score"]) == (
        "model",
        str(model),
        pytest.approx(0.3),
    )
    undone = ann.post(f"{corrected}:restore", json={"version": 1}).json()
    assert (undone["source"], undone["state"], undone["box"]) == ("model", "proposed", BOX)


# -- what models answer ----------------------------------------------------------------------------


def test_a_model_that_is_asked_again_takes_back_its_own_untouched_proposals_only(place, ann, project, video, car):
    model = propose(place, project, video, car, [0.1, 0.2, 0.3])
    other = propose(place, project, video, car, [0.15])
    (human,) = annotate(ann, project, box(video, car))
    mine = [one for one in window(ann, video) if one["model_id"] == str(model)]
    ann.patch(
        f"/v1/annotations/{mine[1]['id']}", json={"state": "rejected", "reason": "x"}, headers=ANY
    ).raise_for_status()

    propose(place, project, video, car, [0.7], model=model)

    left = window(ann, video)
    assert [one["id"] for one in left if one["model_id"] == str(model)] == [mine[0]["id"], mine[1]["id"]]
    assert {one["id"] for one in left} > {human["id"]}
    assert sum(one["model_id"] == str(other) for one in left) == 1
    # the one that was rejected is found again, and stays rejected
    propose(place, project, video, car, [0.7, 0.7], model=model)
    assert [one["state"] for one in window(ann, video) if one["model_id"] == str(model)] == ["proposed", "rejected"]


def test_what_a_model_answered_stands_apart_from_what_people_say(place, ann, project, video, car):
    model = propose(place, project, video, car, [0.9])
    first, *_, last = ann.get(f"/v1/videos/{video}/frames").json()["items"]

    there, empty = (ann.get(f"/v1/frames/{frame['id']}/verdicts").json() for frame in (first, last))

    assert (there["verdicts"], empty["verdicts"]) == ([], [])
    assert [(a["found"], a["model_id"], a["label_id"]) for a in there["answers"]] == [(1, str(model), car["id"])]
    assert [(a["found"], a["presence"]) for a in empty["answers"]] == [(0, pytest.approx(0.9))]


def test_what_is_proposed_for_a_merged_label_goes_to_the_one_it_went_into(place, people, ann, project, video, car):
    old = make_label(people["editor"], project, name=uuid4().hex)
    people["editor"].post(f"/v1/labels/{old['id']}:merge", json={"into": car["id"]}).raise_for_status()

    propose(place, project, video, old, [0.5])

    assert [one["label_id"] for one in window(ann, video)] == [car["id"]]


# -- verdicts --------------------------------------------------------------------------------------


def test_a_verdict_is_given_changed_and_taken_back(ann, people, project, video, car):
    frame = ann.get(f"/v1/videos/{video}/frames").json()["items"][3]
    path = f"/v1/frames/{frame['id']}/verdicts"

    given = ann.put(f"{path}/{car['id']}", json={"verdict": "partial"})
    changed = people["editor"].put(
        f"{path}/{car['id']}", json={"verdict": "exhaustive_absent"}, headers={"If-Match": '"1"'}
    )
    late = ann.put(f"{path}/{car['id']}", json={"verdict": "partial"}, headers={"If-Match": '"1"'})

    assert (given.json()["verdict"], given.json()["pts_us"], given.headers["etag"]) == ("partial", 3_000_000, '"1"')
    assert (changed.json()["verdict"], changed.json()["version"]) == ("exhaustive_absent", 2)
    assert changed.json()["author"] != given.json()["author"]
    assert (problem(late), late.json()["current"]) == ((412, "precondition-failed"), changed.json())
    assert ann.get(path).json()["verdicts"] == [changed.json()]
    assert [ann.delete(f"{path}/{car['id']}").status_code for _ in range(2)] == [204, 204]
    assert ann.get(path).json()["verdicts"] == []
    assert problem(ann.put(f"{path}/{uuid4()}", json={"verdict": "partial"})) == (422, "invalid-request")
    assert problem(ann.put(f"{path}/{car['id']}", json={"verdict": "none"})) == (422, "invalid-request")
    assert problem(ann.put(f"/v1/frames/{uuid4()}/verdicts/{car['id']}", json={"verdict": "partial"})) == (
        404,
        "not-found",
    )


def test_the_same_is_said_of_many_frames_at_once(ann, project, video, car):
    path = f"/v1/projects/{project}/verdicts"
    said = {"label_id": car["id"], "verdict": "exhaustive_absent"}

    at_times = ann.post(path, json={**said, "video_id": video, "pts_us": [0, 1_000_000, 1_000_000]})
    by_filter = ann.post(path, json={**said, "target": {"filter": {"video_ids": [video], "from_us": 5_000_000}}})
    wrong = ann.post(path, json={**said, "video_id": video, "pts_us": [2_000_000, 2_000_001]})

    assert (at_times.json(), by_filter.json()) == ({"verdicts": 2}, {"verdicts": 5})
    assert problem(wrong) == (422, "invalid-request")
    assert problem(ann.post(path, json={**said, "video_id": video})) == (422, "invalid-request")
    items, cursor = [], None
    while cursor or not items:
        page = ann.get(path, params={"video_id": video, "limit": 3, **({"cursor": cursor} if cursor else {})}).json()
        items, cursor = items + page["items"], page["next_cursor"]
    assert [one["pts_us"] for one in items] == [0, 1_000_000, *range(5_000_000, 10_000_000, 1_000_000)]


def test_nobody_says_that_what_is_seen_is_absent(ann, project, video, car):
    frames = ann.get(f"/v1/videos/{video}/frames").json()["items"]
    absent = {"verdict": "exhaustive_absent"}
    annotate(ann, project, box(video, car))
    ann.put(f"/v1/frames/{frames[1]['id']}/verdicts/{car['id']}", json=absent).raise_for_status()

    refused = ann.put(f"/v1/frames/{frames[0]['id']}/verdicts/{car['id']}", json=absent)
    annotate(ann, project, box(video, car, 1_000_000))

    assert problem(refused) == (409, "conflict")
    assert "reject or delete them first" in refused.json()["detail"]
    (word,) = ann.get(f"/v1/frames/{frames[1]['id']}/verdicts").json()["verdicts"]
    assert (word["verdict"], word["version"]) == ("partial", 2)


# -- the end of it all -----------------------------------------------------------------------------


def test_a_deleted_video_takes_all_that_was_said_of_it_along(place, people, ann, project, video, car):
    (made,) = annotate(ann, project, box(video, car))
    track = make_track(ann, video, car, 0, 1_000_000)
    ann.patch(f"/v1/annotations/{made['id']}", json={"occluded": True}, headers=ANY).raise_for_status()

    people["owner"].delete(f"/v1/videos/{video}").raise_for_status()

    assert (
        ann.get(f"/v1/annotations/{made['id']}").status_code == ann.get(f"/v1/tracks/{track['id']}").status_code == 404
    )
    assert ann.get(f"/v1/videos/{video}/annotations").status_code == 404
    for table in ("annotations", "tracks", "verdicts", "answers", "history"):
        assert place.sql(f"select from {table} where video_id = %s", video) == [], table


def test_a_window_is_read_by_its_times(place, project, video, car, people):
    place.sql(
        "insert into annotations (project_id, video_id, pts_us, label_id, kind, source, state)"
        " select %s, %s, n * 1000, %s, 'tag', 'human', 'accepted' from generate_series(0, 5000) n", project, video, car["id"],
    )  # fmt: skip
    place.sql("analyze annotations")
    statement = annotations_of.window(
        project, UUID(video), from_us=1_000_000, to_us=1_100_000, after=(1_050_000, UUID(int=0)), rows=1001
    )

    nodes = place.explain(people["viewer"].get("/v1/me").json()["user_id"], statement)

    (scan,) = (node for node in nodes if "annotations_pkey" in node.get("Index Name", ""))
    assert "pts_us" in scan["Index Cond"]
    assert scan["Actual Rows"] <= 51
    assert {node["Index Name"] for node in nodes if node.get("Relation Name") == "annotations"} == {
        "annotations_pkey", "annotations_lasting"
    }  # fmt: skip
