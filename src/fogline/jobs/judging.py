"""Who judges a job's model where devices keep it, or part of it, and that nobody serves it."""

from __future__ import annotations

from fogline.algorithms import Algorithm
from fogline.algorithms.own_models import PersonalModels
from fogline.algorithms.private import where_kept
from fogline.jobs.errors import JobError
from fogline.jobs.job import Evaluation, FineTune, Job, Publish


def with_judges(job: Job, algorithm: Algorithm) -> Job:
    """The job, judged on devices where they have models of their own and the job does not say who judges, after as much
    training as the method has for that.

    Raises:
        JobError: it asks for what needs a whole model at the cloud, or says how devices judge where they do not; one
            sentence.
    """
    job = _with_fine_tuning(job, algorithm)
    evaluation, why = job.evaluation, where_kept(algorithm)
    if why is None and isinstance(algorithm, PersonalModels) and "where" not in evaluation.model_fields_set:
        return _judged_on_devices(job)
    if why is None or not evaluation.at_cloud:
        _check_device_keys(evaluation)
        return job
    if "where" in evaluation.model_fields_set:
        raise JobError(
            f"evaluation.where is '{evaluation.where}', but {why}, so that the cloud has no whole one to judge; make "
            "it 'devices', or leave it out"
        )
    return _judged_on_devices(job)


def _judged_on_devices(job: Job) -> Job:
    """The same, judged by its devices."""
    return job.model_copy(update={"evaluation": job.evaluation.model_copy(update={"where": "devices"})})


def _with_fine_tuning(job: Job, algorithm: Algorithm) -> Job:
    evaluation, epochs = job.evaluation, algorithm.fine_tune_epochs
    if not epochs or "fine_tune" in evaluation.model_fields_set:
        return job
    fine_tuned = evaluation.model_copy(update={"fine_tune": FineTune(epochs=epochs)})
    return job.model_copy(update={"evaluation": fine_tuned})


def _check_device_keys(evaluation: Evaluation) -> None:
    for key in () if evaluation.on_devices else ("fine_tune", "share", "cohort"):
        if getattr(evaluation, key) != Evaluation.model_fields[key].default:
            raise JobError(
                f"evaluation.{key} says how devices judge, and evaluation.where is 'cloud'; make it 'devices' or "
                f"'both', or leave {key} out"
            )


def check_publishing(job: Job, algorithm: Algorithm) -> None:
    """Refuse to publish where there is no whole model at the cloud.

    Raises:
        JobError: the job says how its versions are to be; one sentence.
    """
    if job.publish != Publish() and (why := no_version(job, algorithm)) is not None:
        raise JobError(f"publish: {why}{'' if algorithm.global_model else '; leave that table out'}")


def check_honest(job: Job) -> None:
    """Refuse a job that attacks itself: real nodes do what they are asked.

    Raises:
        JobError: it has an attack.
    """
    if job.attack is not None:
        raise JobError(
            "attack is for simulations, and this job is for real nodes; leave that table out, or try it with: fogline "
            "simulate"
        )


def no_version(job: Job, algorithm: Algorithm) -> str | None:
    """Why the model of a method that keeps it on devices becomes no version; None if it may: where devices alone serve
    it, each with the part that it has of its own."""
    why = where_kept(algorithm)
    if why is None:
        return None
    if not algorithm.global_model:
        return f"{why}, so that there is no common one to serve"
    if job.publish.tiers == ("device",):
        return None
    return f'{why}, so that there is no whole one to serve but there; publish.tiers = ["device"] has devices serve it'
