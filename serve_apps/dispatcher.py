"""The dispatcher: work of a kind is queued, so one run of that kind is alive.

One replica, one thread. It listens for what the catalogue tells and looks by itself every few seconds besides, so that a
lost notification, a restart of Postgres or of its own process delay things and lose none. Nothing it remembers matters:
the place of a run is taken in Postgres, and a run too many ends at once.

    told or seen                                    done
    a segment is queued, an upload was announced    start a run of its pool unless one takes new work
    vectors wait to be folded                       start a run of fold, likewise
    a run's lease lapsed, a segment stands still    give its segments back
    nothing is left of a running job                end it: its last segments went with their videos
    messages that the database cannot send          post them to Realtime
    every minute                                    posters that could not be stored; what is over is swept
"""

from __future__ import annotations

import logging
import shlex
import sys
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import ray
from pydantic import BaseModel, Field
from ray import serve
from ray.job_submission import JobStatus, JobSubmissionClient
from ray.serve import Application

from argus_ray.catalog import broadcasts, fold, runs, segments, work
from argus_ray.catalog.bell import Bell
from argus_ray.catalog.connect import Database, listen_url, worker_url
from argus_ray.errors import ArgusError, Unavailable
from argus_ray.pipelines import posters
from argus_ray.s3 import S3
from argus_ray.schemas.job import JobKind
from argus_ray.settings import Settings
from argus_ray.sweeper import Swept, sweep
from argus_ray.telemetry import log_to_stderr
from argus_ray.thumbnails import Thumbnails

log = logging.getLogger(__name__)

POOLS = {
    "ingest": (JobKind.INGEST,),
    "autolabel": (JobKind.AUTOLABEL,),
    "track": (JobKind.TRACK,),
    "dataset_work": (JobKind.FREEZE, JobKind.EXPORT, JobKind.IMPORT),
}
"""The kinds of work that the runs of a pool do; `jobs/<pool>.py` is the entry point of each."""
POLL_S = 5.0
CHORES_S = 60.0
STARTING_S = 90.0
"""A run that was submitted has so long to take its place before another is submitted."""
BACKOFF_CAP_S = 300.0
HUNG_S = 300.0
BROADCASTS_AT_ONCE = 200
BROADCASTS_KEPT_S = 600.0


class Args(BaseModel):
    """What a Serve config file may say of the dispatcher."""

    num_cpus: float = Field(0.05, ge=0)


@dataclass
class Starter:
    """Starts runs of one pool as Ray jobs, one at a time, later and later where they fail."""

    pool: str
    entrypoint: str
    client: JobSubmissionClient
    runtime_env: dict[str, Any]
    submitted: str | None = None
    submitted_at: float = 0.0
    failures: int = 0

    def is_starting(self) -> bool:
        """Whether a run is on its way that has not taken its place, or failed too lately to try again."""
        if self.submitted is None:
            return False
        age_s = time.monotonic() - self.submitted_at
        try:
            status = self.client.get_job_status(self.submitted)
        except RuntimeError:  # the head was restarted, and knows nothing of it
            return False
        if status in {JobStatus.PENDING, JobStatus.RUNNING}:
            return age_s < STARTING_S
        if status is JobStatus.FAILED:
            return bool(age_s < min(BACKOFF_CAP_S, 5.0 * 2**self.failures))
        return False

    def start(self, now: float) -> None:
        """Submit a run. Two dispatchers in the same moment name it the same, and one of them is refused."""
        if self.submitted is not None and self._failed(self.submitted):
            self.failures += 1
            log.warning("the last run of %s failed (%d in a row): see job %s", self.pool, self.failures, self.submitted)
        name = f"argus-{self.pool}-{int(now)}"
        try:
            self.client.submit_job(
                entrypoint=self.entrypoint,
                submission_id=name,
                runtime_env=self.runtime_env,
                metadata={"pool": self.pool, "job_name": f"argus {self.pool}"},
            )
        except RuntimeError as error:
            if "already exists" not in str(error):
                raise Unavailable(f"Ray does not take the run {name}: {error}") from error
        self.submitted, self.submitted_at = name, time.monotonic()
        log.info("submitted %s", name)

    def is_well(self) -> None:
        """A run has its place."""
        self.failures = 0

    def _failed(self, name: str) -> bool:
        try:
            return bool(self.client.get_job_status(name) is JobStatus.FAILED)
        except RuntimeError:
            return False


class Watch:
    """What the dispatcher does at each turn. Every step may fail by itself; the others are done all the same."""

    def __init__(self, settings: Settings, client: JobSubmissionClient, runtime_env: dict[str, Any]) -> None:
        self.settings = settings
        self.listen_url = listen_url(settings)
        self.database = Database(worker_url(settings), patience_s=0)
        self.stale_s = 2 * settings.decode_timeout_s + 60
        self.chores_at = 0.0
        self.starters = {
            pool: Starter(pool, f"{shlex.quote(sys.executable)} -m jobs.{pool}", client, runtime_env)
            for pool in (*POOLS, "fold")
        }

    def turn(self, *, upload_announced: bool = False) -> None:
        """Everything once, the urgent first."""
        steps = [lambda: self.start_runs(upload_announced=upload_announced), self.reclaim, self.post]
        if time.monotonic() - self.chores_at >= CHORES_S:
            self.chores_at = time.monotonic()
            steps += [self.store_posters, self.sweep]
        for step in steps:
            try:
                step()
            except (ArgusError, httpx.HTTPError, OSError) as error:
                log.warning("%s", error)
                self.database.close()
            except Exception:  # the watch goes on, whatever happened to one step of it
                log.exception("a step of the dispatcher failed")
                self.database.close()

    def start_runs(self, *, upload_announced: bool) -> None:
        with self.database.transaction() as tx:
            wanted = {pool: any(tx.one(segments.wanted(kind)) for kind in kinds) for pool, kinds in POOLS.items()}
            wanted["ingest"] |= upload_announced
            wanted["fold"] = tx.one(fold.wanted())
            alive = {pool for pool in wanted if tx.maybe(runs.accepting(pool)) is not None}
            now = tx.one(runs.clock())
        for pool, starter in self.starters.items():
            if pool in alive:
                starter.is_well()
            elif wanted[pool] and not starter.is_starting():
                starter.start(now)

    def reclaim(self) -> None:
        """Give back what nobody works on, and forget the runs that held it."""
        with self.database.transaction() as tx:
            back = tx.all(segments.reclaim(stale_s=self.stale_s, nodes=_living_nodes()))
            gone = tx.all(runs.bury())
            for job_id in tx.all(work.left_alone()):
                tx.maybe(segments.lock_job(job_id))
                tx.maybe(work.settle(job_id))
        if back:
            log.warning("%d segments were given back: their runs are gone, or they stood still", len(back))
        if gone:
            log.warning("runs that ended without a word: %s", ", ".join(map(str, gone)))

    def post(self) -> None:
        """Messages to Realtime by HTTP, in order; they stay queued while it is away."""
        url, key = self.settings.supabase_url, self.settings.secret("secret_key")
        with self.database.transaction() as tx:
            tx.run(broadcasts.drop_old(BROADCASTS_KEPT_S))
        while url and key:
            with self.database.transaction() as tx:
                waiting = tx.all(broadcasts.take(BROADCASTS_AT_ONCE))
                if not waiting:
                    return
                messages = [
                    {"topic": one.topic, "event": one.event, "payload": one.payload, "private": True} for one in waiting
                ]
                httpx.post(
                    f"{url}/realtime/v1/api/broadcast",
                    headers={"apikey": key, "Authorization": f"Bearer {key}"},
                    json={"messages": messages},
                    timeout=10,
                ).raise_for_status()

    def store_posters(self) -> None:
        if self.settings.supabase_url:
            posters.store_missing(self.settings, self.database)

    def sweep(self) -> None:
        s3 = S3(self.settings)
        thumbnails = Thumbnails(self.settings) if self.settings.supabase_url else None
        try:
            swept = sweep(self.database, s3, thumbnails, datetime.now(UTC))
        finally:
            s3.close()
            if thumbnails:
                thumbnails.close()
        if swept != Swept():
            log.info("%s", swept)


def _living_nodes() -> list[str] | None:
    """None where this process does not belong to the cluster."""
    return [node["NodeID"] for node in ray.nodes() if node["Alive"]] if ray.is_initialized() else None


@serve.deployment(num_replicas=1, health_check_period_s=10, graceful_shutdown_timeout_s=5)
class Dispatcher:
    """Runs the watch in a thread for as long as the replica lives."""

    def __init__(self, settings: Settings) -> None:
        self.over = threading.Event()
        log_to_stderr(settings.log_format)
        given = ray.get_runtime_context().runtime_env.get("env_vars")
        client = JobSubmissionClient(settings.ray_dashboard_url or "http://127.0.0.1:8265")
        # what the deployment was given by its own environment, the runs get too; else they inherit the cluster's
        self.watch = Watch(settings, client, {"env_vars": given} if given else {})
        self.turned_at = time.monotonic()
        self.thread = threading.Thread(target=self._loop, name="watch", daemon=True)
        self.thread.start()

    def _loop(self) -> None:
        with Bell(self.watch.listen_url, "argus_jobs", "argus_broadcasts") as bell:
            announced = False
            while not self.over.is_set():
                self.watch.turn(upload_announced=announced)
                self.turned_at = time.monotonic()
                announced = any(note.payload == "upload" for note in bell.wait(POLL_S))

    def check_health(self) -> None:
        """Serve replaces the replica where this raises."""
        if not self.thread.is_alive() or time.monotonic() - self.turned_at > HUNG_S:
            raise Unavailable("the dispatcher's watch has stopped")

    def __call__(self) -> dict[str, Any]:
        """What it last did, for whoever asks the handle."""
        return {
            "seconds_since_turn": round(time.monotonic() - self.turned_at, 1),
            "runs": {pool: starter.submitted for pool, starter in self.watch.starters.items()},
        }

    def __del__(self) -> None:
        self.over.set()


def build(given: dict[str, Any] | Args) -> Application:
    """The application, as `serve run serve_apps.dispatcher:build` and a Serve config file name it."""
    args = Args.model_validate(given)
    deployment = Dispatcher.options(ray_actor_options={"num_cpus": args.num_cpus})  # type: ignore[attr-defined]
    return deployment.bind(Settings())
