"""`argus jobs`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING
from uuid import UUID

import click

from argus_ray.cli.endpoint import Endpoint
from argus_ray.cli.inputs import project_option
from argus_ray.cli.output import FAILED, complain, json_option, show, show_json, show_one
from argus_ray.schemas.job import ENDED, Estimate, Job, JobState

if TYPE_CHECKING:
    from argus_ray.client import Client

JOB_COLUMNS = ("id", "kind", "state", "progress", "video_id", "created_at", "finished_at")
STATES = click.Choice([state.value for state in JobState])


@click.group()
def jobs() -> None:
    """Follow, cancel and retry work."""


@jobs.command("list")
@project_option
@click.option("--state", "states", type=STATES, multiple=True, help="In this state; may be repeated.")
@click.option("--video", "video_id", type=click.UUID, help="Of this video.")
@json_option
@click.pass_obj
def list_jobs(
    endpoint: Endpoint, project: UUID, states: tuple[str, ...], video_id: UUID | None, *, as_json: bool
) -> None:
    """List a project's jobs, the newest first: argus jobs list --project PROJECT --state failed"""
    with endpoint.client() as argus:
        found = argus.jobs.list(project, state=[JobState(state) for state in states], video_id=video_id)
        show(found, JOB_COLUMNS, as_json=as_json)


@jobs.command("show")
@click.argument("job_id", type=click.UUID)
@click.option("--wait", is_flag=True, help="Until it has ended; exit 1 unless it succeeded.")
@json_option
@click.pass_context
def show_job(context: click.Context, job_id: UUID, *, wait: bool, as_json: bool) -> None:
    """Show a job: argus jobs show JOB"""
    with context.obj.client() as argus:
        job = wait_for(argus, job_id) if wait else argus.jobs.get(job_id)
    if as_json:
        show_one(job, as_json=True)
    else:
        _show_job(job)
    context.exit(FAILED if wait and job.state != JobState.SUCCEEDED else 0)


@jobs.command("cancel")
@click.argument("job_id", type=click.UUID)
@json_option
@click.pass_obj
def cancel_job(endpoint: Endpoint, job_id: UUID, *, as_json: bool) -> None:
    """Stop a job; running work ends soon after: argus jobs cancel JOB"""
    with endpoint.client() as argus:
        show_one(argus.jobs.cancel(job_id), as_json=as_json)


@jobs.command("retry")
@click.argument("job_id", type=click.UUID)
@json_option
@click.pass_obj
def retry_job(endpoint: Endpoint, job_id: UUID, *, as_json: bool) -> None:
    """Queue a failed or cancelled job again: argus jobs retry JOB"""
    with endpoint.client() as argus:
        show_one(argus.jobs.retry(job_id), as_json=as_json)


def _show_job(job: Job) -> None:
    """A field a line; how far it is, and what it was thought to take, in words."""
    show_one(job, as_json=False, without={"progress", "frames_per_s", "eta_s", "estimate"})
    click.echo(f"progress: {told(job)}")
    if job.estimate is not None:
        click.echo(f"estimate: {_estimated(job.estimate)}")


def told(job: Job) -> str:
    """How far it is, how fast, and how long it still takes: 34 %, 12.5 frames/s, 40 s left."""
    parts = [f"{job.progress:.0%}"]
    if job.state not in ENDED:
        if job.frames_per_s is not None:
            parts.append(f"{job.frames_per_s:.3g} frames/s")
        if job.eta_s is not None:
            parts.append(f"{_lasting(job.eta_s)} left")
    return ", ".join(parts)


def _estimated(estimate: Estimate) -> str:
    seconds = "an unknown time" if estimate.gpu_seconds is None else f"about {_lasting(estimate.gpu_seconds)} of a GPU"
    return f"{estimate.frames} frames in {estimate.segments} segments, {seconds} ({estimate.basis})"


def _lasting(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.3g} s"


def print_estimate(estimate: Estimate, *, as_json: bool) -> None:
    """What a job would take, which nobody has asked for yet."""
    show_json(estimate.model_dump(mode="json")) if as_json else click.echo(_estimated(estimate))


def print_job(context: click.Context, argus: Client, job: Job, *, wait: bool, as_json: bool) -> None:
    """A job's id, or where it is waited for its result; exit 1 unless it succeeded then."""
    if not wait:
        show_one(job, as_json=True) if as_json else click.echo(job.id)
        return
    ended = wait_for(argus, job.id)
    if as_json:
        show_one(ended, as_json=True)
    elif ended.state is JobState.SUCCEEDED:
        show_json(ended.result or {"job_id": str(ended.id)})
    else:
        complain(ended.reason.detail if ended.reason else f"the job was {ended.state}")
    context.exit(0 if ended.state is JobState.SUCCEEDED else FAILED)


def wait_for(argus: Client, job_id: UUID) -> Job:
    """The job, once it has ended; on a terminal a line tells how far it is."""
    if not sys.stderr.isatty():
        return argus.jobs.wait(job_id, timeout_s=float("inf"))

    def tell(job: Job) -> None:
        click.echo(f"\r\x1b[K{job.kind} {told(job)}", err=True, nl=job.state in ENDED)

    return argus.jobs.wait(job_id, timeout_s=float("inf"), progress=tell)
