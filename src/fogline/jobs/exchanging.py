"""The exchange of a job, checked against what else the job says."""

from __future__ import annotations

from fogline.algorithms import Algorithm
from fogline.exchanges import Exchange, ExchangeError, make_exchange
from fogline.jobs.errors import JobError
from fogline.jobs.job import Job
from fogline.jobs.rules import rules_of


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
    exchange = make_exchange(tier.exchange, **tier.exchange_parameters)
    if isinstance(tier.cohort, int):
        _check_cohort(exchange, name, tier.cohort)
    return exchange


def _check_cohort(exchange: Exchange, name: str, cohort: int) -> None:
    try:
        exchange.check_cohort(cohort)
    except ExchangeError as error:
        raise JobError(f"tree.{name}.cohort is {cohort}, which does not fit its exchange: {error}") from error
