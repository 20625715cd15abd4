"""Review over HTTP: a queue that gives nothing twice and leaves nothing out."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import numpy as np
import pytest

from argus_ray.catalog import ranking, reviews
from argus_ray.catalog.statement import Tx
from argus_ray.schemas.review import ReviewNext
from tests.people import person_id
from tests.review_room import DIM, SECOND, House, Room, house


@pytest.fixture(scope="module")
def a_house(postgres, s3) -> Iterator[House]:
    with house(postgres, s3) as made:
        yield made


@pytest.fixture
def room(a_house) -> Room:
    return a_house.room()


def times(items: Sequence[dict[str, Any]]) -> list[int]:
    return [item["pts_us"] // SECOND for item in items]


def type_of(answer: httpx.Response) -> str:
    return answer.json()["type"].rpartition("/")[2]


# -- taking ----------------------------------------------------------------------------------------


def test_the_most_doubtful_come_first_and_say_why(room):
    video = room.video(8)
    for second, score in enumerate((0.95, 0.52, 0.3, 0.75)):
        room.propose(video, second * SECOND, score)
    room.propose(video, 3 * SECOND, 0.99)
    room.answer(video, 4 * SECOND, found=0, presence=0.9)
    room.answer(video, 5 * SECOND, found=0, presence=0.1)
    room.answer(video, 0, found=1, presence=0.2)

    items = room.next(count=50)

    assert times(items) == [1, 4, 0, 2, 3]
    assert items[0]["why"]["from_threshold"] == pytest.approx(0.02)
    assert items[0]["why"]["uncertainty"] == pytest.approx(0.96)
    assert items[1]["why"]["disagreement"] == pytest.approx(0.9)
    assert items[2]["why"]["uncertainty"] == pytest.approx(0.8)
    assert items[1]["proposals"] == []
    assert len(items[4]["proposals"]) == 2
    assert all(item["assignee"] == f"user:{person_id('ann@example.org')}" for item in items)
    (frame,) = [
        one for one in room.people["ann"].get(f"/v1/videos/{video}/frames").json()["items"] if one["pts_us"] == SECOND
    ]
    assert items[0]["frame_id"] == frame["id"]


def test_a_learnt_threshold_says_what_is_doubtful(room):
    video = room.video(2)
    room.propose(video, 0, 0.5)
    room.propose(video, SECOND, 0.79)
    room.library.sql(
        "update labels set threshold = 0.1, learnt = %s where id = %s",
        json.dumps({"models": {str(room.model_id): {"threshold": 0.8}}}), room.label_id,
    )  # fmt: skip

    assert times(room.next(count=2)) == [1, 0]


def test_the_first_items_are_the_same_when_only_the_nearest_scores_are_looked_at(room):
    video = room.video(60)
    dog = room.label("dog")
    room.library.sql("update labels set threshold = 0.7 where id = %s", dog)
    random = np.random.default_rng(5)
    for second, score in zip(random.integers(60, size=150), random.random(150), strict=True):
        room.propose(video, int(second) * SECOND, float(score), label_id=random.choice([room.label_id, dog]))
    asked = ReviewNext()

    with room.acting("ann") as connection:
        tx = Tx(connection)
        whole = tx.all(ranking.by_uncertainty(room.project_id, asked, 20))
        nearest = tx.all(ranking.by_uncertainty(room.project_id, asked, 20, nearest=20))
        few = tx.all(ranking.by_uncertainty(room.project_id, asked, 20, nearest=1))

    assert nearest == whole
    assert len(few) <= 4


def test_the_nearest_scores_are_found_by_an_index_under_row_level_security(room):
    video = room.video(1)
    room.library.sql(
        "insert into annotations (project_id, video_id, pts_us, label_id, kind, source, state, model_id, score)"
        " select %s, %s, 0, %s, 'tag', 'model', 'proposed', %s, random() from generate_series(1, 3000)",
        room.project_id, video, room.label_id, room.model_id,
    )  # fmt: skip
    room.library.sql("analyze annotations")

    ranked = ranking.by_uncertainty(room.project_id, ReviewNext(), 20, nearest=10)
    nodes = room.library.explain(str(person_id("ann@example.org")), ranked)

    scans = [
        node for node in nodes if node.get("Relation Name") == "annotations" and "score" in node.get("Index Cond", "")
    ]
    assert [(scan["Index Name"], scan["Actual Rows"]) for scan in scans] == [("annotations_doubtful", 10)] * 2


def test_breaks_of_tracks_amid_picture_and_video_are_doubtful(room):
    video = room.video(10)
    room.track(video, 0, 4 * SECOND, score=1.0)
    room.track(video, 6 * SECOND, 7 * SECOND, score=1.0, x=0.0)  # it came in at the left edge
    weak = room.track(video, 8 * SECOND, 9 * SECOND, score=1.0, x=0.0)
    room.library.sql(
        "insert into track_links (project_id, video_id, track_id, border_us, score) values (%s, %s, %s, %s, 0.1)",
        room.project_id, video, weak, 8 * SECOND + 1,
    )  # fmt: skip

    first, second, *rest = room.next(count=10)

    assert (first["pts_us"], first["why"]["link_score"]) == (9 * SECOND, pytest.approx(0.1))
    assert (second["pts_us"], second["why"]["track_break"]) == (4 * SECOND, True)
    assert all(item["why"]["track_break"] is None for item in rest)


def test_the_oldest_come_first_by_age_and_segments_hold_what_is_in_them(room):
    video = room.video(31)
    for second, age in ((25, 3), (12, 2), (19, 1), (5, 1)):
        one = room.propose(video, second * SECOND)
        room.library.sql("update annotations set created_at = now() - %s * interval '1 h' where id = %s", age, one)

    items = room.next(order="age", unit="segment")

    assert [(item["pts_us"] // SECOND, item["end_us"] // SECOND) for item in items] == [(20, 30), (10, 20), (0, 10)]
    assert [len(item["proposals"]) for item in items] == [1, 2, 1]
    assert items[0]["why"]["waiting_since"] < items[1]["why"]["waiting_since"]


def test_labels_and_videos_narrow_the_queue(room):
    one, other = room.video(2), room.video(2)
    dog = room.label("dog")
    room.propose(one, 0)
    room.propose(one, SECOND, label_id=dog)
    room.propose(other, 0, label_id=dog)

    (item,) = room.next(label_ids=[str(dog)], video_ids=[str(one)])

    assert item["pts_us"] == SECOND
    assert room.call("ann", "review:next", label_ids=[str(room.project_id)]).status_code == 404


def test_nothing_is_given_of_a_video_that_is_not_ready(room):
    video = room.video(1)
    room.propose(video, 0)
    room.library.sql("update videos set state = 'processing' where id = %s", video)

    assert room.next() == room.next(order="age") == []


@pytest.mark.parametrize("order", ["uncertainty", "age", "diversity"])
def test_many_who_take_at_once_get_different_items_and_nothing_is_left_out(room, order):
    random = np.random.default_rng(0)
    vectors = random.normal(size=(64, DIM)).astype(np.float32)
    video = room.video(64, list(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)))
    for second in range(64):
        room.propose(video, second * SECOND, float(random.random()))

    def take(who: int) -> list[int]:
        """Until there is no more."""
        with room.library.person(("ann", "bob", "ed", "olga")[who % 4] + "@example.org") as client:
            mine: list[int] = []
            while True:
                answer = client.post(f"/v1/projects/{room.project_id}/review:next", json={"order": order, "count": 3})
                items = answer.raise_for_status().json()["items"]
                if not items:
                    return mine
                mine += times(items)

    with ThreadPoolExecutor(8) as threads:
        taken = list(itertools.chain(*threads.map(take, range(8))))

    assert sorted(taken) == list(range(64))


def test_a_frame_and_a_segment_around_it_are_never_two_peoples(room):
    video = room.video(30)
    for second in (3, 14):
        room.propose(video, second * SECOND)
    (frame,) = room.next("ann", video_ids=[str(video)], count=1)

    segments = room.next("bob", unit="segment")

    assert times([frame]) == [3]
    assert times(segments) == [10]
    assert room.next("ed", count=50) == []


def test_a_hold_that_lapses_is_taken_by_the_next(room):
    room.propose(room.video(1), 0)
    asked = ReviewNext(hold_s=60)
    begin = datetime.now(UTC) - timedelta(hours=1)

    def take(who: str, now: datetime) -> list[Any]:
        with room.acting(who) as connection:
            tx = Tx(connection)
            ranked = tx.all(ranking.by_uncertainty(room.project_id, asked, 10, now))
            return tx.all(reviews.claim(room.project_id, asked, ranked, 1, now))

    (first,) = take("ann", begin)
    before = take("bob", begin + timedelta(seconds=59))
    (after,) = take("bob", begin + timedelta(seconds=61))

    assert first.until == begin + timedelta(seconds=60)
    assert before == []
    assert after.assignee == f"user:{person_id('bob@example.org')}"


def test_what_is_shown_by_diversity_spreads_further_than_chance(room):
    random = np.random.default_rng(3)
    middle = random.normal(size=(12, 1, DIM))
    vectors = (middle + 0.25 * random.normal(size=(12, 10, DIM))).reshape(-1, DIM).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    room.video(120, list(vectors))

    def least(which: Sequence[int]) -> float:
        similar = vectors[which] @ vectors[which].T
        return float(1 - similar[~np.eye(len(which), dtype=bool)].max())

    items = room.next(order="diversity", count=10)
    by_chance = [least(random.choice(120, 10, replace=False)) for _ in range(100)]

    assert least(times(items)) > max(by_chance)
    assert items[0]["why"]["distance"] is None
    distances = [item["why"]["distance"] for item in items[1:]]
    assert distances == sorted(distances, reverse=True)


def test_diversity_goes_on_from_what_people_have_looked_at(room):
    axis = np.eye(DIM, dtype=np.float32)
    video = room.video(6, [axis[0], axis[0], axis[1], axis[1], axis[2], axis[2]])
    for second in (0, 2):
        done = room.call("ann", "review:accept", item={"video_id": str(video), "pts_us": second * SECOND})
        assert done.status_code == 200

    first, *others = room.next("bob", order="diversity", count=4)

    assert times([first])[0] in {4, 5}
    assert first["why"]["distance"] == pytest.approx(1)
    assert [item["why"]["distance"] for item in others] == pytest.approx([0, 0, 0])
    assert room.next(order="diversity") == []


# -- giving ----------------------------------------------------------------------------------------


def test_an_editor_gives_items_to_a_member_who_finds_them_by_assigned(room):
    video = room.video(20)
    items = [
        {"video_id": str(video), "pts_us": 0},
        {"video_id": str(video), "pts_us": 10 * SECOND, "end_us": 20 * SECOND},
    ]
    bob = str(person_id("bob@example.org"))

    given = room.call("ed", "review:assign", items=items, user_id=bob).json()["items"]

    assert {item["assignee"] for item in given} == {f"user:{bob}"}
    assert {item["assigned_by"] for item in given} == {f"user:{person_id('ed@example.org')}"}
    assert {item["until"] for item in given} == {None}
    assert times(room.next("bob", order="assigned")) == [0]
    assert times(room.next("bob", order="assigned", unit="segment")) == [10]
    assert room.next("ann", order="assigned") == []


def test_nobody_is_given_what_they_cannot_do_or_what_is_not_there(room):
    video = room.video(2)
    item = {"video_id": str(video), "pts_us": 0}

    def given(to: str, **changes: Any) -> httpx.Response:
        return room.call("ed", "review:assign", items=[item | changes], user_id=str(person_id(f"{to}@example.org")))

    assert given("vic").status_code == 404
    assert given("nobody").status_code == 404
    assert given("bob", pts_us=77).status_code == 404
    assert given("bob", video_id=str(room.project_id)).status_code == 404
    assert given("bob", end_us=-1).status_code == 422
    assert given("bob").status_code == 200


def test_an_item_goes_from_hand_to_hand_but_no_part_of_it(room):
    video = room.video(10)
    room.propose(video, SECOND)
    (frame,) = room.next("ann")
    item = {"video_id": str(video), "pts_us": frame["pts_us"]}
    bob = str(person_id("bob@example.org"))

    part = room.call("ed", "review:assign", items=[item | {"pts_us": 0, "end_us": 10 * SECOND}], user_id=bob)
    whole = room.call("ed", "review:assign", items=[item, item], user_id=bob)

    assert part.status_code == 409
    assert "ann@example.org" in part.json()["detail"]
    assert whole.status_code == 200
    assert len(whole.json()["items"]) == 1


def test_what_is_released_is_free_again(room):
    room.propose(room.video(1), 0)
    (taken,) = room.next("ann")
    item = {"video_id": taken["video_id"], "pts_us": 0}

    assert room.call("bob", "review:release", items=[item]).status_code == 409
    assert room.call("ann", "review:release", items=[item]).json() == {"items": 1}
    assert room.call("ann", "review:release", items=[item]).json() == {"items": 0}
    (again,) = room.next("bob")
    assert again["pts_us"] == 0
    assert room.call("ed", "review:release", items=[item]).json() == {"items": 1}


# -- finishing -------------------------------------------------------------------------------------


def test_accepting_an_item_accepts_what_is_proposed_there_of_the_labels_asked(room):
    video = room.video(3)
    dog = room.label("dog")
    cars = [room.propose(video, SECOND), room.propose(video, SECOND)]
    dogs = room.propose(video, SECOND, label_id=dog)
    elsewhere = room.propose(video, 2 * SECOND)

    done = room.call(
        "ann", "review:accept", item={"video_id": str(video), "pts_us": SECOND}, label_ids=[str(room.label_id)],
        verdict="exhaustive_present",
    ).json()  # fmt: skip

    assert (done["annotations"], done["verdicts"], done["tracks"]) == (2, 1, 0)
    assert done["item"]["state"] == "accepted"
    me = f"user:{person_id('ann@example.org')}"
    assert all((row := room.annotation(one))["state"] == "accepted" and row["reviewed_by"] == me for one in cars)
    assert room.annotation(dogs)["state"] == room.annotation(elsewhere)["state"] == "proposed"
    (verdict,) = room.library.sql("select * from verdicts where video_id = %s", video)
    assert (verdict["pts_us"], verdict["verdict"], verdict["author"]) == (SECOND, "exhaustive_present", me)
    assert times(room.next("bob", label_ids=[str(dog)])) == [1]


def test_rejecting_a_segment_rejects_its_tracks_with_the_reason(room):
    video = room.video(20)
    inside, across = room.track(video, SECOND, 4 * SECOND), room.track(video, 8 * SECOND, 12 * SECOND)
    item = {"video_id": str(video), "pts_us": 0, "end_us": 10 * SECOND}

    done = room.call(
        "ann", "review:reject", item=item, reason="a bus", label_ids=[str(room.label_id)], verdict="exhaustive_absent"
    ).json()

    assert (done["annotations"], done["tracks"], done["verdicts"]) == (4 + 2, 1, 10)
    states = {row["id"]: row["state"] for row in room.library.sql("select id, state from tracks")}
    assert (states[inside], states[across]) == ("rejected", "proposed")
    reasons = room.library.sql(
        "select distinct reason from annotations where state = 'rejected' and video_id = %s", video
    )
    assert reasons == [{"reason": "a bus"}]


def test_an_item_that_somebody_else_holds_says_who_and_until_when(room):
    video = room.video(2)
    one = room.propose(video, 0)
    (held,) = room.next("ann", hold_s=600)

    refused = room.call("bob", "review:accept", item={"video_id": str(video), "pts_us": 0})

    assert (refused.status_code, type_of(refused)) == (409, "conflict")
    assert "ann@example.org" in refused.json()["detail"]
    assert refused.json()["holder"] == held["assignee"]
    assert datetime.fromisoformat(refused.json()["until"]) == datetime.fromisoformat(held["until"])
    assert room.annotation(one)["state"] == "proposed"


def test_a_verdict_that_what_is_accepted_contradicts_changes_nothing(room):
    video = room.video(1)
    one = room.propose(video, 0)
    item = {"video_id": str(video), "pts_us": 0}

    refused = room.call("ann", "review:accept", item=item, label_ids=[str(room.label_id)], verdict="exhaustive_absent")
    unnamed = room.call("ann", "review:accept", item=item, verdict="partial")
    nowhere = room.call("ann", "review:accept", item=item | {"pts_us": 5})

    assert refused.status_code == unnamed.status_code == 422
    assert nowhere.status_code == 404
    assert room.annotation(one)["state"] == "proposed"
    assert room.library.sql("select from reviews where video_id = %s", video) == []


def test_what_a_person_has_looked_at_comes_back_when_a_model_says_something_new(room):
    video = room.video(1)
    dog = room.label("dog")
    room.answer(video, 0, found=0, presence=0.9)
    room.answer(video, 0, found=0, presence=0.9, label_id=dog)
    item = {"video_id": str(video), "pts_us": 0}

    room.call("ann", "review:accept", item=item, label_ids=[str(room.label_id)]).raise_for_status()
    (other_label,) = room.next("bob")
    room.call("bob", "review:accept", item=item).raise_for_status()
    nothing = room.next("bob")
    room.library.sql("update answers set at = now() where label_id = %s and project_id = %s", dog, room.project_id)

    assert other_label["why"]["disagreement"] == pytest.approx(0.9)
    assert nothing == []
    assert times(room.next("bob")) == [0]


def test_the_queue_is_listed_with_what_is_done(room):
    video = room.video(5)
    for second in range(5):
        room.propose(video, second * SECOND)
    mine = room.next("ann", count=2)
    room.next("bob", count=1)
    for item, what in zip(mine, ("accept", "reject"), strict=True):
        body = {"item": {"video_id": str(video), "pts_us": item["pts_us"]}}
        room.call("ann", f"review:{what}", **body, **({"reason": "no"} if what == "reject" else {})).raise_for_status()
    (still,) = room.next("ann", count=1)

    def listed(**params: Any) -> dict[str, Any]:
        path = f"/v1/projects/{room.project_id}/review"
        return room.people["ann"].get(path, params=params).raise_for_status().json()

    everything = listed()
    assert everything["counts"] == {"open": 0, "mine": 1, "others": 1, "accepted": 1, "rejected": 1}
    assert [(one["name"], one["proposed"], one["accepted"], one["rejected"]) for one in everything["labels"]] == [
        ("red car", 3, 1, 1)
    ]
    assert [item["pts_us"] for item in listed(show="mine")["items"]] == [still["pts_us"]]
    assert [item["reason"] for item in listed(show="rejected")["items"]] == ["no"]
    page = listed(limit=3)
    rest = listed(limit=3, cursor=page["next_cursor"])
    assert page["items"] + rest["items"] == everything["items"]
    assert len(everything["items"]) == 4


# -- roles -----------------------------------------------------------------------------------------


def test_each_role_does_what_it_may_and_no_more(room):
    video = room.video(3)
    room.propose(video, 0)
    item = {"video_id": str(video), "pts_us": 0}
    bodies: dict[str, dict[str, Any]] = {
        "review:next": {"count": 1},
        "review:accept": {"item": item},
        "review:reject": {"item": item, "reason": "x"},
        "review:release": {"items": [item]},
        "review:assign": {"items": [item], "user_id": str(person_id("ed@example.org"))},
        "thresholds:learn": {},
        "annotations:auto-accept": {},
    }

    def refused(who: str) -> set[str]:
        return {what for what, body in bodies.items() if room.call(who, what, **body).status_code == 403}

    assert refused("vic") == set(bodies)
    assert refused("ann") == {"review:assign", "thresholds:learn", "annotations:auto-accept"}
    assert refused("ed") == set()
    assert room.people["vic"].get(f"/v1/projects/{room.project_id}/review").status_code == 200
    with room.library.person("eve@example.org") as eve:
        for what, body in bodies.items():
            assert eve.post(f"/v1/projects/{room.project_id}/{what}", json=body).status_code == 404


def test_postgres_itself_lets_an_annotator_neither_give_nor_take_away(room):
    room.propose(room.video(1), 0)
    room.next("bob")

    def touched(set_assignee: str) -> int:
        with room.acting("ann") as connection:
            return connection.execute(
                f"update reviews set assignee = {set_assignee} where project_id = %s".encode(), (room.project_id,)
            ).rowcount

    assert touched("caller()") == touched("null") == 0
