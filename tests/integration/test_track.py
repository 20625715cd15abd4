"""Track in one process and on a local Ray, with Postgres, S3 and a tiny SAM 3 that detects in every frame."""

from __future__ import annotations

import itertools
import random
from uuid import UUID, uuid4

import pytest

from argus_ray.catalog import runs, segments
from argus_ray.catalog.connect import Database, worker_url
from argus_ray.errors import FenceLost
from argus_ray.pipelines import autolabel, track
from argus_ray.pipelines.stages.object_follower import ObjectFollower
from argus_ray.pipelines.stages.proposal_writer import TrackWriter
from argus_ray.pipelines.stages.rows import ClaimedSegment
from tests import tiny_sam3
from tests.labelling import add_drawn, add_label, ask, drain, job, labelling_place


@pytest.fixture(scope="module")
def here(postgres, s3, tmp_path_factory):
    folder = tmp_path_factory.mktemp("track")
    model = tiny_sam3.write(folder / "sam3", tracker="untrained", score_threshold=0.1)
    here = labelling_place(postgres, s3, folder, sam3=str(model))
    yield here
    here.close()


@pytest.fixture(scope="module")
def stages(here):
    """Follower and writer, as a run has them."""
    database = Database(worker_url(here.settings))
    model = autolabel.registered(here.settings, database)
    database.close()
    follower = ObjectFollower(here.settings, model.id)
    writer = TrackWriter(worker_url(here.settings), model.id, "cpu", 3)
    yield follower, writer
    for part in (follower.database, writer.database):
        part.close()
    follower.kept.s3.close()
    follower.decoded.s3.close()


@pytest.fixture(scope="module")
def label(here):
    return add_label(here, "car")


@pytest.fixture(scope="module")
def tracked(here, stages, label):
    """One video of three segments, followed."""
    video = add_drawn(here, frames=130)
    asked = ask(here, "track", [label], target={"filter": {"video_ids": [str(video.id)]}})
    drain(here, *stages, kind="track")
    return video, asked


def content(here, video_id: UUID) -> list:
    """The tracks of a video with their keyframes and links, without ids."""
    keyframes = here.all(
        """
        select t.number, t.label_id, a.pts_us, a.counts, a.outside, a.score, a.method from annotations a
        join tracks t on t.id = a.track_id where a.video_id = %s and a.deleted_at is null order by t.number, a.pts_us
        """,
        video_id,
    )
    links = here.all(
        "select t.number, k.border_us, k.iou, k.similarity from track_links k join tracks t on t.id = k.track_id"
        " where k.video_id = %s order by 1, 2",
        video_id,
    )
    return [keyframes, links]


def test_pieces_become_tracks_with_links_and_no_time_twice(here, tracked):
    video, asked = tracked
    row = job(here, asked)
    assert (row["state"], row["result"]["segments_done"]) == ("succeeded", 3)
    tracks = here.all("select * from tracks where video_id = %s order by number", video.id)
    assert [one["number"] for one in tracks] == list(range(1, len(tracks) + 1))
    assert {(one["source"], one["state"], one["method"], one["segment_number"]) for one in tracks} == {
        ("model", "proposed", "track-by-detection", None)
    }
    longest = max(tracks, key=lambda one: one["keyframes"])
    links = here.all("select * from track_links where track_id = %s order by border_us", longest["id"])
    assert len(links) == 2, "over both borders"
    assert all(link["iou"] > 0.3 and link["job_id"] == asked for link in links)
    times = [
        row["pts_us"]
        for row in here.all("select pts_us from annotations where track_id = %s order by 1", longest["id"])
    ]
    assert len(times) == len(set(times)) == longest["keyframes"]
    assert (longest["start_us"], longest["end_us"]) == (times[0], times[-1])
    assert here.one("select count(*) from answers where video_id = %s", video.id)["count"] == 130


def test_where_a_track_is_lost_an_outside_keyframe_says_so(here, tracked):
    video, _ = tracked
    looked_at = list(video.pts_us)
    for one in here.all("select id from tracks where video_id = %s", video.id):
        rows = here.all("select pts_us, outside from annotations where track_id = %s order by pts_us", one["id"])
        for before, after in itertools.pairwise(rows):
            followed_on = looked_at.index(after["pts_us"]) == looked_at.index(before["pts_us"]) + 1
            assert followed_on or before["outside"]
        assert rows[-1]["outside"] or rows[-1]["pts_us"] == looked_at[-1]


def test_the_result_is_the_same_in_whatever_order_the_segments_end(here, stages, label, tracked):
    video, _ = tracked
    before = content(here, video.id)
    ask(here, "track", [label], target={"filter": {"video_ids": [str(video.id)]}})
    follower, writer = stages
    database = Database(worker_url(here.settings))
    run_id, chunks = uuid4(), []
    with database.transaction() as tx:
        tx.one(runs.place(run_id, pool="shuffled", kind="track", lease_s=600, max_life_s=600))
    for no in range(3):
        with database.transaction() as tx:
            claim = tx.one(segments.claim(run_id, ahead=9, no=no, kind="track"))
        row = ClaimedSegment(segment_id=str(claim.segment_id), run_id=str(run_id), fence=claim.fence)
        chunks += list(follower(row))
    chunks.reverse()
    assert [writer(chunk)["outcome"] for chunk in chunks] == ["done", "done", "succeeded"]
    with database.transaction() as tx:
        tx.run(runs.release(run_id))
    database.close()
    assert content(here, video.id) == before, "and the model's earlier tracks were replaced"


def test_what_a_person_has_touched_is_not_replaced(here, stages, label):
    video = add_drawn(here, frames=10, seed=5)
    spec = {"target": {"filter": {"video_ids": [str(video.id)]}}}
    ask(here, "track", [label], **spec)
    drain(here, *stages, kind="track")
    touched = here.one("select id from tracks where video_id = %s order by keyframes desc limit 1", video.id)["id"]
    here.owner.execute("update tracks set state = 'accepted', version = version + 1 where id = %s", (touched,))
    before = here.all("select id, pts_us, counts from annotations where track_id = %s order by 2", touched)
    ask(here, "track", [label], **spec)
    drain(here, *stages, kind="track")
    assert here.all("select id, pts_us, counts from annotations where track_id = %s order by 2", touched) == before
    assert here.one("select state from tracks where id = %s", touched)["state"] == "accepted"


def test_a_corrected_keyframe_is_followed_again_both_ways_between_those_of_people(here, stages, label):
    video = add_drawn(here, frames=12, seed=7)
    ask(here, "track", [label], target={"filter": {"video_ids": [str(video.id)]}})
    drain(here, *stages, kind="track")
    track_id = here.one(
        "select id from tracks where video_id = %s and start_us = 0 order by keyframes desc, number limit 1", video.id
    )["id"]
    person, corrected = video.pts_us[2], video.pts_us[6]
    for pts_us in (person, corrected):
        changed = here.owner.execute(
            "update annotations set source = 'human', state = 'accepted', version = version + 1 where track_id = %s and pts_us = %s",
            (track_id, pts_us),
        )
        assert changed.rowcount == 1
    before = keyframes_of(here, track_id)
    retracked = ask(here, "retrack", [], video_id=video.id, track_id=str(track_id), pts_us=corrected)
    drain(here, *stages, kind="track")
    assert job(here, retracked)["state"] == "succeeded", job(here, retracked)
    after = keyframes_of(here, track_id)
    for pts_us in (*video.pts_us[:3], corrected):
        assert after[pts_us] == before[pts_us], "people's, and what lies beyond them"
    new = {pts_us for pts_us, row in after.items() if row["job_id"] == retracked}
    assert new <= set(video.pts_us[3:6]) | set(video.pts_us[7:])
    assert new & set(video.pts_us[3:6])
    assert new & set(video.pts_us[7:])
    assert all(after[pts_us]["job_id"] == retracked for pts_us in after if pts_us > person and pts_us != corrected)


def keyframes_of(here, track_id):
    rows = here.all(
        "select pts_us, id, job_id, source, counts, outside from annotations where track_id = %s and deleted_at is null",
        track_id,
    )
    return {row["pts_us"]: row for row in rows}


def test_a_zombies_tracks_are_not_written(here, stages, label):
    video = add_drawn(here, frames=5, seed=9)
    ask(here, "track", [label], target={"filter": {"video_ids": [str(video.id)]}})
    follower, writer = stages
    database = Database(worker_url(here.settings))
    run_id = uuid4()
    with database.transaction() as tx:
        tx.one(runs.place(run_id, pool="zombie", kind="track", lease_s=600, max_life_s=600))
        claim = tx.one(segments.claim(run_id, ahead=9, no=0, kind="track"))
    (chunk,) = follower(ClaimedSegment(segment_id=str(claim.segment_id), run_id=str(run_id), fence=claim.fence))
    with database.transaction() as tx:
        tx.run(runs.release(run_id))
        assert tx.all(segments.reclaim(stale_s=600))
    assert writer(chunk)["outcome"] == "lost"
    with pytest.raises(FenceLost), database.transaction() as tx:
        tx.one(segments.touch(claim))
    database.close()
    assert not here.all("select from tracks where video_id = %s", video.id)
    drain(here, *stages, kind="track")
    assert here.all("select from tracks where video_id = %s", video.id)


def test_a_run_on_ray_follows_at_a_chosen_rate_and_bounds_nothing_by_luck(here, label, ray_cluster, tmp_path):
    from tests import clips

    random.seed(1)
    clip = clips.make(tmp_path / "clip.mp4", seconds=5, size=(320, 240), gop=25)
    video = here.upload(clip.path)
    here.owner.execute("update jobs set state = 'succeeded', finished_at = now() where video_id = %s", (video,))
    here.owner.execute("delete from segments where video_id = %s", (video,))
    here.owner.execute(
        "update videos set state = 'ready', width = %s, height = %s, duration_us = 5000000, ready_at = now() where id = %s",
        (*clip.displayed, video),
    )
    here.owner.execute(
        "insert into frames (project_id, video_id, pts_us, id, job_id, segment_number, width, height, size_bytes, why)"
        " values (%s, %s, 0, gen_random_uuid(), gen_random_uuid(), 0, 320, 240, 1, 'fps')",
        (here.project_id, video),
    )
    asked = ask(here, "track", [label], target={"filter": {"video_ids": [str(video)]}}, fps=25.0)
    assert track.run(here.settings)
    row = job(here, asked)
    assert (row["state"], row["result"]["segments_done"]) == ("succeeded", 3), row
    times = [
        one["pts_us"] for one in here.all("select distinct pts_us from answers where video_id = %s order by 1", video)
    ]
    assert times == list(clip.pts_us)
