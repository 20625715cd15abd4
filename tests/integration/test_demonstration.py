"""What the demo does with concepts after its search, on real parts but for Ray: the stages work in this process."""

from __future__ import annotations

import io
import json
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from pydantic import SecretStr

from argus_ray import weights
from argus_ray.catalog.frames import frame_id
from argus_ray.cli import demonstration
from argus_ray.cli.demonstration import concepts, freezing
from argus_ray.cli.demonstration.steps import Steps
from argus_ray.client import Client
from argus_ray.s3 import frame_key
from argus_ray.schemas.project import Project
from argus_ray.schemas.video import Video
from argus_ray.settings import DEMO_SAM3, DEMO_SIGLIP2
from argus_ray.synthetic.video import VideoTruth
from tests.library import Library, library
from tests.working import working

VIDEOS = 3


@pytest.fixture
def place(postgres, s3):
    with library(postgres, s3, siglip2_model=DEMO_SIGLIP2, sam3_model=DEMO_SAM3, device="cpu") as place:
        owner_url = SecretStr(postgres.url(place.owner.info.dbname))
        weights.register_sam3(place.settings.model_copy(update={"database_url": owner_url}), DEMO_SAM3)
        yield place


def ingested(place: Library, argus: Client, project: Project, file: Path, truth: VideoTruth) -> Video:
    """The video as its ingest leaves it: ready, with a frame a second."""
    video = argus.videos.upload(project.id, file)
    (job,) = place.sql("select id, project_id, video_id from jobs where video_id = %s", video.id)
    place.make_ready(job)
    place.sql("update videos set duration_us = %s, frame_rate = 25 where id = %s", truth.duration_us, video.id)
    for second in range(int(truth.duration_us // 1_000_000)):
        pts_us, jpeg = second * 1_000_000, io.BytesIO()
        Image.fromarray(truth.drawing_at(pts_us).rgb).save(jpeg, "JPEG")
        place.s3.put_frames([(frame_key(project.id, video.id, pts_us), jpeg.getvalue())])
        place.sql(
            "insert into frames (project_id, video_id, pts_us, id, job_id, segment_number, width, height, size_bytes, why)"
            " values (%s, %s, %s, %s, %s, 0, 640, 360, 1000, 'fps')",
            project.id, video.id, pts_us, frame_id(video.id, pts_us), job["id"],
        )  # fmt: skip
    return argus.videos.get(video.id)


def test_concepts_are_found_followed_corrected_frozen_and_exported_as_they_were_drawn(
    place, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    truths = demonstration.draw(Path("demo/videos"), videos=VIDEOS)
    steps = Steps()
    with working(place), Client(place.url, place.issuer.token("ana@example.org")) as argus:
        project = argus.projects.create("Demo")
        videos = [ingested(place, argus, project, Path("demo/videos", name), truth) for name, truth in truths.items()]

        found = concepts.find(argus, project, videos, truths, steps)
        followed = concepts.follow(argus, project, found, truths, steps)
        concepts.review(argus, project, found, followed, truths, steps)
        freezing.freeze_and_export(argus, project, steps)

    told = capsys.readouterr().out
    assert told.count(", at least") == 3
    assert steps.failed is None
    with Image.open("demo/concepts.png") as sheet:
        assert sheet.width > 1000
    with av.open("demo/tracked.mp4") as clip:
        assert clip.streams.video[0].frames == truths[followed.videos[0].name].frames
    documents = [json.loads(file.read_text()) for file in Path("demo/coco/annotations").glob("*.json")]
    assert sum(len(document["annotations"]) for document in documents) > 0
    assert np.all([Path("demo", name).stat().st_size > 0 for name in ("coco.zip", "cvat-video.zip")])
