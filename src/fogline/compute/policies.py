"""How the tiers of a job select their children, checked before the run."""

from __future__ import annotations

from fogline.algorithms import Algorithm
from fogline.jobs import Job, JobError
from fogline.jobs.unequal import check_parts
from fogline.nodes.policies import policy_of
from fogline.training.method import overrides
from fogline.training.task import Task


def check_policies(job: Job, algorithm: Algorithm, task: Task) -> None:
    """Names and parameters of all policies are right, and those that ask for part of a round's work may.

    Raises:
        JobError: children are no devices, there are no rounds, or the method or devices say themselves how much these
            do.
        SelectionPolicyError: a policy does not know its name or parameters.
    """
    modes = job.tree.modes(algorithm.mode)
    for name, tier in job.tree.tiers.items():
        if not policy_of(tier).partial:
            continue
        if name != job.tree.names[-1]:
            raise JobError(
                f"{name}.policy is '{tier.policy}', which asks each child for as much work as it has time for, and the "
                f"children are no devices; set it for {job.tree.names[-1]}"
            )
        if modes[name] == "async":
            raise JobError(
                f"{name}.policy is '{tier.policy}', which cuts work to the time of a round, and {name} has no rounds "
                "(its mode is 'async'); leave the policy out, or take a synchronous method"
            )
        if task.trains_itself:
            raise JobError(
                f"{name}.policy is '{tier.policy}', which asks devices for part of a round's work, and task "
                f"'{task.name}' trains by code of its own; take another policy, such as 'uniform'"
            )
        if algorithm.effort_cuts:
            check_parts(job, f"{name}.policy = '{tier.policy}'")
        if overrides(algorithm, "work"):
            raise JobError(
                f"{name}.policy is '{tier.policy}', which says how much work each device does, and so does "
                f"{type(algorithm).__name__}; take another policy, such as 'uniform'"
            )
