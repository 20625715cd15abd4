"""Thresholds over HTTP: learnt from people's words alone, and used where a project asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from argus_ray.thresholds import auto_accept_after
from tests.review_room import SECOND, House, Room, house


@pytest.fixture(scope="module")
def a_house(postgres, s3) -> Iterator[House]:
    with house(postgres, s3) as made:
        yield made


@pytest.fixture
def room(a_house) -> Room:
    return a_house.room()


def type_of(answer: httpx.Response) -> str:
    return answer.json()["type"].rpartition("/")[2]


# -- thresholds ------------------------------------------------------------------------------------


def learn(room: Room) -> dict[str, Any]:
    items = room.call("ed", "thresholds:learn").raise_for_status().json()["items"]
    return items[0] if items else {}


def test_a_threshold_is_learnt_kept_and_shown_by_model(room):
    video = room.video(1)
    (other,) = room.library.sql("select register_weights('sam3', 'demo:sam3', 'def', 128, null) as number")
    (model,) = room.library.sql("select id from models where number = %s", other["number"])
    room.judge(video, [(0.6 + i / 400, True) for i in range(120)] + [(0.1 + i / 400, False) for i in range(120)])
    room.judge(video, [(0.9, True)] * 5 + [(0.8, False)] * 5, model_id=model["id"])

    items = room.call("ed", "thresholds:learn").json()["items"]
    by_model = {item["model_id"]: item for item in items}
    mine, others = by_model[str(room.model_id)], by_model[str(model["id"])]

    assert (mine["accepted"], mine["rejected"], mine["missing"], mine["target"]) == (120, 120, 0, 0.95)
    assert 0.59 <= mine["threshold"] <= 0.75
    assert mine["bound"] > 0.95
    assert (others["threshold"], others["missing"], others["accepted"]) == (None, 59 - 10, 5)
    listed = room.people["vic"].get(f"/v1/projects/{room.project_id}/thresholds").json()["items"]
    assert {item["model_id"]: item["threshold"] for item in listed} == {
        str(room.model_id): mine["threshold"], str(model["id"]): None
    }  # fmt: skip
    (label,) = room.library.sql("select threshold, learnt, version from labels where id = %s", room.label_id)
    assert label["threshold"] is None
    assert label["learnt"]["models"][str(room.model_id)]["threshold"] == mine["threshold"]

    learn(room)  # nothing new was said, and nothing changes
    assert room.library.sql("select version from labels where id = %s", room.label_id)[0]["version"] == label["version"]


def test_a_correction_counts_by_what_is_left_of_the_models_word(room):
    video = room.video(1)
    dog = room.label("dog")
    moved, gone, relabelled, deleted, kept = (room.propose(video, 0, 0.5) for _ in range(5))
    room.say("accepted", moved, change=", source = 'human', x = 0.12")
    room.say("accepted", gone, change=", source = 'human', x = 0.7")
    room.say("accepted", relabelled, change=f", source = 'human', label_id = '{dog}'")
    room.say("proposed", deleted, change=", deleted_at = now()")
    room.say("accepted", kept)

    learnt = learn(room)

    assert (learnt["accepted"], learnt["rejected"]) == (2, 3)
    assert learnt["label_id"] == str(room.label_id)


def test_a_track_that_a_person_gives_another_label_says_that_the_model_was_wrong(room):
    video = room.video(5)
    dog = room.label("dog")
    track = room.track(video, 0, 4 * SECOND)
    path = f"/v1/tracks/{track}"
    room.people["ann"].patch(path, json={"label_id": str(dog)}, headers={"If-Match": "*"}).raise_for_status()

    learnt = learn(room)

    assert (learnt["label_id"], learnt["accepted"], learnt["rejected"]) == (str(room.label_id), 0, 1)


def test_a_label_that_was_merged_teaches_the_one_it_went_into(room):
    video = room.video(1)
    bus = room.label("bus")
    kept, moved = room.propose(video, 0), room.propose(video, 0)
    room.say("accepted", kept)
    room.say("accepted", moved, change=", source = 'human', x = 0.12")
    merge = {"into": str(bus)}
    room.people["ed"].post(f"/v1/labels/{room.label_id}:merge", json=merge).raise_for_status()

    learnt = learn(room)

    assert (learnt["label_id"], learnt["accepted"], learnt["rejected"]) == (str(bus), 2, 0)


def test_a_track_is_one_trial(room):
    video = room.video(20)
    room.track(video, 0, 19 * SECOND)
    room.call(
        "ann", "review:accept", item={"video_id": str(video), "pts_us": 0, "end_us": 20 * SECOND}
    ).raise_for_status()

    learnt = learn(room)

    assert (learnt["accepted"], learnt["rejected"], learnt["missing"]) == (1, 0, 58)


def enable(room: Room, precision: float = 0.95) -> None:
    settings = {"auto_accept": {"enabled": True, "precision": precision}, "theme": "dark"}
    room.people["olga"].patch(
        f"/v1/projects/{room.project_id}", json={"settings": settings}, headers={"If-Match": "*"}
    ).raise_for_status()


def test_what_reaches_the_threshold_is_accepted_where_the_project_asks_for_it(room):
    video = room.video(10)
    room.judge(video, [(0.8 + i / 1000, True) for i in range(100)] + [(0.3 + i / 1000, False) for i in range(100)])
    high, low = room.propose(video, 0, 0.95), room.propose(video, 0, 0.4)
    denied = room.propose(video, SECOND, 0.95)
    room.library.sql(
        "insert into verdicts (project_id, video_id, pts_us, label_id, verdict) values (%s, %s, %s, %s, 'exhaustive_absent')",
        room.project_id, video, SECOND, room.label_id,
    )  # fmt: skip
    sure, unsure = room.track(video, 2 * SECOND, 5 * SECOND, 0.95), room.track(video, 2 * SECOND, 5 * SECOND, 0.5)

    off = room.call("ed", "annotations:auto-accept")
    assert (off.status_code, type_of(off)) == (409, "conflict")
    assert "auto_accept" in off.json()["detail"]

    enable(room)
    dry = room.call("ed", "annotations:auto-accept", dry_run=True).json()
    assert room.annotation(high)["state"] == "proposed"
    assert room.library.sql("select learnt from labels where id = %s", room.label_id) == [{"learnt": None}]
    done = room.call("ed", "annotations:auto-accept").json()

    assert (dry["dry_run"], dry["annotations"]) == (True, 5)
    assert (done["dry_run"], done["annotations"], done["tracks"]) == (False, 5, 1)
    assert done["labels"] == dry["labels"]
    row = room.annotation(high)
    assert (row["state"], row["reviewed_by"], row["version"]) == ("accepted", "auto", 2)
    assert room.annotation(low)["state"] == room.annotation(denied)["state"] == "proposed"
    states = {row["id"]: row["state"] for row in room.library.sql("select id, state from tracks")}
    assert (states[sure], states[unsure]) == ("accepted", "proposed")


def test_neither_what_was_accepted_by_itself_nor_what_a_key_said_teaches_anything_until_a_person_says_so(room):
    video = room.video(1)
    room.judge(video, [(0.8 + i / 1000, True) for i in range(100)])
    by_itself = [room.propose(video, 0, 0.95) for _ in range(40)]
    enable(room)
    assert room.call("ed", "annotations:auto-accept").json()["annotations"] == 40

    learnt = learn(room)
    room.say("rejected", by_itself[0])
    room.library.sql(
        "update annotations set reviewed_by = 'key:nightly', state = 'rejected' where id = %s", by_itself[1]
    )
    said = learn(room)

    assert (learnt["accepted"], learnt["rejected"]) == (100, 0)
    assert (said["accepted"], said["rejected"]) == (100, 1)


def test_a_worker_does_the_same_at_the_end_of_a_job(room):
    video = room.video(1)
    room.judge(video, [(0.8 + i / 1000, True) for i in range(100)])
    one = room.propose(video, 0, 0.95)

    def work() -> Any:
        with room.library.worker.transaction() as tx:
            return auto_accept_after(tx, room.project_id)

    assert work() is None
    enable(room)
    assert work().annotations == 1
    row = room.annotation(one)
    assert (row["state"], row["reviewed_by"], row["version"]) == ("accepted", "auto", 2)
    assert learn(room)["accepted"] == 100


@pytest.mark.parametrize(
    "wrong", [True, {"enabled": "perhaps"}, {"precision": 1}, {"recall": 0.9}, {"precision": "NaN"}]
)
def test_a_project_cannot_ask_for_auto_accept_in_a_way_that_is_not_understood(room, wrong):
    refused = room.people["olga"].patch(
        f"/v1/projects/{room.project_id}", json={"settings": {"auto_accept": wrong}}, headers={"If-Match": "*"}
    )

    assert (refused.status_code, type_of(refused)) == (422, "invalid-request")
    assert "auto_accept" in refused.text


def test_a_higher_target_gives_a_higher_threshold_or_none(room):
    video = room.video(1)
    random = np.random.default_rng(7)
    scores = random.random(400)
    accepted = random.random(400) < 0.4 + 0.6 * scores
    room.judge(video, [(float(score), bool(good)) for score, good in zip(scores, accepted, strict=True)])

    def at(precision: float) -> float | None:
        enable(room, precision)
        return learn(room)["threshold"]

    lower, higher, highest = at(0.5), at(0.8), at(0.999)

    assert lower is not None
    assert higher is not None
    assert lower < higher
    assert highest is None
