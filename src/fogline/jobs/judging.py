"""Who judges a job's model, where a method has none that the cloud could judge."""

from __future__ import annotations

from fogline.algorithms import Algorithm
from fogline.jobs.errors import JobError
from fogline.jobs.job import Job


def with_judges(job: Job, algorithm: Algorithm) -> Job:
    """The job, judged on devices where they alone have models and the job does not say who judges.

    Raises:
        JobError: it asks for what needs a model at the cloud; one sentence.
    """
    evaluation = job.evaluation
    if algorithm.global_model or not evaluation.at_cloud:
        return job
    if "where" in evaluation.model_fields_set:
        raise JobError(
            f"evaluation.where is '{evaluation.where}', but with {type(algorithm).__name__} each device keeps a model "
            "of its own, so that the cloud has none to judge; make it 'devices', or leave it out"
        )
    return job.model_copy(update={"evaluation": evaluation.model_copy(update={"where": "devices"})})
