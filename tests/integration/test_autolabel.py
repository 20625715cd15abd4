"""Autolabel, with Postgres, S3 and a tiny SAM 3 of random weights: once as a run on a local Ray, else in one process."""

from __future__ import annotations

import pytest

from argus_ray.catalog.connect import Database, worker_url
from argus_ray.models.concepts import box_of
from argus_ray.pipelines import autolabel
from argus_ray.pipelines.stages.concept_finder import ConceptFinder
from argus_ray.pipelines.stages.proposal_writer import ProposalWriter
from argus_ray.rle import Rle, area
from argus_ray.s3 import frame_key
from tests.labelling import add_drawn, add_label, ask, drain, job, labelling_place


@pytest.fixture(scope="module")
def here(postgres, s3, tmp_path_factory):
    here = labelling_place(postgres, s3, tmp_path_factory.mktemp("autolabel"))
    yield here
    here.close()


@pytest.fixture(scope="module")
def stages(here):
    """Finder and writer, as a run has them."""
    database = Database(worker_url(here.settings))
    model = autolabel.registered(here.settings, database)
    database.close()
    finder = ConceptFinder(here.settings)
    writer = ProposalWriter(worker_url(here.settings), model.id, "cpu", 3)
    yield finder, writer
    finder.database.close()
    writer.database.close()
    finder.pictures.s3.close()


@pytest.fixture(scope="module")
def labels(here):
    """Two labels, of which one has two phrases."""
    return [add_label(here, "car"), add_label(here, "boat", prompts=["boat", "ship"])]


@pytest.fixture(scope="module")
def labelled(here, labels, ray_cluster):
    """One run over two videos and both labels."""
    videos = [add_drawn(here, frames=60, seed=1), add_drawn(here, frames=10, seed=2)]
    asked = ask(here, "autolabel", labels, target={"filter": {"video_ids": [str(video.id) for video in videos]}})
    assert autolabel.run(here.settings)
    return videos, asked


def of_video(video, **more):
    return {"filter": {"video_ids": [str(video.id)]}, **more}


def test_every_frame_is_answered_for_every_label(here, labelled):
    _, asked = labelled
    row = job(here, asked)
    assert (row["state"], row["progress"], row["reason"]) == ("succeeded", 1, None)
    assert row["result"]["frames"] == 70
    assert row["result"]["segments_done"] == 3
    assert here.one("select count(*) from answers where job_id = %s", asked)["count"] == 140
    found = here.one("select count(*) from annotations where job_id = %s", asked)["count"]
    assert found == row["result"]["found"] > 0
    assert not here.all("select from runs")


def test_masks_have_the_size_of_the_video_and_their_boxes_fit_them(here, labelled):
    for row in here.all("select a.*, v.width, v.height from annotations a join videos v on v.id = a.video_id limit 50"):
        mask = Rle((row["height"], row["width"]), row["counts"])
        assert area(mask) == row["area_px"]
        assert box_of(mask) == pytest.approx((row["x"], row["y"], row["w"], row["h"]))
        assert (row["source"], row["state"], row["kind"], row["method"]) == ("model", "proposed", "mask", "sam3")


def test_what_it_took_is_told_to_the_budget_and_to_the_rates(here, labelled):
    _, asked = labelled
    used = here.one("select * from gpu_usage where kind = 'autolabel'")
    rate = here.one("select * from measured_rates where kind = 'autolabel'")
    assert used["frames"] == 70
    assert rate["asked"] == 140
    assert used["gpu_seconds"] == pytest.approx(job(here, asked)["result"]["gpu_seconds"], abs=0.001)
    assert rate["seconds"] == pytest.approx(used["gpu_seconds"])


def test_running_again_replaces_its_own_proposals_and_never_touches_peoples_work(here, stages, labels):
    video = add_drawn(here, frames=4, seed=3)
    ask(here, "autolabel", labels, target=of_video(video))
    drain(here, *stages)
    proposed = here.all("select id from annotations where video_id = %s order by pts_us, id", video.id)
    accepted, rejected = proposed[0]["id"], proposed[1]["id"]
    for state, one in (("accepted", accepted), ("rejected", rejected)):
        here.owner.execute("update annotations set state = %s, version = 2 where id = %s", (state, one))
    drawn = here.one(
        "insert into annotations (project_id, video_id, pts_us, label_id, kind, x, y, w, h, source, state)"
        " values (%s, %s, 0, %s, 'box', 0, 0, 1, 1, 'human', 'accepted') returning id",
        here.project_id, video.id, labels[0],
    )["id"]  # fmt: skip
    ask(here, "autolabel", labels, target=of_video(video))
    drain(here, *stages)
    after = here.all("select id, state, source from annotations where video_id = %s", video.id)
    assert {row["id"] for row in after} == {row["id"] for row in proposed} | {drawn}, "the same again is the same"
    assert {row["id"]: row["state"] for row in after if row["state"] != "proposed"} == {
        accepted: "accepted",
        rejected: "rejected",
        drawn: "accepted",
    }


def test_a_month_that_is_used_up_ends_the_job_and_keeps_what_it_committed(here, stages, labels):
    video = add_drawn(here, frames=60, seed=4)
    asked = ask(here, "autolabel", labels, target=of_video(video))
    here.owner.execute("update projects set gpu_seconds_per_month = ceil((select sum(gpu_seconds) from gpu_usage))")
    here.owner.execute("update gpu_usage set gpu_seconds = (select gpu_seconds_per_month from projects) - 0.0001")
    try:
        written = drain(here, *stages)
        assert [one["outcome"] for one in written if one["outcome"] != "lost"] == ["stopped"]
        row = job(here, asked)
        assert (row["state"], row["reason"]["type"]) == ("cancelled", "budget-exceeded")
        assert row["result"]["frames"] == 16
        assert here.one("select count(*) from answers where job_id = %s", asked)["count"] == 32
        assert {one["state"] for one in here.all("select state from segments where job_id = %s", asked)} == {
            "cancelled"
        }

        again = ask(here, "autolabel", labels, target=of_video(video))
        assert drain(here, *stages) == [], "the next one is not even begun"
        assert job(here, again)["state"] == "cancelled"
    finally:
        here.owner.execute("update projects set gpu_seconds_per_month = null")


def test_frames_that_are_gone_are_left_out_with_a_warning(here, stages, labels):
    video = add_drawn(here, frames=3, seed=6)
    asked = ask(here, "autolabel", labels, target=of_video(video))
    gone = frame_key(here.project_id, video.id, video.pts_us[1])
    here.s3.delete_object(Bucket=here.settings.bucket, Key=gone)
    drain(here, *stages)
    row = job(here, asked)
    assert (row["state"], row["result"]["frames"]) == ("succeeded", 2)
    assert [warning["type"] for warning in row["result"]["warnings"]] == ["frames-gone"]
    assert here.one("select count(*) from answers where video_id = %s", video.id)["count"] == 4


def test_a_phrase_that_the_model_cannot_read_fails_the_job_and_says_so(here, stages):
    video = add_drawn(here, frames=2, seed=8)
    endless = add_label(here, "endless", prompts=["a very long phrase indeed " * 10])
    asked = ask(here, "autolabel", [endless], target=of_video(video))
    drain(here, *stages)
    row = job(here, asked)
    assert (row["state"], row["attempts"], row["reason"]["type"]) == ("failed", 1, "invalid-request")
    assert "tokens" in row["reason"]["detail"]


def test_a_deleted_video_ends_its_part_of_the_work(here, stages, labels):
    kept, deleted = add_drawn(here, frames=2, seed=9), add_drawn(here, frames=2, seed=10)
    target = {"filter": {"video_ids": [str(kept.id), str(deleted.id)]}}
    asked = ask(here, "autolabel", labels, target=target)
    here.owner.execute("update videos set state = 'deleted', deleted_at = now() where id = %s", (deleted.id,))
    drain(here, *stages)
    row = job(here, asked)
    assert (row["state"], row["result"]["frames"]) == ("succeeded", 2)


def test_a_job_ends_with_what_its_project_lets_it_accept(here, stages):
    label = add_label(here, "bus")
    judged, video = add_drawn(here, frames=1, seed=11), add_drawn(here, frames=3, seed=12)
    here.owner.execute(
        "insert into annotations (project_id, video_id, pts_us, label_id, kind, x, y, w, h, source, state, score, model_id,"
        " reviewed_by, reviewed_at) select %s, %s, 0, %s, 'box', 0, 0, 1, 1, 'model', 'accepted', 0.001, %s,"
        " 'user:' || gen_random_uuid(), now() from generate_series(1, 200)",
        (here.project_id, judged.id, label, stages[1].model_id),
    )
    here.owner.execute(
        """update projects set settings = '{"auto_accept": {"enabled": true, "precision": 0.95}}' where id = %s""",
        (here.project_id,),
    )
    try:
        ask(here, "autolabel", [label], target=of_video(video))
        drain(here, *stages)
    finally:
        here.owner.execute("update projects set settings = '{}' where id = %s", (here.project_id,))

    found = here.all("select state, reviewed_by from annotations where video_id = %s", video.id)
    assert found
    assert {(row["state"], row["reviewed_by"]) for row in found} == {("accepted", "auto")}
