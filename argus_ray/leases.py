"""Keeping a run's lease: one row in Postgres, renewed by one thread, holds everything that the run has claimed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from argus_ray.catalog import runs
from argus_ray.catalog.connect import Database
from argus_ray.errors import FenceLost, Unavailable

log = logging.getLogger(__name__)


@contextmanager
def kept(database_url: str, run_id: UUID, *, lease_s: float, max_life_s: float) -> Iterator[threading.Event]:
    """Renew the run's lease three times in its length until the block ends, then release the run's place.

    After `max_life_s` the run leaves its place to the next one and finishes what it holds. The event says that another
    has the place: nothing the run writes is accepted any more, and its reader ends by itself.
    """
    over, lost = threading.Event(), threading.Event()
    thread = threading.Thread(
        target=_renew, args=(database_url, run_id, lease_s, max_life_s, over, lost), name="lease", daemon=True
    )
    thread.start()
    try:
        yield lost
    finally:
        over.set()
        thread.join()
        _release(database_url, run_id)


def _renew(
    database_url: str, run_id: UUID, lease_s: float, max_life_s: float, over: threading.Event, lost: threading.Event
) -> None:
    database = Database(database_url, patience_s=0)
    retires_at, retired = time.monotonic() + max_life_s, False
    while not over.wait(lease_s / 3):
        try:
            with database.transaction() as tx:
                tx.one(runs.renew(run_id, lease_s=lease_s))
                if not retired and time.monotonic() >= retires_at:
                    tx.run(runs.retire(run_id))
                    retired = True
        except FenceLost:
            log.warning("run %s has lost its place and ends", run_id)
            lost.set()
            break
        except Unavailable as error:  # the next turn tries again: what the run holds is safe, or fenced
            log.warning("the lease of run %s could not be renewed: %s", run_id, error)
            database.close()
    database.close()


def _release(database_url: str, run_id: UUID) -> None:
    database = Database(database_url, patience_s=10)
    try:
        database.retry(lambda tx: tx.run(runs.release(run_id)))
    except Unavailable as error:
        log.warning("the place of run %s could not be released and lapses by itself: %s", run_id, error)
    finally:
        database.close()
