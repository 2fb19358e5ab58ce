"""Who judges a job's model where a method keeps part of it on devices, and that nobody serves it."""

from __future__ import annotations

from fogline.algorithms import Algorithm
from fogline.algorithms.private import keeps_private
from fogline.jobs.errors import JobError
from fogline.jobs.job import Job, Publish


def with_judges(job: Job, algorithm: Algorithm) -> Job:
    """The job, judged on devices where they alone have whole models and the job does not say who judges.

    Raises:
        JobError: it asks for what needs a whole model at the cloud; one sentence.
    """
    if not keeps_private(algorithm):
        return job
    evaluation, why = job.evaluation, f"{type(algorithm).__name__} keeps part of the model on each device"
    if evaluation.at_cloud and "where" in evaluation.model_fields_set:
        raise JobError(
            f"evaluation.where is '{evaluation.where}', but {why}, so that the cloud has no whole one to judge; make "
            "it 'devices', or leave it out"
        )
    if evaluation.baselines:
        raise JobError(
            f"evaluation.baselines compares whole models on a common test set, but {why}; leave it out, and compare "
            "with a run of fedavg that is judged on devices too"
        )
    if not evaluation.at_cloud:
        return job
    return job.model_copy(update={"evaluation": evaluation.model_copy(update={"where": "devices"})})


def check_publishing(job: Job, algorithm: Algorithm) -> None:
    """Refuse to publish where there is no whole model at the cloud.

    Raises:
        JobError: the job says how its versions are to be; one sentence.
    """
    if keeps_private(algorithm) and job.publish != Publish():
        raise JobError(f"publish: {no_version(algorithm)}; leave that table out")


def no_version(algorithm: Algorithm) -> str:
    """Why the model of a method that keeps part of it on devices becomes no version."""
    return f"{type(algorithm).__name__} keeps part of the model on each device, so that there is no whole one to serve"
