"""`argus jobs`."""

from __future__ import annotations

from uuid import UUID

import click

from argus_ray.cli.endpoint import Endpoint
from argus_ray.cli.inputs import project_option
from argus_ray.cli.output import FAILED, json_option, show, show_one
from argus_ray.schemas.job import JobState

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
        job = argus.jobs.wait(job_id, timeout_s=float("inf")) if wait else argus.jobs.get(job_id)
    show_one(job, as_json=as_json)
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
