"""The exchange of a job, checked against what else the job says."""

from __future__ import annotations

from collections.abc import Mapping

from fogline.algorithms import Algorithm
from fogline.exchanges import Exchange, ExchangeError, make_exchange
from fogline.exchanges.secagg import SecAgg
from fogline.jobs.errors import JobError
from fogline.jobs.job import Job
from fogline.jobs.protection import protection_of
from fogline.jobs.rules import rules_of
from fogline.jobs.tree import Tree
from fogline.privacy.mechanisms.shared import SharedMechanism


def exchange_of(job: Job, algorithm: Algorithm) -> Exchange | None:
    """What devices and their aggregators do between training and report; None: nothing.

    Raises:
        JobError: the tier's rounds are not synchronous, or its rule wants single updates, or the exchange does not
            work with its cohort or with the method.
        ValueError: there is no such exchange or parameter.
    """
    name = job.tree.names[-1]
    tier = job.tree.tiers[name]
    if not tier.exchange:
        return None
    mode = tier.mode or (algorithm.mode if len(job.tree.names) == 1 else "sync")
    if mode != "sync":
        raise JobError(
            f"tree.{name} has an exchange, and its rounds are {mode}: an exchange wants all devices of a round "
            f'together; set tree.{name}.mode = "sync".'
        )
    if rules_of(job, algorithm)[name].needs_all:
        raise JobError(
            f"tree.{name}.rule needs every device's update, and an exchange gives one result of all; use the mean."
        )
    if not algorithm.alike:
        raise JobError(
            f"With {type(algorithm).__name__} devices send vectors of different names, and the exchange of tree.{name} "
            "adds up what all send alike; take another method, or leave the exchange out."
        )
    exchange = with_shares(job, make_exchange(tier.exchange, **tier.exchange_parameters))
    if isinstance(tier.cohort, int):
        _check_cohort(exchange, f"tree.{name}.cohort is {tier.cohort}", tier.cohort)
    return exchange


def with_shares(job: Job, exchange: Exchange) -> Exchange:
    """The exchange in which devices add shares of noise, where the job's mechanism has some; else as it is.

    Raises:
        JobError: it is none in which that can be done.
    """
    privacy, protection = job.privacy, protection_of(job)
    if privacy is None or protection is None or not isinstance(protection.mechanism, SharedMechanism):
        return exchange
    if not isinstance(exchange, SecAgg):
        raise JobError(
            f"privacy.mechanism is '{privacy.mechanism}', and the exchange {type(exchange).__name__} cannot add up "
            "shares of noise; take 'secagg'."
        )
    return exchange.with_noise(protection.mechanism.shared(privacy.clip, privacy.noise))


def check_children(exchange: Exchange, tree: Tree, children: Mapping[str, int]) -> None:
    """Whether the rounds of every aggregator of the last tier can have an exchange.

    Args:
        exchange: of that tier.
        tree: the job's.
        children: how many devices each has, by its name.

    Raises:
        JobError: those of one cannot; one sentence that names it.
    """
    tier = tree.tiers[tree.names[-1]]
    for node, count in children.items():
        asked = tier.cohort_of(count)
        _check_cohort(exchange, f"{node} has {count} devices and asks {asked} in a round", asked)


def _check_cohort(exchange: Exchange, said: str, cohort: int) -> None:
    try:
        exchange.check_cohort(cohort)
    except ExchangeError as error:
        raise JobError(f"{said}, which does not fit its exchange: {error}") from error
