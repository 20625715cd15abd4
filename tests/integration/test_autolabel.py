"""Autolabel on a local Ray, with Postgres, S3 and a tiny SAM 3 of random weights: what a run makes of what was asked."""

from __future__ import annotations

import pytest

from argus_ray.pipelines import autolabel
from tests.labelling import add_drawn, add_label, ask, job, labelling_place


@pytest.fixture(scope="module")
def here(postgres, s3, ray_cluster, tmp_path_factory):
    here = labelling_place(postgres, s3, tmp_path_factory.mktemp("autolabel"))
    yield here
    here.close()


@pytest.fixture(scope="module")
def labelled(here):
    """One run over two videos and two labels, of which one has two phrases."""
    videos = [add_drawn(here, frames=60, seed=1), add_drawn(here, frames=10, seed=2)]
    labels = [add_label(here, "car"), add_label(here, "boat", prompts=["boat", "ship"])]
    asked = ask(here, "autolabel", labels)
    assert autolabel.run(here.settings)
    return videos, labels, asked


def test_every_frame_is_answered_for_every_label(here, labelled):
    _, _, asked = labelled
    row = job(here, asked)
    assert (row["state"], row["progress"], row["reason"]) == ("succeeded", 1, None)
    assert row["result"]["frames"] == 70
    assert row["result"]["segments_done"] == 3
    assert here.one("select count(*) from answers")["count"] == 140
    assert here.one("select count(*) from annotations")["count"] == row["result"]["found"] > 0


def test_masks_have_the_size_of_the_video_and_their_boxes_fit_them(here, labelled):
    from argus_ray.models.concepts import box_of
    from argus_ray.rle import Rle, area

    for row in here.all("select a.*, v.width, v.height from annotations a join videos v on v.id = a.video_id limit 50"):
        mask = Rle((row["height"], row["width"]), row["counts"])
        assert area(mask) == row["area_px"]
        assert box_of(mask) == pytest.approx((row["x"], row["y"], row["w"], row["h"]))
        assert (row["source"], row["state"], row["kind"], row["method"]) == ("model", "proposed", "mask", "sam3")
