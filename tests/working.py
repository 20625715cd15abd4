"""Runs of labelling and of datasets without Ray: their stages work in a thread of this process while something is queued."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

from argus_ray.catalog import segments
from argus_ray.catalog.connect import Database, worker_url
from argus_ray.pipelines import autolabel, dataset_work
from argus_ray.pipelines.stages.concept_finder import ConceptFinder
from argus_ray.pipelines.stages.object_follower import ObjectFollower
from argus_ray.pipelines.stages.proposal_writer import ProposalWriter, TrackWriter
from argus_ray.schemas.job import JobKind
from tests.labelling import drain
from tests.library import Library

LOOK_EVERY_S = 0.2


@contextmanager
def working(place: Library) -> Iterator[None]:
    """Whatever is queued but ingests is done soon, until the block ends."""
    over, failed = threading.Event(), list[BaseException]()

    def work() -> None:
        try:
            with closing(Database(worker_url(place.settings))) as database:
                _work(place, database, over)
        except BaseException as error:  # told to the test that waits for it
            failed.append(error)
            raise

    thread = threading.Thread(target=work, name="working")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(180)
        assert not thread.is_alive(), "the work does not end"
        assert not failed, failed


def _work(place: Library, database: Database, over: threading.Event) -> None:
    model_id = autolabel.registered(place.settings, database).id
    writing = (worker_url(place.settings), model_id, "cpu", 3)
    finder, follower = ConceptFinder(place.settings), ObjectFollower(place.settings, model_id)
    stages = {
        JobKind.AUTOLABEL: (finder, ProposalWriter(*writing)),
        JobKind.TRACK: (follower, TrackWriter(*writing)),
    }
    try:
        _do(place, database, stages, over)
    finally:
        follower.decoded.decoder.close()
        for part in (*stages[JobKind.AUTOLABEL], *stages[JobKind.TRACK]):
            part.database.close()


def _do(place: Library, database: Database, stages: Mapping[JobKind, tuple[Any, Any]], over: threading.Event) -> None:
    while not over.wait(LOOK_EVERY_S):
        for kind, (finder, writer) in stages.items():
            if database.retry(lambda tx, kind=kind: tx.one(segments.wanted(kind))):  # type: ignore[misc]
                drain(place, finder, writer, kind=kind)
        kinds = (JobKind.FREEZE, JobKind.EXPORT, JobKind.IMPORT)
        if any(database.retry(lambda tx, kind=kind: tx.one(segments.wanted(kind))) for kind in kinds):  # type: ignore[misc]
            dataset_work.run(place.settings.model_copy(update={"linger_s": 0}))
