"""A job's differential privacy in a simulation: the code of real nodes, with keys that the job's seed decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from fogline.aggregation import Update
from fogline.aggregation.rules import Rule
from fogline.algorithms import Algorithm
from fogline.algorithms.device import LocalRound
from fogline.algorithms.group import Down
from fogline.compute.device import given
from fogline.compute.groups import Groups
from fogline.compute.links import NodeLinks
from fogline.compute.privacy.contributions import ContributionError, Contributions
from fogline.compute.privacy.privacy_part import part_of, simulated_key, units_of
from fogline.jobs import Job, JobError
from fogline.jobs.planning import LocalPlan
from fogline.jobs.protection.protection import protection_of
from fogline.params import Spec
from fogline.simulation.values import Giver


def computes_of(
    job: Job, algorithm: Algorithm, spec: Spec, rules: Mapping[str, Rule], links: Sequence[NodeLinks]
) -> dict[str, Groups]:
    """What each aggregator computes, by its name.

    Args:
        job: the run's.
        algorithm: its method.
        spec: layout of what devices and aggregators share.
        rules: by the name of the tier.
        links: around the nodes of each depth, the root first.
    """
    protection, made = protection_of(job), dict[str, Groups]()
    for depth, tier in enumerate(job.tree.names):
        for name in job.tree.nodes(tier):
            part = part_of(protection, algorithm.movement, depth, partial(simulated_key, job.seed, name))
            made[name] = Groups(algorithm, spec, rules[tier], part, links[depth])
    return made


def giver_of(job: Job, algorithm: Algorithm) -> Giver | None:
    """What devices give, where each is one unit; None where they report as they are."""
    units = units_of(protection_of(job), algorithm.movement)
    if units is None:
        return None

    def give(done: LocalRound, down: Down, plan: LocalPlan) -> LocalRound:
        return given(done, units, down, partial(simulated_key, job.seed, done.client, plan.seed))

    return give


def first_given(job: Job, algorithm: Algorithm, update: Update) -> Update:
    """What a device would give of an update, before there are any rounds.

    Raises:
        JobError: the clip does not hold all that the method reports.
    """
    protection = protection_of(job)
    if protection is None:
        return update
    why = Contributions(protection, algorithm.movement).beside(update)
    if why is not None:
        raise JobError(f"{type(algorithm).__name__} cannot be used with [privacy]: {why}")
    units = units_of(protection, algorithm.movement)
    try:
        return update if units is None else units.of(update, None, simulated_key(job.seed))
    except ContributionError:
        return update  # Its numbers are to blame, and will be in the run.
