"""Hundreds of kills at random moments: `make soak`. What comes out is what an undisturbed run makes, row for row."""

from __future__ import annotations

import os
import random
from functools import partial

import pytest

from tests.faults.backlog import SETTINGS, ended, upload
from tests.faults.test_ingest_faults import decoders, readers, workers
from tests.ingesting import place, running
from tests.waiting import wait_until

pytestmark = pytest.mark.soak

ROUNDS, KILLS = 40, 5
VICTIMS = {
    "reader": readers,
    "extractor": lambda _: workers("FrameExtractor"),
    "decoder": lambda _: decoders(),
    "embedder": lambda _: workers("FrameEmbedder"),
    "writer": lambda _: workers("CatalogWriter"),
}


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_nothing_is_lost_and_nothing_doubled(postgres, s3, ray_cluster, clip, undisturbed, tmp_path, seed):
    chance = random.Random(seed)
    # a decoder's death counts as an attempt: as many as could fall on one segment must be allowed
    here = place(postgres, s3, tmp_path, **{**SETTINGS, "max_attempts": KILLS + 1})
    upload(here, clip)
    killed = []
    try:
        with running(here):
            for _ in range(KILLS):
                goal = kept(here) + chance.randrange(40)
                wait_until(partial(reached, here, goal))
                if ended(here):
                    break
                name = chance.choice(sorted(VICTIMS))
                for victim in VICTIMS[name](here)[:1]:
                    killed.append(name)
                    try:
                        os.kill(victim.pid, 9)
                    except ProcessLookupError:
                        continue
                here.owner.execute("update segments set not_before = now() where state = 'queued'")
            wait_until(lambda: hurry(here) and ended(here))
        assert here.content() == undisturbed, killed
    finally:
        here.close()


def kept(here) -> int:
    return here.one("select count(*) from frames")["count"]


def reached(here, goal: int) -> bool:
    return ended(here) or kept(here) >= goal


def hurry(here) -> bool:
    """Back-offs end at once."""
    here.owner.execute("update segments set not_before = now() where state = 'queued' and not_before > now()")
    return True
