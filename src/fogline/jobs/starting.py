"""The model that a job begins with."""

from __future__ import annotations

from pathlib import Path

from fogline.jobs.errors import JobError
from fogline.jobs.job import Job
from fogline.params import Params, Spec, load
from fogline.params.low_rank import are_adapters
from fogline.training.task import Task


def first_model(job: Job, task: Task, file: str = "") -> Params:
    """The untrained model of the job's seed, or that of a file.

    Args:
        job: says which seed.
        task: says which layout.
        file: a safetensors file; empty: none.

    Raises:
        JobError: the file cannot be read, or holds another model than the task's. What trained there may be frozen
            here, and the other way round; and it may be without the task's adapters, which the seed makes.
    """
    if not file:
        return task.initial(job.seed)
    try:
        params = load(Path(file))
    except (OSError, ValueError) as error:
        hint = " (a version of a cloud's registry is for jobs that run there)" if "@" in file else ""
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise JobError(f"start: the model {file} cannot be read{hint}: {why}") from None
    try:
        return _with_adapters(params, task, job.seed).laid_out(task.spec)
    except ValueError as error:
        raise JobError(f"start: {file} holds another model than task '{task.name}' trains; {error}") from None


def _with_adapters(params: Params, task: Task, seed: int) -> Params:
    """The model; or, where it is what the task's adapters were put into, with these as the seed makes them."""
    wanted, given = ({entry.name: entry for entry in spec.entries} for spec in (task.spec, params.spec))
    new = wanted.keys() - given.keys()
    if not new or not are_adapters(new):
        return params
    made = task.initial(seed).arrays()
    spec = Spec.of([*params.spec.entries, *(wanted[name] for name in new)])
    return Params.from_arrays(spec, params.arrays() | {name: made[name] for name in new})
