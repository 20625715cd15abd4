"""The videos of the faults, and what an undisturbed run makes of them."""

from __future__ import annotations

import pytest

from argus_ray.pipelines import ingest
from tests import clips
from tests.faults.backlog import NAMES, SETTINGS, upload
from tests.ingesting import place


@pytest.fixture(scope="package")
def clip(tmp_path_factory):
    """A second or two of work."""
    return clips.make(
        tmp_path_factory.mktemp("faults") / "clip.mp4", seconds=6, size=(640, 480), gop=25
    ).path.read_bytes()


@pytest.fixture(scope="package")
def undisturbed(postgres, s3, ray_cluster, clip, tmp_path_factory):
    """The digest of what a run makes of the three videos when nothing happens."""
    here = place(postgres, s3, tmp_path_factory.mktemp("undisturbed"), **SETTINGS)
    upload(here, clip)
    assert ingest.run(here.settings)
    assert here.states() == ["ready"] * len(NAMES)
    content = here.content()
    here.close()
    return content
