"""Asking for work over HTTP: what it is about, what it may cost, who may ask; with workers' statements in between."""

from __future__ import annotations

from uuid import uuid4

import pytest

from argus_ray.catalog import budgets, segments, work
from tests.library import Library, library

MODEL = "demo:sam3"


@pytest.fixture(scope="module")
def place(postgres, s3):
    with library(postgres, s3, sam3_model=MODEL) as place:
        place.sql("select register_weights('sam3', %s, 'w3', 168, null)", MODEL)
        yield place


class Desk:
    """A project with two labels and a video of a hundred frames, and those who work in it."""

    def __init__(self, place: Library) -> None:
        name = uuid4().hex[:8]
        self.place = place
        self.owner, self.editor, self.annotator, self.stranger = (
            place.person(f"{role}-{name}@example.org") for role in ("owner", "editor", "annotator", "stranger")
        )
        self.project = place.project(self.owner, editor=self.editor, annotator=self.annotator)
        job = place.bring(self.owner, self.project)
        self.video = job["video_id"]
        place.make_ready(job, *range(0, 100_000, 1000))
        self.labels = [self.label("car"), self.label("boat")]

    def label(self, name: str, **columns) -> str:
        columns = {"project_id": self.project, "name": name, "colour": "#0072b2", "prompts": [name], **columns}
        marks = ", ".join(["%s"] * len(columns))
        (row,) = self.place.sql(
            f"insert into labels ({', '.join(columns)}) values ({marks}) returning id", *columns.values()
        )
        return str(row["id"])

    def spec(self, kind: str = "autolabel", labels=None, **more):
        return {"kind": kind, "labels": [{"label_id": label} for label in labels or self.labels], **more}

    def ask(self, who=None, path: str = "jobs", **spec):
        return (who or self.editor).post(f"/v1/projects/{self.project}/{path}", json={"spec": self.spec(**spec)})

    def budget(self, seconds: int | None, who=None):
        who = who or self.owner
        version = who.get(f"/v1/projects/{self.project}").headers["ETag"]
        return who.patch(
            f"/v1/projects/{self.project}", json={"gpu_seconds_per_month": seconds}, headers={"If-Match": version}
        )

    def worked(self, compute_s: float, *, segments_too: int = 1, chunk_of: int = 48) -> None:
        """As a run would: so many segments are claimed and done, each for so many seconds of the device."""
        run_id, model = uuid4(), self.place.sql("select id from models where family = 'sam3'")[0]["id"]
        with self.place.worker.transaction() as tx:
            tx.connection.execute(
                "insert into runs (pool, id, kind, lease_until, accepts_until) "
                "values (%s, %s, 'autolabel', now() + interval '1 hour', now() + interval '1 hour')",
                (str(run_id), run_id),
            )
            for no in range(segments_too):
                started = tx.one(work.start(tx.one(segments.claim(run_id, ahead=9, no=no, kind="autolabel")), node="n"))
                joined = work.join(
                    started.claim, chunk=0, last=True, frames=chunk_of, found=3, compute_s=compute_s, progress=1
                )
                assert tx.one(joined).is_complete
                tx.run(budgets.spend(started.project_id, kind="autolabel", gpu_seconds=compute_s, frames=chunk_of))
                tx.run(budgets.measure(started.segment_id, kind="autolabel", model_id=model, device="cpu", labels=2))
                tx.one(segments.finish(started.claim))
                tx.run(work.progress([started.job_id]))
                tx.maybe(work.settle(started.job_id))


@pytest.fixture
def desk(place):
    place.sql("truncate measured_rates")
    desk = Desk(place)
    yield desk
    for person in (desk.owner, desk.editor, desk.annotator, desk.stranger):
        person.close()
    place.sql("update jobs set state = 'cancelled', finished_at = now() where state in ('queued', 'running')")
    place.sql("delete from runs")


def test_a_job_says_before_it_starts_what_it_is_about_and_that_nothing_was_measured_yet(desk):
    made = desk.ask()
    assert made.status_code == 201, made.text
    job = made.json()
    assert made.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert (job["kind"], job["state"], job["spec"]["kind"]) == ("autolabel", "queued", "autolabel")
    assert (job["estimate"]["frames"], job["estimate"]["segments"]) == (100, 3)
    assert "gpu_seconds" not in job["estimate"] or job["estimate"]["gpu_seconds"] is None
    assert "nothing was measured yet" in job["estimate"]["basis"]
    assert {(row["kind"], row["frames_total"]) for row in segments_of(desk, job)} == {
        ("autolabel", 48),
        ("autolabel", 4),
    }


def segments_of(desk, job):
    return desk.place.sql("select * from segments where job_id = %s order by number", job["id"])


def test_the_estimate_learns_from_what_was_done_here(desk):
    job = desk.ask().json()
    desk.worked(4.8)  # 48 frames, two labels: 0.05 s each
    seen = desk.editor.get(f"/v1/jobs/{job['id']}").json()
    assert seen["progress"] == pytest.approx(0.48)
    assert seen["frames_per_s"] > 0
    assert seen["eta_s"] > 0
    estimate = desk.ask(path="jobs:estimate", labels=desk.labels[:1]).json()
    assert estimate["gpu_seconds"] == pytest.approx(0.05 * 100)
    assert "on cpu" in estimate["basis"]


def test_a_month_that_a_job_would_pass_refuses_it(desk):
    desk.ask()
    desk.worked(4.8)
    assert desk.budget(12).status_code == 200
    refused = desk.ask()  # 4.8 used, 5.2 of the first promised, 10 wanted
    assert refused.status_code == 402, refused.text
    assert refused.json()["type"].endswith("budget-exceeded")
    assert "gpu_seconds_per_month" in refused.json()["detail"]
    assert desk.budget(None).status_code == 200
    assert desk.ask().status_code == 201
    assert desk.owner.get(f"/v1/projects/{desk.project}").json()["gpu_seconds_used"] == pytest.approx(4.8)


def test_only_an_owner_sets_the_budget(desk):
    refused = desk.budget(1, who=desk.editor)
    assert refused.status_code == 403
    assert "owner" in refused.json()["detail"]


def test_only_editors_ask_and_strangers_see_nothing(desk):
    assert desk.ask(desk.annotator).status_code == 403
    assert desk.ask(desk.stranger).status_code == 404
    assert desk.ask(desk.stranger, path="jobs:estimate").status_code == 404
    assert desk.ask(desk.annotator, path="jobs:estimate").status_code == 200


def test_what_cannot_be_done_is_refused_and_queues_nothing(desk):
    before = desk.place.sql("select count(*) from jobs")
    gone = desk.label("gone")
    desk.place.sql("update labels set archived_at = now() where id = %s", gone)
    for status, words, spec in (
        (404, "no label", {"labels": [str(uuid4())]}),
        (422, "archived", {"labels": [gone]}),
        (422, "twice", {"labels": [desk.labels[0]] * 2}),
        (422, "no frame", {"target": {"filter": {"video_ids": [str(uuid4())]}}}),
        (404, "frames are not there", {"target": {"frame_ids": [str(uuid4())]}}),
        (422, "fps", {"kind": "track", "fps": 1000}),
        (422, "labels", {"kind": "track", "labels": [desk.labels[0]] * 51}),
    ):
        answer = desk.ask(**spec)
        assert answer.status_code == status, (spec, answer.text)
        assert words in answer.text
    for spec in (
        {"kind": "freeze", "dataset_id": str(uuid4())},
        {"kind": "export", "dataset_version_id": str(uuid4()), "format": "coco"},
    ):
        assert desk.editor.post(f"/v1/projects/{desk.project}/jobs", json={"spec": spec}).status_code == 404
    elsewhere = {"kind": "import", "object_key": f"projects/{uuid4()}/imports/x", "format": "coco"}
    assert desk.editor.post(f"/v1/projects/{desk.project}/jobs", json={"spec": elsewhere}).status_code == 422
    retrack = {"kind": "retrack", "track_id": str(uuid4()), "pts_us": 0}
    assert desk.editor.post(f"/v1/projects/{desk.project}/jobs", json={"spec": retrack}).status_code == 404
    assert desk.place.sql("select count(*) from jobs") == before


def test_a_search_result_is_asked_for_by_its_frames(desk):
    frames = [str(row["id"]) for row in desk.place.sql("select id from frames where video_id = %s limit 7", desk.video)]
    job = desk.ask(target={"frame_ids": frames}).json()
    assert (job["estimate"]["frames"], job["estimate"]["segments"]) == (7, 1)


def test_tracking_is_cut_so_that_neighbours_share_eight_times(desk):
    job = desk.ask(kind="track").json()
    plans = [row["plan"] for row in segments_of(desk, job)]
    assert [len(plan["pts_us"]) for plan in plans] == [64, 44]
    assert plans[0]["pts_us"][-8:] == plans[1]["pts_us"][:8]
    assert sorted({*plans[0]["pts_us"], *plans[1]["pts_us"]}) == list(range(0, 100_000, 1000))

    job = desk.ask(kind="track", fps=10.0).json()  # ten seconds
    rows = segments_of(desk, job)
    assert [(row["plan"]["start_us"], row["plan"]["end_us"], row["frames_total"]) for row in rows] == [
        (0, 6_300_000, 64),
        (5_600_000, 9_900_000, 44),
    ]
    assert job["estimate"]["frames"] == 108


def test_a_cancelled_job_keeps_what_it_finished_and_a_retry_does_the_rest(desk):
    job = desk.ask().json()
    desk.worked(1.0)
    assert desk.editor.post(f"/v1/jobs/{job['id']}:cancel").json()["state"] == "cancelled"
    assert sorted(row["state"] for row in segments_of(desk, job)) == ["cancelled", "cancelled", "done"]
    assert desk.editor.post(f"/v1/jobs/{job['id']}:retry").json()["state"] == "queued"
    assert sorted(row["state"] for row in segments_of(desk, job)) == ["done", "queued", "queued"]
    desk.worked(1.0, segments_too=2)
    ended = desk.editor.get(f"/v1/jobs/{job['id']}").json()
    assert (ended["state"], ended["result"]["segments_done"], ended["result"]["found"]) == ("succeeded", 3, 9)


def test_without_its_weights_a_job_is_refused(place, desk):
    place.sql("update models set uri = 'other' where family = 'sam3'")
    try:
        refused = desk.ask()
        assert refused.status_code == 503
        assert "argus models add" in refused.json()["detail"]
    finally:
        place.sql("update models set uri = %s where family = 'sam3'", MODEL)
