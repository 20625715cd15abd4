"""Review over HTTP: a queue that gives nothing twice, and thresholds learnt from people's words alone."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import numpy as np
import pytest

from argus_ray.catalog import embeddings, frames, models, ranking, reviews
from argus_ray.catalog.statement import Tx
from argus_ray.schemas.review import ReviewNext
from argus_ray.thresholds import auto_accept_after
from tests.library import Library, library
from tests.people import person_id

SECOND = 1_000_000
DIM = 16


@dataclass
class Desk:
    """A project with people of every role, one label and one model that finds things."""

    library: Library
    people: dict[str, httpx.Client]
    project_id: UUID
    label_id: UUID
    model_id: UUID
    vectors: int

    def call(self, who: str, what: str, **body: Any) -> httpx.Response:
        return self.people[who].post(f"/v1/projects/{self.project_id}/{what}", json=body)

    def next(self, who: str = "ann", **asked: Any) -> list[dict[str, Any]]:
        answer = self.call(who, "review:next", **asked)
        assert answer.status_code == 200, answer.text
        return answer.json()["items"]

    def label(self, name: str, project_id: UUID | None = None) -> UUID:
        (row,) = self.library.sql(
            "insert into labels (project_id, name, colour, prompts) values (%s, %s, '#000000', %s) returning id",
            project_id or self.project_id, name, [name],
        )  # fmt: skip
        return row["id"]

    def video(self, seconds: int, vectors: Sequence[Any] | None = None) -> UUID:
        """A ready video with a frame a second."""
        (video,) = self.library.sql(
            "insert into videos (project_id, name, state) values (%s, 'v', 'ready') returning id", self.project_id
        )
        (job,) = self.library.sql(
            "insert into jobs (project_id, kind, video_id, state, finished_at) values (%s, 'ingest', %s, 'succeeded', now())"
            " returning id", self.project_id, video["id"],
        )  # fmt: skip
        ones = np.ones(seconds, np.int32)
        pts = np.arange(seconds, dtype=np.int64) * SECOND
        given = np.stack(vectors) if vectors is not None else np.eye(seconds, DIM, dtype=np.float32)
        with self.library.worker.transaction() as tx:
            frames.copy(tx, video["id"], frames.Arriving(pts, ones, ones, ones, given))
            tx.run(frames.upsert(self.project_id, video["id"], job_id=job["id"], segment_number=0, why="fps"))
            if vectors is not None:
                tx.run(embeddings.upsert(self.project_id, video["id"], model_number=self.vectors))
        return video["id"]

    def propose(self, video_id: UUID, pts_us: int, score: float | None = 0.5, **more: Any) -> UUID:
        """As the model does."""
        row = {
            "project_id": self.project_id, "video_id": video_id, "pts_us": pts_us, "label_id": self.label_id,
            "kind": "box", "x": 0.1, "y": 0.1, "w": 0.2, "h": 0.2, "source": "model", "state": "proposed", "score": score,
            "model_id": self.model_id, **more,
        }  # fmt: skip
        columns = ", ".join(row)
        with self.library.worker.transaction() as tx:
            cursor = tx.connection.execute(
                f"insert into annotations ({columns}) values ({', '.join(['%s'] * len(row))}) returning id".encode(),
                list(row.values()),
            )
            return cursor.fetchone()[0]

    def answer(self, video_id: UUID, pts_us: int, found: int, presence: float, label_id: UUID | None = None) -> None:
        self.library.sql(
            "insert into answers (project_id, video_id, pts_us, label_id, model_id, found, presence) values (%s, %s, %s, %s, %s, %s, %s)",
            self.project_id, video_id, pts_us, label_id or self.label_id, self.model_id, found, presence,
        )  # fmt: skip

    def track(self, video_id: UUID, first_us: int, last_us: int, score: float = 0.9, **box: float) -> UUID:
        """A track of the model's with a keyframe a second."""
        (row,) = self.library.sql(
            "insert into tracks (project_id, video_id, label_id, start_us, end_us, source, state, model_id)"
            " values (%s, %s, %s, %s, %s, 'model', 'proposed', %s) returning id",
            self.project_id, video_id, self.label_id, first_us, last_us, self.model_id,
        )  # fmt: skip
        for pts_us in range(first_us, last_us + 1, SECOND):
            self.propose(video_id, pts_us, score, track_id=row["id"], **box)
        return row["id"]

    def annotation(self, annotation_id: UUID | str) -> dict[str, Any]:
        return self.library.sql("select * from annotations where id = %s", annotation_id)[0]

    def say(self, state: str, *annotation_ids: UUID, who: str = "ann", change: str = "") -> None:
        """A person's word on annotations, as the API would write it."""
        claims = {"role": "authenticated", "sub": str(person_id(f"{who}@example.org"))}
        with self.library.owner.transaction():
            self.library.owner.execute("set local role authenticated")
            self.library.owner.execute("select set_config('request.jwt.claims', %s, true)", (json.dumps(claims),))
            self.library.owner.execute(
                f"update annotations set state = %s{change} where id = any (%s)".encode(), (state, list(annotation_ids))
            )

    def judge(self, video_id: UUID, judged: Sequence[tuple[float, bool]], **more: Any) -> None:
        """Proposals with these scores, each accepted by a person or rejected."""
        made = [(self.propose(video_id, 0, score, **more), accepted) for score, accepted in judged]
        for state in ("accepted", "rejected"):
            self.say(state, *(one for one, accepted in made if accepted == (state == "accepted")))


@pytest.fixture(scope="module")
def place(postgres, s3) -> Iterator[tuple[Library, UUID, int]]:
    with library(postgres, s3) as made:
        (sam3,) = made.sql("select register_weights('sam3', 'demo:sam3', 'abc', 128, null) as number")
        (row,) = made.sql("select id from models where number = %s", sam3["number"])
        with made.owner.transaction():
            made.owner.execute("set local role argus_registrar")
            number = Tx(made.owner).one(
                models.register(
                    family="siglip2", uri="axes", weights_id="axes", dim=DIM, image_size=8, logit_scale=1, logit_bias=0
                )
            )
        yield made, row["id"], number


@pytest.fixture(scope="module")
def people(place) -> Iterator[dict[str, httpx.Client]]:
    names = ("olga", "ed", "ann", "bob", "vic")
    clients = {name: place[0].person(f"{name}@example.org") for name in names}
    yield clients
    for client in clients.values():
        client.close()


@pytest.fixture
def desk(place, people) -> Desk:
    made, model_id, number = place
    project_id = made.project(people["olga"], editor=people["ed"], annotator=people["ann"], viewer=people["vic"])
    invited = {"email": "bob@example.org", "role": "annotator"}
    people["olga"].post(f"/v1/projects/{project_id}/members", json=invited).raise_for_status()
    people["bob"].get("/v1/projects").raise_for_status()
    found = Desk(made, people, project_id, UUID(int=0), model_id, number)
    found.label_id = found.label("red car")
    return found


def times(items: Sequence[dict[str, Any]]) -> list[int]:
    return [item["pts_us"] // SECOND for item in items]


def type_of(answer: httpx.Response) -> str:
    return answer.json()["type"].rpartition("/")[2]


# -- taking ----------------------------------------------------------------------------------------


def test_the_most_doubtful_come_first_and_say_why(desk):
    video = desk.video(8)
    for second, score in enumerate((0.95, 0.52, 0.3, 0.75)):
        desk.propose(video, second * SECOND, score)
    desk.propose(video, 3 * SECOND, 0.99)
    desk.answer(video, 4 * SECOND, found=0, presence=0.9)
    desk.answer(video, 5 * SECOND, found=0, presence=0.1)
    desk.answer(video, 0, found=1, presence=0.2)

    items = desk.next(count=50)

    assert times(items) == [1, 4, 0, 2, 3]
    assert items[0]["why"]["from_threshold"] == pytest.approx(0.02)
    assert items[0]["why"]["uncertainty"] == pytest.approx(0.96)
    assert items[1]["why"]["disagreement"] == pytest.approx(0.9)
    assert items[2]["why"]["uncertainty"] == pytest.approx(0.8)
    assert items[1]["proposals"] == []
    assert len(items[4]["proposals"]) == 2
    assert all(item["assignee"] == f"user:{person_id('ann@example.org')}" for item in items)
    (frame,) = [
        one for one in desk.people["ann"].get(f"/v1/videos/{video}/frames").json()["items"] if one["pts_us"] == SECOND
    ]
    assert items[0]["frame_id"] == frame["id"]


def test_a_learnt_threshold_says_what_is_doubtful(desk):
    video = desk.video(2)
    desk.propose(video, 0, 0.5)
    desk.propose(video, SECOND, 0.79)
    desk.library.sql(
        "update labels set threshold = 0.1, learnt = %s where id = %s",
        json.dumps({"models": {str(desk.model_id): {"threshold": 0.8}}}), desk.label_id,
    )  # fmt: skip

    assert times(desk.next(count=2)) == [1, 0]


def test_breaks_of_tracks_amid_picture_and_video_are_doubtful(desk):
    video = desk.video(10)
    desk.track(video, 0, 4 * SECOND, score=1.0)
    desk.track(video, 6 * SECOND, 7 * SECOND, score=1.0, x=0.0)  # it came in at the left edge
    weak = desk.track(video, 8 * SECOND, 9 * SECOND, score=1.0, x=0.0)
    desk.library.sql(
        "insert into track_links (project_id, video_id, track_id, border_us, score) values (%s, %s, %s, %s, 0.1)",
        desk.project_id, video, weak, 8 * SECOND + 1,
    )  # fmt: skip

    first, second, *rest = desk.next(count=10)

    assert (first["pts_us"], first["why"]["link_score"]) == (9 * SECOND, pytest.approx(0.1))
    assert (second["pts_us"], second["why"]["track_break"]) == (4 * SECOND, True)
    assert all(item["why"]["track_break"] is None for item in rest)


def test_the_oldest_come_first_by_age_and_segments_hold_what_is_in_them(desk):
    video = desk.video(31)
    for second, age in ((25, 3), (12, 2), (19, 1), (5, 1)):
        one = desk.propose(video, second * SECOND)
        desk.library.sql("update annotations set created_at = now() - %s * interval '1 h' where id = %s", age, one)

    items = desk.next(order="age", unit="segment")

    assert [(item["pts_us"] // SECOND, item["end_us"] // SECOND) for item in items] == [(20, 30), (10, 20), (0, 10)]
    assert [len(item["proposals"]) for item in items] == [1, 2, 1]
    assert items[0]["why"]["waiting_since"] < items[1]["why"]["waiting_since"]


def test_labels_and_videos_narrow_the_queue(desk):
    one, other = desk.video(2), desk.video(2)
    dog = desk.label("dog")
    desk.propose(one, 0)
    desk.propose(one, SECOND, label_id=dog)
    desk.propose(other, 0, label_id=dog)

    (item,) = desk.next(label_ids=[str(dog)], video_ids=[str(one)])

    assert item["pts_us"] == SECOND
    assert desk.call("ann", "review:next", label_ids=[str(desk.project_id)]).status_code == 404


def test_nothing_is_given_of_a_video_that_is_not_ready(desk):
    video = desk.video(1)
    desk.propose(video, 0)
    desk.library.sql("update videos set state = 'processing' where id = %s", video)

    assert desk.next() == desk.next(order="age") == []


@pytest.mark.parametrize("order", ["uncertainty", "age", "diversity"])
def test_many_who_take_at_once_get_different_items_and_nothing_is_left_out(desk, order):
    random = np.random.default_rng(0)
    vectors = random.normal(size=(64, DIM)).astype(np.float32)
    video = desk.video(64, list(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)))
    for second in range(64):
        desk.propose(video, second * SECOND, float(random.random()))

    def take(who: int) -> list[int]:
        """Until there is no more."""
        with desk.library.person(("ann", "bob", "ed", "olga")[who % 4] + "@example.org") as client:
            mine: list[int] = []
            while True:
                answer = client.post(f"/v1/projects/{desk.project_id}/review:next", json={"order": order, "count": 3})
                items = answer.raise_for_status().json()["items"]
                if not items:
                    return mine
                mine += times(items)

    with ThreadPoolExecutor(8) as threads:
        taken = list(itertools.chain(*threads.map(take, range(8))))

    assert sorted(taken) == list(range(64))


def test_a_frame_and_a_segment_around_it_are_never_two_peoples(desk):
    video = desk.video(30)
    for second in (3, 14):
        desk.propose(video, second * SECOND)
    (frame,) = desk.next("ann", video_ids=[str(video)], count=1)

    segments = desk.next("bob", unit="segment")

    assert times([frame]) == [3]
    assert times(segments) == [10]
    assert desk.next("ed", count=50) == []


def test_a_hold_that_lapses_is_taken_by_the_next(desk):
    desk.propose(desk.video(1), 0)
    asked = ReviewNext(hold_s=60)
    begin = datetime.now(UTC) - timedelta(hours=1)

    def take(who: str, now: datetime) -> list[Any]:
        claims = {"role": "authenticated", "sub": str(person_id(f"{who}@example.org"))}
        with desk.library.owner.transaction():
            desk.library.owner.execute("set local role authenticated")
            desk.library.owner.execute("select set_config('request.jwt.claims', %s, true)", (json.dumps(claims),))
            tx = Tx(desk.library.owner)
            ranked = tx.all(ranking.by_uncertainty(desk.project_id, asked, 10, now))
            return tx.all(reviews.claim(desk.project_id, asked, ranked, 1, now))

    (first,) = take("ann", begin)
    before = take("bob", begin + timedelta(seconds=59))
    (after,) = take("bob", begin + timedelta(seconds=61))

    assert first.until == begin + timedelta(seconds=60)
    assert before == []
    assert after.assignee == f"user:{person_id('bob@example.org')}"


def test_what_is_shown_by_diversity_spreads_further_than_chance(desk):
    random = np.random.default_rng(3)
    middle = random.normal(size=(12, 1, DIM))
    vectors = (middle + 0.25 * random.normal(size=(12, 10, DIM))).reshape(-1, DIM).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    desk.video(120, list(vectors))

    def least(which: Sequence[int]) -> float:
        similar = vectors[which] @ vectors[which].T
        return float(1 - similar[~np.eye(len(which), dtype=bool)].max())

    items = desk.next(order="diversity", count=10)
    by_chance = [least(random.choice(120, 10, replace=False)) for _ in range(100)]

    assert least(times(items)) > max(by_chance)
    assert items[0]["why"]["distance"] is None
    distances = [item["why"]["distance"] for item in items[1:]]
    assert distances == sorted(distances, reverse=True)


def test_diversity_goes_on_from_what_people_have_looked_at(desk):
    axis = np.eye(DIM, dtype=np.float32)
    video = desk.video(6, [axis[0], axis[0], axis[1], axis[1], axis[2], axis[2]])
    for second in (0, 2):
        done = desk.call("ann", "review:accept", item={"video_id": str(video), "pts_us": second * SECOND})
        assert done.status_code == 200

    first, *others = desk.next("bob", order="diversity", count=4)

    assert times([first])[0] in {4, 5}
    assert first["why"]["distance"] == pytest.approx(1)
    assert [item["why"]["distance"] for item in others] == pytest.approx([0, 0, 0])
    assert desk.next(order="diversity") == []


# -- giving ----------------------------------------------------------------------------------------


def test_an_editor_gives_items_to_a_member_who_finds_them_by_assigned(desk):
    video = desk.video(20)
    items = [
        {"video_id": str(video), "pts_us": 0},
        {"video_id": str(video), "pts_us": 10 * SECOND, "end_us": 20 * SECOND},
    ]
    bob = str(person_id("bob@example.org"))

    given = desk.call("ed", "review:assign", items=items, user_id=bob).json()["items"]

    assert {item["assignee"] for item in given} == {f"user:{bob}"}
    assert {item["assigned_by"] for item in given} == {f"user:{person_id('ed@example.org')}"}
    assert {item["until"] for item in given} == {None}
    assert times(desk.next("bob", order="assigned")) == [0]
    assert times(desk.next("bob", order="assigned", unit="segment")) == [10]
    assert desk.next("ann", order="assigned") == []


def test_nobody_is_given_what_they_cannot_do_or_what_is_not_there(desk):
    video = desk.video(2)
    item = {"video_id": str(video), "pts_us": 0}

    def given(to: str, **changes: Any) -> httpx.Response:
        return desk.call("ed", "review:assign", items=[item | changes], user_id=str(person_id(f"{to}@example.org")))

    assert given("vic").status_code == 404
    assert given("nobody").status_code == 404
    assert given("bob", pts_us=77).status_code == 404
    assert given("bob", video_id=str(desk.project_id)).status_code == 404
    assert given("bob", end_us=-1).status_code == 422
    assert given("bob").status_code == 200


def test_an_item_goes_from_hand_to_hand_but_no_part_of_it(desk):
    video = desk.video(10)
    desk.propose(video, SECOND)
    (frame,) = desk.next("ann")
    item = {"video_id": str(video), "pts_us": frame["pts_us"]}
    bob = str(person_id("bob@example.org"))

    part = desk.call("ed", "review:assign", items=[item | {"pts_us": 0, "end_us": 10 * SECOND}], user_id=bob)
    whole = desk.call("ed", "review:assign", items=[item, item], user_id=bob)

    assert part.status_code == 409
    assert "ann@example.org" in part.json()["detail"]
    assert whole.status_code == 200
    assert len(whole.json()["items"]) == 1


def test_what_is_released_is_free_again(desk):
    desk.propose(desk.video(1), 0)
    (taken,) = desk.next("ann")
    item = {"video_id": taken["video_id"], "pts_us": 0}

    assert desk.call("bob", "review:release", items=[item]).status_code == 409
    assert desk.call("ann", "review:release", items=[item]).json() == {"items": 1}
    assert desk.call("ann", "review:release", items=[item]).json() == {"items": 0}
    (again,) = desk.next("bob")
    assert again["pts_us"] == 0
    assert desk.call("ed", "review:release", items=[item]).json() == {"items": 1}


# -- finishing -------------------------------------------------------------------------------------


def test_accepting_an_item_accepts_what_is_proposed_there_of_the_labels_asked(desk):
    video = desk.video(3)
    dog = desk.label("dog")
    cars = [desk.propose(video, SECOND), desk.propose(video, SECOND)]
    dogs = desk.propose(video, SECOND, label_id=dog)
    elsewhere = desk.propose(video, 2 * SECOND)

    done = desk.call(
        "ann", "review:accept", item={"video_id": str(video), "pts_us": SECOND}, label_ids=[str(desk.label_id)],
        verdict="exhaustive_present",
    ).json()  # fmt: skip

    assert (done["annotations"], done["verdicts"], done["tracks"]) == (2, 1, 0)
    assert done["item"]["state"] == "accepted"
    me = f"user:{person_id('ann@example.org')}"
    assert all((row := desk.annotation(one))["state"] == "accepted" and row["reviewed_by"] == me for one in cars)
    assert desk.annotation(dogs)["state"] == desk.annotation(elsewhere)["state"] == "proposed"
    (verdict,) = desk.library.sql("select * from verdicts where video_id = %s", video)
    assert (verdict["pts_us"], verdict["verdict"], verdict["author"]) == (SECOND, "exhaustive_present", me)
    assert times(desk.next("bob", label_ids=[str(dog)])) == [1]


def test_rejecting_a_segment_rejects_its_tracks_with_the_reason(desk):
    video = desk.video(20)
    inside, across = desk.track(video, SECOND, 4 * SECOND), desk.track(video, 8 * SECOND, 12 * SECOND)
    item = {"video_id": str(video), "pts_us": 0, "end_us": 10 * SECOND}

    done = desk.call(
        "ann", "review:reject", item=item, reason="a bus", label_ids=[str(desk.label_id)], verdict="exhaustive_absent"
    ).json()

    assert (done["annotations"], done["tracks"], done["verdicts"]) == (4 + 2, 1, 10)
    states = {row["id"]: row["state"] for row in desk.library.sql("select id, state from tracks")}
    assert (states[inside], states[across]) == ("rejected", "proposed")
    reasons = desk.library.sql(
        "select distinct reason from annotations where state = 'rejected' and video_id = %s", video
    )
    assert reasons == [{"reason": "a bus"}]


def test_an_item_that_somebody_else_holds_says_who_and_until_when(desk):
    video = desk.video(2)
    one = desk.propose(video, 0)
    (held,) = desk.next("ann", hold_s=600)

    refused = desk.call("bob", "review:accept", item={"video_id": str(video), "pts_us": 0})

    assert (refused.status_code, type_of(refused)) == (409, "conflict")
    assert "ann@example.org" in refused.json()["detail"]
    assert refused.json()["holder"] == held["assignee"]
    assert datetime.fromisoformat(refused.json()["until"]) == datetime.fromisoformat(held["until"])
    assert desk.annotation(one)["state"] == "proposed"


def test_a_verdict_that_what_is_accepted_contradicts_changes_nothing(desk):
    video = desk.video(1)
    one = desk.propose(video, 0)
    item = {"video_id": str(video), "pts_us": 0}

    refused = desk.call("ann", "review:accept", item=item, label_ids=[str(desk.label_id)], verdict="exhaustive_absent")
    unnamed = desk.call("ann", "review:accept", item=item, verdict="partial")
    nowhere = desk.call("ann", "review:accept", item=item | {"pts_us": 5})

    assert refused.status_code == unnamed.status_code == 422
    assert nowhere.status_code == 404
    assert desk.annotation(one)["state"] == "proposed"
    assert desk.library.sql("select from reviews where video_id = %s", video) == []


def test_what_a_person_has_looked_at_comes_back_when_a_model_says_something_new(desk):
    video = desk.video(1)
    dog = desk.label("dog")
    desk.answer(video, 0, found=0, presence=0.9)
    desk.answer(video, 0, found=0, presence=0.9, label_id=dog)
    item = {"video_id": str(video), "pts_us": 0}

    desk.call("ann", "review:accept", item=item, label_ids=[str(desk.label_id)]).raise_for_status()
    (other_label,) = desk.next("bob")
    desk.call("bob", "review:accept", item=item).raise_for_status()
    nothing = desk.next("bob")
    desk.library.sql("update answers set at = now() where label_id = %s and project_id = %s", dog, desk.project_id)

    assert other_label["why"]["disagreement"] == pytest.approx(0.9)
    assert nothing == []
    assert times(desk.next("bob")) == [0]


def test_the_queue_is_listed_with_what_is_done(desk):
    video = desk.video(5)
    for second in range(5):
        desk.propose(video, second * SECOND)
    mine = desk.next("ann", count=2)
    desk.next("bob", count=1)
    for item, what in zip(mine, ("accept", "reject"), strict=True):
        body = {"item": {"video_id": str(video), "pts_us": item["pts_us"]}}
        desk.call("ann", f"review:{what}", **body, **({"reason": "no"} if what == "reject" else {})).raise_for_status()
    (still,) = desk.next("ann", count=1)

    def listed(**params: Any) -> dict[str, Any]:
        path = f"/v1/projects/{desk.project_id}/review"
        return desk.people["ann"].get(path, params=params).raise_for_status().json()

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


def test_each_role_does_what_it_may_and_no_more(desk):
    video = desk.video(3)
    desk.propose(video, 0)
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
        return {what for what, body in bodies.items() if desk.call(who, what, **body).status_code == 403}

    assert refused("vic") == set(bodies)
    assert refused("ann") == {"review:assign", "thresholds:learn", "annotations:auto-accept"}
    assert refused("ed") == set()
    assert desk.people["vic"].get(f"/v1/projects/{desk.project_id}/review").status_code == 200
    with desk.library.person("eve@example.org") as eve:
        for what, body in bodies.items():
            assert eve.post(f"/v1/projects/{desk.project_id}/{what}", json=body).status_code == 404


def test_postgres_itself_lets_an_annotator_neither_give_nor_take_away(desk):
    desk.propose(desk.video(1), 0)
    desk.next("bob")

    def touched(set_assignee: str) -> int:
        claims = {"role": "authenticated", "sub": str(person_id("ann@example.org"))}
        with desk.library.owner.transaction(force_rollback=True):
            desk.library.owner.execute("set local role authenticated")
            desk.library.owner.execute("select set_config('request.jwt.claims', %s, true)", (json.dumps(claims),))
            return desk.library.owner.execute(
                f"update reviews set assignee = {set_assignee} where project_id = %s".encode(), (desk.project_id,)
            ).rowcount

    assert touched("caller()") == touched("null") == 0


# -- thresholds ------------------------------------------------------------------------------------


def learn(desk: Desk) -> dict[str, Any]:
    items = desk.call("ed", "thresholds:learn").raise_for_status().json()["items"]
    return items[0] if items else {}


def test_a_threshold_is_learnt_kept_and_shown_by_model(desk):
    video = desk.video(1)
    (other,) = desk.library.sql("select register_weights('sam3', 'demo:sam3', 'def', 128, null) as number")
    (model,) = desk.library.sql("select id from models where number = %s", other["number"])
    desk.judge(video, [(0.6 + i / 400, True) for i in range(120)] + [(0.1 + i / 400, False) for i in range(120)])
    desk.judge(video, [(0.9, True)] * 5 + [(0.8, False)] * 5, model_id=model["id"])

    items = desk.call("ed", "thresholds:learn").json()["items"]
    by_model = {item["model_id"]: item for item in items}
    mine, others = by_model[str(desk.model_id)], by_model[str(model["id"])]

    assert (mine["accepted"], mine["rejected"], mine["missing"], mine["target"]) == (120, 120, 0, 0.95)
    assert 0.59 <= mine["threshold"] <= 0.75
    assert mine["bound"] > 0.95
    assert (others["threshold"], others["missing"], others["accepted"]) == (None, 59 - 10, 5)
    listed = desk.people["vic"].get(f"/v1/projects/{desk.project_id}/thresholds").json()["items"]
    assert {item["model_id"]: item["threshold"] for item in listed} == {
        str(desk.model_id): mine["threshold"], str(model["id"]): None
    }  # fmt: skip
    (label,) = desk.library.sql("select threshold, learnt, version from labels where id = %s", desk.label_id)
    assert label["threshold"] is None
    assert label["learnt"]["models"][str(desk.model_id)]["threshold"] == mine["threshold"]

    learn(desk)  # nothing new was said, and nothing changes
    assert desk.library.sql("select version from labels where id = %s", desk.label_id)[0]["version"] == label["version"]


def test_a_correction_counts_by_what_is_left_of_the_models_word(desk):
    video = desk.video(1)
    dog = desk.label("dog")
    moved, gone, relabelled, deleted, kept = (desk.propose(video, 0, 0.5) for _ in range(5))
    desk.say("accepted", moved, change=", source = 'human', x = 0.12")
    desk.say("accepted", gone, change=", source = 'human', x = 0.7")
    desk.say("accepted", relabelled, change=f", source = 'human', label_id = '{dog}'")
    desk.say("proposed", deleted, change=", deleted_at = now()")
    desk.say("accepted", kept)

    learnt = learn(desk)

    assert (learnt["accepted"], learnt["rejected"]) == (2, 3)
    assert learnt["label_id"] == str(desk.label_id)


def test_a_track_is_one_trial(desk):
    video = desk.video(20)
    desk.track(video, 0, 19 * SECOND)
    desk.call(
        "ann", "review:accept", item={"video_id": str(video), "pts_us": 0, "end_us": 20 * SECOND}
    ).raise_for_status()

    learnt = learn(desk)

    assert (learnt["accepted"], learnt["rejected"], learnt["missing"]) == (1, 0, 58)


def enable(desk: Desk, precision: float = 0.95) -> None:
    settings = {"auto_accept": {"enabled": True, "precision": precision}, "theme": "dark"}
    desk.people["olga"].patch(
        f"/v1/projects/{desk.project_id}", json={"settings": settings}, headers={"If-Match": "*"}
    ).raise_for_status()


def test_what_reaches_the_threshold_is_accepted_where_the_project_asks_for_it(desk):
    video = desk.video(10)
    desk.judge(video, [(0.8 + i / 1000, True) for i in range(100)] + [(0.3 + i / 1000, False) for i in range(100)])
    high, low = desk.propose(video, 0, 0.95), desk.propose(video, 0, 0.4)
    denied = desk.propose(video, SECOND, 0.95)
    desk.library.sql(
        "insert into verdicts (project_id, video_id, pts_us, label_id, verdict) values (%s, %s, %s, %s, 'exhaustive_absent')",
        desk.project_id, video, SECOND, desk.label_id,
    )  # fmt: skip
    sure, unsure = desk.track(video, 2 * SECOND, 5 * SECOND, 0.95), desk.track(video, 2 * SECOND, 5 * SECOND, 0.5)

    off = desk.call("ed", "annotations:auto-accept")
    assert (off.status_code, type_of(off)) == (409, "conflict")
    assert "auto_accept" in off.json()["detail"]

    enable(desk)
    dry = desk.call("ed", "annotations:auto-accept", dry_run=True).json()
    assert desk.annotation(high)["state"] == "proposed"
    assert desk.library.sql("select learnt from labels where id = %s", desk.label_id) == [{"learnt": None}]
    done = desk.call("ed", "annotations:auto-accept").json()

    assert (dry["dry_run"], dry["annotations"]) == (True, 5)
    assert (done["dry_run"], done["annotations"], done["tracks"]) == (False, 5, 1)
    assert done["labels"] == dry["labels"]
    row = desk.annotation(high)
    assert (row["state"], row["reviewed_by"], row["version"]) == ("accepted", "auto", 2)
    assert desk.annotation(low)["state"] == desk.annotation(denied)["state"] == "proposed"
    states = {row["id"]: row["state"] for row in desk.library.sql("select id, state from tracks")}
    assert (states[sure], states[unsure]) == ("accepted", "proposed")


def test_what_was_accepted_by_itself_teaches_nothing_until_a_person_says_so(desk):
    video = desk.video(1)
    desk.judge(video, [(0.8 + i / 1000, True) for i in range(100)])
    by_itself = [desk.propose(video, 0, 0.95) for _ in range(40)]
    enable(desk)
    assert desk.call("ed", "annotations:auto-accept").json()["annotations"] == 40

    learnt = learn(desk)
    desk.say("rejected", by_itself[0])
    said = learn(desk)

    assert (learnt["accepted"], learnt["rejected"]) == (100, 0)
    assert (said["accepted"], said["rejected"]) == (100, 1)


def test_a_worker_does_the_same_at_the_end_of_a_job(desk):
    video = desk.video(1)
    desk.judge(video, [(0.8 + i / 1000, True) for i in range(100)])
    one = desk.propose(video, 0, 0.95)

    def work() -> Any:
        with desk.library.worker.transaction() as tx:
            return auto_accept_after(tx, desk.project_id)

    assert work() is None
    enable(desk)
    assert work().annotations == 1
    row = desk.annotation(one)
    assert (row["state"], row["reviewed_by"], row["version"]) == ("accepted", "auto", 2)
    assert learn(desk)["accepted"] == 100


@pytest.mark.parametrize(
    "wrong", [True, {"enabled": "perhaps"}, {"precision": 1}, {"precison": 0.9}, {"precision": "NaN"}]
)
def test_a_project_cannot_ask_for_auto_accept_in_a_way_that_is_not_understood(desk, wrong):
    refused = desk.people["olga"].patch(
        f"/v1/projects/{desk.project_id}", json={"settings": {"auto_accept": wrong}}, headers={"If-Match": "*"}
    )

    assert (refused.status_code, type_of(refused)) == (422, "invalid-request")
    assert "auto_accept" in refused.text


def test_a_higher_target_gives_a_higher_threshold_or_none(desk):
    video = desk.video(1)
    random = np.random.default_rng(7)
    scores = random.random(400)
    accepted = random.random(400) < 0.4 + 0.6 * scores
    desk.judge(video, [(float(score), bool(good)) for score, good in zip(scores, accepted, strict=True)])

    def at(precision: float) -> float | None:
        enable(desk, precision)
        return learn(desk)["threshold"]

    lower, higher, highest = at(0.5), at(0.8), at(0.999)

    assert lower is not None
    assert higher is not None
    assert lower < higher
    assert highest is None
