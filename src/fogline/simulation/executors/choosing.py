"""Which executor a job gets."""

from __future__ import annotations

from fogline.jobs import Job, JobError
from fogline.simulation.executors.base import EXECUTORS, Executor
from fogline.training.task import Task

MOST_PER_CORE = 4
"""Worker processes: one is best, and more may stand in for a machine with more cores."""


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


def useful_processes(kind: type[Executor], wanted: int, pieces: int) -> int:
    """As many of the worker processes that a job wants as can be busy.

    More than there are pieces of work at once never are, except those that the executor would take by itself: they
    share the judging too. And of many on one core each only takes memory.

    Args:
        kind: the executor.
        wanted: worker processes that the job wants of it.
        pieces: of training that go on at once: chunks of devices.
    """
    own = kind.processes_for(None)
    return min(wanted, max(pieces, own), MOST_PER_CORE * max(1, own))


def _named(name: str) -> str:
    try:
        return EXECUTORS.find(name).name
    except ValueError as error:
        raise JobError(f"executor: {error}") from error
