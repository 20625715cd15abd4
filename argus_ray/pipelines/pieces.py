"""Work that is one piece: a run takes its pool's place and does one segment after the other, in its own process.

It needs no dataset, since nothing is shared out. Beside the work a thread says that it goes on; the work's effects and
its end are one fenced transaction, so that a run that was taken for dead writes nothing.

    what the work raises                         what happens
    nothing                                      its effects are written, and the job has succeeded
    what the asker can mend (status below 500)   the job fails, with that as its reason
    Unavailable                                  given back for later; the attempt does not count
    FenceLost: cancelled, or with another run    nothing is written
    anything else                                again later; the job fails when the attempts are used up
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any
from uuid import UUID, uuid4

from argus_ray import leases
from argus_ray.catalog import runs, segments, work
from argus_ray.catalog.bell import Bell
from argus_ray.catalog.connect import Database, listen_url, worker_url
from argus_ray.catalog.segments import Claim
from argus_ray.catalog.statement import Tx
from argus_ray.catalog.work import Started
from argus_ray.errors import ArgusError, Conflict, FenceLost, Unavailable
from argus_ray.pipelines import ends
from argus_ray.settings import Settings

log = logging.getLogger(__name__)

Effects = Callable[[Tx], dict[str, Any]]
"""Writes what was made, in the transaction that ends the job, and says what the job's result is. It may run again."""

Tell = Callable[[float], None]
"""Says how far the work is, from 0 to 1; raises FenceLost where it was cancelled: the work is to stop."""

Work = Callable[[Settings, Started, Tell], Effects]
"""Does the long part outside any transaction. It may be done again after a loss: its objects' keys are functions of ids."""

POLL_S = 0.5
BEAT_S = 10.0


def run(settings: Settings, works: Mapping[str, Work], *, pool: str) -> bool:
    """Take the pool's place and do what is queued of these kinds; False at once where another run has the place."""
    url, run_id = worker_url(settings), uuid4()
    place = runs.place(run_id, pool=pool, kind=pool, lease_s=settings.lease_s, max_life_s=settings.max_life_s)
    with closing(Database(url)) as database:
        if database.retry(lambda tx: tx.maybe(place)) is None:
            log.info("another run of pool %s is alive", pool)
            return False
        log.info("run %s of pool %s begins", run_id, pool)
        with (
            leases.kept(url, run_id, lease_s=settings.lease_s, max_life_s=settings.max_life_s),
            Bell(listen_url(settings), "argus_segments", "argus_jobs") as bell,
        ):
            for claim, kind in _claimed(settings, database, bell, run_id, list(works)):
                _do(settings, database, claim, works[kind])
    log.info("run %s of pool %s has ended", run_id, pool)
    return True


def _claimed(
    settings: Settings, database: Database, bell: Bell, run_id: UUID, kinds: list[str]
) -> Iterator[tuple[Claim, str]]:
    """One claim after the other, the kinds in turn, until the queue has stayed empty for a while."""
    seen, turns = time.monotonic(), itertools.count()
    places = itertools.count()
    no = next(places)
    while True:
        first = next(turns) % len(kinds)
        for kind in kinds[first:] + kinds[:first]:
            claim = _claim(database, run_id, no, kind)
            if claim is not None:
                yield claim, kind
                no, seen = next(places), time.monotonic()
                break
        else:
            pulse = database.retry(lambda tx: tx.one(segments.pulse(run_id, kinds=kinds)))
            if pulse.busy:
                seen = time.monotonic()
            lingers_s = 0 if pulse.others_wait else settings.linger_s
            if not pulse.accepting or time.monotonic() - seen > lingers_s:
                return
            bell.wait(POLL_S)


def _claim(database: Database, run_id: UUID, no: int, kind: str) -> Claim | None:
    try:
        return database.retry(lambda tx: tx.maybe(segments.claim(run_id, ahead=1, no=no, kind=kind)))
    except Conflict:  # claimed already, before the connection was lost
        return database.retry(lambda tx: tx.maybe(segments.said(run_id, since=no)))


def _do(settings: Settings, database: Database, claim: Claim, do: Work) -> None:
    """One piece, from its start to its end."""
    started = database.retry(lambda tx: tx.maybe(work.start(claim)))
    if started is None:
        return
    most = settings.max_attempts
    try:
        with _beating(database.url, started) as tell:
            effects = do(settings, started, tell)
        database.retry(lambda tx: _end(tx, started, effects))
    except FenceLost:
        log.info("job %s was cancelled, or is with another run: nothing was written", started.job_id)
    except Unavailable as error:
        log.warning("job %s is given back: %s", started.job_id, error)
        database.retry(lambda tx: tx.maybe(segments.give_back(claim)))
    except Exception as error:
        if isinstance(error, ArgusError) and error.status < 500:  # the asker's own
            reason, most = error.reason(), 0
        else:
            log.exception("job %s, attempt %d", started.job_id, started.attempts)
            reason = _reason(error, started.kind)
        _give_up(database, started, reason, most)


def _end(tx: Tx, started: Started, effects: Effects) -> None:
    tx.maybe(segments.lock_job(started.job_id))
    tx.one(work.tell(started.claim, progress=1))  # the fence, before anything is written
    tx.run(work.report(started.job_id, effects(tx)))
    ends.finish(tx, started.claim, started.job_id)


def _give_up(database: Database, started: Started, reason: dict[str, Any], max_attempts: int) -> None:
    try:
        database.retry(
            lambda tx: ends.retry_or_fail(tx, started.claim, started.job_id, reason, max_attempts=max_attempts)
        )
    except FenceLost:
        log.info("job %s is with another run already", started.job_id)


def _reason(error: Exception, kind: str) -> dict[str, Any]:
    if isinstance(error, ArgusError):
        return error.reason()
    return ArgusError(f"{kind} failed: {type(error).__name__}: {error}").reason()


@contextmanager
def _beating(database_url: str, started: Started) -> Iterator[Tell]:
    """What the work tells its progress by, and a thread that says meanwhile that it goes on."""
    over, lost = threading.Event(), threading.Event()
    far = [0.0]

    def say(database: Database) -> None:
        database.retry(lambda tx: tx.one(work.tell(started.claim, progress=far[0])))
        database.retry(lambda tx: tx.run(work.progress([started.job_id])))

    def beat() -> None:
        with closing(Database(database_url, patience_s=0)) as database:
            while not over.wait(BEAT_S):
                try:
                    say(database)
                except FenceLost:
                    lost.set()
                    return
                except Unavailable as error:
                    log.warning("%s", error)

    told_at = [time.monotonic()]
    with closing(Database(database_url)) as own:

        def tell(progress: float) -> None:
            far[0] = max(far[0], progress)
            if lost.is_set():
                raise FenceLost(f"job {started.job_id} was cancelled, or taken over")
            if time.monotonic() - told_at[0] >= 1:
                told_at[0] = time.monotonic()
                say(own)

        thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield tell
        finally:
            over.set()
            thread.join()
