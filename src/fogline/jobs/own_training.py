"""What a job cannot say where devices train by code of their own."""

from __future__ import annotations

from fogline.algorithms import Algorithm
from fogline.jobs.errors import JobError, shown
from fogline.jobs.job import Job, Local
from fogline.training.local import LocalTraining
from fogline.training.task import Task


def check_own_training(job: Job, algorithm: Algorithm, task: Task) -> None:
    """Refuse what such a device would not see, or does not have.

    Raises:
        JobError: the job or its method says how or how much devices train, or asks for examples; one sentence.
    """
    if not task.trains_itself:
        return
    whose = f"devices of task '{task.name}' train by code of their own"
    unseen = f"{whose}, on examples that nobody else sees; leave it out"
    name, engine = type(algorithm).__name__, next(iter(task.engines().values()))
    why = engine.refuses(task, algorithm, LocalTraining())
    if why is not None:
        raise JobError(f"{name} cannot train task '{task.name}': {why}")
    unsuited = _unsuited(algorithm)
    if unsuited:
        raise JobError(f"{name} {unsuited}, and {whose}; take another method, such as 'fedavg'")
    for key, field in Local.model_fields.items():
        value = getattr(job.local, key)
        if value != field.default:
            raise JobError(f"local.{key} is {shown(value)}, and {whose}; leave it out, and say it there")
    if job.evaluation.fine_tune is not None:
        raise JobError(f"evaluation.fine_tune says how much devices train before they judge, and {whose}; leave it out")
    if "pooled" in job.evaluation.baselines:
        raise JobError(f"evaluation.baselines has 'pooled', and {unseen}")
    if job.queries:
        raise JobError(f"queries has '{job.queries[0]}', and {unseen}")


def _unsuited(algorithm: Algorithm) -> str:
    """What a method does that is of no use there; empty if there is nothing."""
    if algorithm.local_defaults:
        return "sets " + ", ".join(f"local.{name}" for name in algorithm.local_defaults)
    return "looks at devices' examples" if algorithm.looks_at_examples() else ""
