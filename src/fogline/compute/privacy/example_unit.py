"""Jobs that protect single examples: what goes with DP-SGD, and what would go past it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TypeVar

from fogline.algorithms import Algorithm
from fogline.jobs import Job, JobError
from fogline.jobs.planning import local_training
from fogline.jobs.privacy import DEVICES
from fogline.nodes.policies import policy_of
from fogline.training.method import overrides
from fogline.training.task import Task

T = TypeVar("T", bound=Task)


def protects_examples(job: Job) -> bool:
    """Whether what is protected as one is an example."""
    return job.privacy is not None and job.privacy.unit == "example"


def sealed(task: T, job: Job) -> T:
    """The task as the job's hooks may see it: without examples, where each of them is protected."""
    return task.with_seal() if protects_examples(job) else task


def check_examples(job: Job, algorithm: Algorithm, task: Task) -> None:
    """Refuse what would tell of single examples past the noise on their gradients, before anything runs.

    Raises:
        JobError: one sentence that names the key.
    """
    privacy = job.privacy
    if privacy is None or privacy.unit != "example":
        return
    unit = "With privacy.unit = 'example'"
    if privacy.at not in ("", DEVICES):
        raise JobError(f"{unit} devices themselves add the noise, in every step; leave privacy.at out")
    if privacy.mechanism != "gaussian":
        raise JobError(f"{unit} noise is Gaussian, in every step; leave privacy.mechanism out")
    if privacy.quantile is not None:
        raise JobError(f"{unit} the clip stays as it is; leave privacy.quantile out")
    if find_spec("cryptography") is None:
        raise JobError(
            "[privacy] needs the package cryptography, from which its noise comes: pip install 'fogline[network]'"
        )
    if overrides(algorithm, "work"):
        raise JobError(
            f"{type(algorithm).__name__} says itself how much devices train (work), and what that gives away must be "
            f"known before; take a method that does not, such as 'fedavg'"
        )
    if algorithm.looks_at_examples():
        raise JobError(
            f"{type(algorithm).__name__} looks at a device's examples between the steps, where nothing clips what it "
            f"finds; take a method that does not, such as 'fedavg'"
        )
    _check_other_ways_out(job, unit)
    name, engine = next(iter(task.engines().items()))
    why = engine.refusal(task, algorithm, local_training(job))
    if why is not None:
        raise JobError(f"Engine '{name}' cannot run this job: {why}")


def _check_other_ways_out(job: Job, unit: str) -> None:
    """What devices tell of their examples beside the training."""
    if job.evaluation.on_devices:
        raise JobError(
            f"{unit} devices cannot judge: what they find on their examples would go up without noise; set "
            "evaluation.where = 'cloud', with a method that has a model there"
        )
    if job.queries:
        raise JobError(f"{unit} devices answer no queries: answers would go up without noise; leave queries out")
    for name, tier in job.tree.tiers.items():
        if policy_of(tier).needs_loss:
            raise JobError(
                f"tree.{name}.policy '{tier.policy}' selects by the devices' losses, which they do not tell "
                "where examples are protected; take another, such as 'uniform'"
            )
