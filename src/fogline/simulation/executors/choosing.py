"""Which executor a job gets."""

from __future__ import annotations

from fogline.jobs import Job, JobError
from fogline.simulation.executors.base import EXECUTORS, Executor
from fogline.training.task import Task


def executor_for(job: Job, task: Task) -> tuple[type[Executor], int]:
    """The executor that the job names, or the first that takes its task; and how many worker processes it uses.

    Where the job says how many processes it wants, only an executor that uses so many will do.

    Raises:
        JobError: there is none of that name, or none that takes the task with so many processes; one sentence.
    """
    names = list(EXECUTORS) if job.executor is None else [_named(job.executor)]
    refusals: list[str] = []
    for name in names:
        kind = EXECUTORS[name]
        processes = kind.processes_for(job.processes)
        if job.processes not in (None, processes):
            if job.executor is not None:
                uses = f"{processes} at least" if processes else "none"
                raise JobError(f"processes is {job.processes}, but the executor '{name}' uses {uses}.")
            continue
        why = kind.refuses(task)
        if why is None:
            return kind, processes
        refusals.append(why)
    raise JobError(" ".join(refusals))


def useful_processes(kind: type[Executor], wanted: int, devices: int) -> int:
    """As many of the worker processes that a job wants as can be busy.

    More than there are devices that train at once never are, except those that the executor would take by itself: they
    share the judging too.

    Args:
        kind: the executor.
        wanted: worker processes that the job wants of it.
        devices: that train at once.
    """
    return min(wanted, max(devices, kind.processes_for(None)))


def _named(name: str) -> str:
    try:
        return EXECUTORS.find(name).name
    except ValueError as error:
        raise JobError(f"executor: {error}") from error
