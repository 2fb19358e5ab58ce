"""Whether a job's shares of the model go with what else it says."""

from __future__ import annotations

from fogline.algorithms import Algorithm
from fogline.algorithms.sub_models import check_sub_models, has_sub_models, models_in_steps, sub_model_of
from fogline.jobs.errors import JobError
from fogline.jobs.job import Job
from fogline.jobs.rules import rules_of
from fogline.jobs.shares import Shares
from fogline.training.task import Task


def check_shares(job: Job, algorithm: Algorithm) -> None:
    """Refuse shares of the model where something wants that all devices have all of it.

    Raises:
        JobError: one sentence that names the key.
    """
    subject = type(algorithm).__name__
    if not has_sub_models(algorithm):
        if job.shares.given:
            raise JobError(
                f"shares gives devices parts of the model, and {subject} has no smaller models; take 'heterofl', "
                "'fjord', 'depthfl' or 'partial_layers', or leave shares out"
            )
        return
    for name, rule in rules_of(job, algorithm).items():
        if rule.needs_all:
            raise JobError(
                f"{name}.rule compares whole updates, and with {subject} devices send parts of one; set it to 'mean'"
            )
    if job.shares.given:
        check_parts(job, "shares")


def check_parts(job: Job, why: str) -> None:
    """Refuse that devices send parts of the model where something wants that all send all of it.

    Args:
        job: the job.
        why: devices send parts, for people.

    Raises:
        JobError: one sentence that names the key.
    """
    for name, tier in job.tree.tiers.items():
        if tier.exchange:
            raise JobError(
                f"tree.{name} has an exchange, which adds up what all send alike, and with {why} devices send parts "
                "of several sizes; leave one of the two out"
            )
        if tier.downlink:
            raise JobError(
                f"tree.{name}.downlink makes one message for all children, and with {why} each gets its own part of "
                "the model; leave one of the two out"
            )
    if job.privacy is not None and job.privacy.unit != "example":
        raise JobError(
            f"privacy.unit is '{job.privacy.unit}', whose noise is for updates in which every number weighs the same, "
            f"and with {why} a number is in some of them only; take unit = 'example', or leave {why} out"
        )


def check_named(task: Task, algorithm: Algorithm, shares: Shares) -> None:
    """Refuse shares by name of which the model has no part, where devices are not known yet; and smaller models that
    every device's steps train, and cannot be made.

    Raises:
        ValueError: one sentence.
    """
    models_in_steps(task, algorithm)
    models = [sub_model_of(task, algorithm, share) for share in shares.devices.values()]
    if "*" in shares.devices:  # All that there can be are named.
        check_sub_models(task, algorithm, models)
