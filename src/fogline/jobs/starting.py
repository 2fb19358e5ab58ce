"""The model that a job begins with."""

from __future__ import annotations

from pathlib import Path

from fogline.jobs.errors import JobError
from fogline.jobs.job import Job
from fogline.params import Params, Spec, load
from fogline.training.task import Task


def first_model(job: Job, task: Task, file: str = "") -> Params:
    """The untrained model of the job's seed, or that of a file.

    Args:
        job: says which seed.
        task: says which layout.
        file: a safetensors file; empty: none.

    Raises:
        JobError: the file cannot be read, or holds another model than the task's. What trained there may be frozen
            here, and the other way round.
    """
    if not file:
        return task.initial(job.seed)
    try:
        params = load(Path(file))
    except (OSError, ValueError) as error:
        hint = " (a version of a cloud's registry is for jobs that run there)" if "@" in file else ""
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise JobError(f"start: the model {file} cannot be read{hint}: {why}") from None
    if _tensors(params.spec) != _tensors(task.spec):
        raise JobError(f"start: {file} holds another model than task '{task.name}' trains; their tensors differ")
    return params if params.spec == task.spec else Params.from_arrays(task.spec, params.arrays())


def _tensors(spec: Spec) -> set[tuple[str, tuple[int, ...], str]]:
    return {(entry.name, entry.shape, entry.dtype) for entry in spec.entries}
