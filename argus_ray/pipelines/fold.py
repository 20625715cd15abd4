"""Fold: a run moves vectors from each model's recent part into the indexed one, batch by batch.

It needs no dataset: the work is the index's, inside Postgres. Ended at any instant, it has moved whole batches, and the
next run goes on.
"""

from __future__ import annotations

import logging
from contextlib import closing
from uuid import uuid4

from argus_ray import leases
from argus_ray.catalog import fold, models, runs
from argus_ray.catalog.connect import Database, worker_url
from argus_ray.schemas.model import EmbeddingModel
from argus_ray.settings import Settings

log = logging.getLogger(__name__)

POOL = "fold"
BATCH = 500
"""Vectors of one transaction: below a second of inserting into the index, so that nobody waits long for a lock."""


def run(settings: Settings) -> int:
    """Take the place and fold until nothing is left; how many vectors were moved. 0 where another run has the place."""
    url, run_id = worker_url(settings), uuid4()
    lease_s, max_life_s = settings.lease_s, settings.max_life_s
    place = runs.place(run_id, pool=POOL, kind="fold", lease_s=lease_s, max_life_s=max_life_s)
    with closing(Database(url)) as database:
        if database.retry(lambda tx: tx.maybe(place)) is None:
            log.info("another run of pool %s is alive", POOL)
            return 0
        with leases.kept(url, run_id, lease_s=lease_s, max_life_s=max_life_s):
            return sum(_fold(database, model) for model in database.retry(lambda tx: tx.all(models.listed())))


def _fold(database: Database, model: EmbeddingModel) -> int:
    moved, batch = 0, fold.batch(model.number, BATCH)
    while count := database.retry(lambda tx: tx.one(batch)):
        moved += count
    log.info("%d vectors of model %s were folded", moved, model.uri)
    return moved
