"""What a job cannot say where devices train by code of their own."""

from __future__ import annotations

from fogline.algorithms import Algorithm
from fogline.jobs.errors import JobError, shown
from fogline.jobs.job import Job, Local
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
    if algorithm.local_defaults:
        named = ", ".join(f"local.{name}" for name in algorithm.local_defaults)
        raise JobError(f"{type(algorithm).__name__} sets {named}, and {whose}; take another method, such as 'fedavg'")
    for name, field in Local.model_fields.items():
        value = getattr(job.local, name)
        if value != field.default:
            raise JobError(f"local.{name} is {shown(value)}, and {whose}; leave it out, and say it there")
    if job.evaluation.fine_tune is not None:
        raise JobError(f"evaluation.fine_tune says how much devices train before they judge, and {whose}; leave it out")
    if "pooled" in job.evaluation.baselines:
        raise JobError(f"evaluation.baselines has 'pooled', and {unseen}")
    if job.queries:
        raise JobError(f"queries has '{job.queries[0]}', and {unseen}")
