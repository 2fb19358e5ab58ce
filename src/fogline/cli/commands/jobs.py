"""``fogline jobs``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from fogline.cli.commands.cloud import CLOUD
from fogline.cli.failures import reported
from fogline.cli.options import Flag, Many, group

Cloud = Annotated[Path, Parameter(env_var="FOGLINE_CLOUD")]


def add_to(app: App) -> None:
    """Add these commands."""
    jobs = group("jobs", "Jobs on real nodes.")
    jobs.command(submit)
    jobs.command(list_jobs, name="list")
    for command in (watch, stop, logs, result):
        jobs.command(command)
    app.command(jobs)


def submit(
    job: Path,
    /,
    *,
    set: Many = (),
    send: Annotated[tuple[Path, ...], Parameter(negative="", show_default=False)] = (),
    priority: int = 0,
    planned: Flag = False,
    wait: Flag = False,
    cloud: Cloud = CLOUD,
    debug: Flag = False,
) -> None:
    """Sign a job with its code, and put it into the cloud's queue.

    Parameters
    ----------
    job
        The job file (TOML). The Python files that its task imports are sent too, if they lie beside it.
    set
        Change a key of the job: --set rounds=20. May be given several times.
    send
        A further file of the job's folder to send.
    priority
        Jobs with a higher one go first.
    planned
        Before the first round, wait for the devices of all clients that the task's data names.
    wait
        Follow the job, and exit with 1 if it fails.
    cloud
        The operator's folder.
    debug
        Show the traceback of an error.
    """
    from fogline.cli.work import submit_job

    with reported(debug):
        submit_job(cloud, job, set, send, priority, planned, wait)


def list_jobs(*, cloud: Cloud = CLOUD, debug: Flag = False) -> None:
    """List the jobs.

    Parameters
    ----------
    cloud
        The operator's folder.
    debug
        Show the traceback of an error.
    """
    from fogline.cli.work import show_jobs

    with reported(debug):
        show_jobs(cloud)


def watch(job: str = "", /, *, cloud: Cloud = CLOUD, debug: Flag = False) -> None:
    """Follow a job until it is over; exit with 1 if it fails.

    Parameters
    ----------
    job
        Its id, or the beginning of it; by default the last job.
    cloud
        The operator's folder.
    debug
        Show the traceback of an error.
    """
    from fogline.cli.work import watch_job

    with reported(debug):
        watch_job(cloud, job)


def stop(
    job: str = "", /, *, publish: Flag = False, discard: Flag = False, cloud: Cloud = CLOUD, debug: Flag = False
) -> None:
    """End a job: what it has learned so far is its result, and no version of the model.

    Parameters
    ----------
    job
        Its id, or the beginning of it; by default the only one that is not over.
    publish
        Publish what it has learned so far as a version, if its job's conditions are met.
    discard
        Keep nothing of what it has learned so far.
    cloud
        The operator's folder.
    debug
        Show the traceback of an error.
    """
    from fogline.cli.work import stop_job

    with reported(debug):
        stop_job(cloud, job, publish, discard)


def logs(job: str = "", /, *, follow: Flag = False, cloud: Cloud = CLOUD, debug: Flag = False) -> None:
    """Show what a job's nodes told: rounds, refusals, failures.

    Parameters
    ----------
    job
        Its id, or the beginning of it; by default the last job.
    follow
        Go on until the job is over.
    cloud
        The operator's folder.
    debug
        Show the traceback of an error.
    """
    from fogline.cli.work import show_logs

    with reported(debug):
        show_logs(cloud, job, follow)


def result(job: str = "", /, *, to: Path | None = None, cloud: Cloud = CLOUD, debug: Flag = False) -> None:
    """Fetch a job's result from the cloud: history, model and plots, as far as they are there.

    Parameters
    ----------
    job
        Its id, or the beginning of it; by default the last job.
    to
        The folder to write into; by default runs/JOB.
    cloud
        The operator's folder.
    debug
        Show the traceback of an error.
    """
    from fogline.cli.results import fetch_result

    with reported(debug):
        fetch_result(cloud, job, to)
