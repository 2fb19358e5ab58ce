"""The exchanges of a job, checked against what else the job says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from fogline.algorithms import Algorithm
from fogline.algorithms.own_models import PersonalModels
from fogline.algorithms.private import where_kept
from fogline.exchanges import Exchange, ExchangeError, make_exchange
from fogline.exchanges.secagg import SecAgg
from fogline.jobs.errors import JobError
from fogline.jobs.job import Job, asks_beside
from fogline.jobs.protection.protection import protection_of
from fogline.jobs.rules import rules_of
from fogline.jobs.tree import Tree
from fogline.modes import Mode
from fogline.privacy.mechanisms.shared import SharedMechanism

MANY = 100
"""Children, where it is not known how many there are: enough to fill any method's buffer."""


def exchanges_of(job: Job, algorithm: Algorithm) -> dict[str, Exchange]:
    """What aggregators and their children do before these report, by the tier of the aggregators.

    Raises:
        JobError: there is no such exchange or parameter, a tier's rounds are not synchronous, or its rule wants single
            updates, or an exchange does not work with its cohort, with the method, or with what devices are asked
            beside the training.
    """
    exchanges = {name: _exchange_of(job, algorithm, name) for name, tier in job.tree.tiers.items() if tier.exchange}
    last = job.tree.names[-1]
    if last in exchanges and exchanges[last].only_sums:
        said = f"the exchange of tree.{last} shows nothing of a single device"
        summing, cohort = survey_exchanges_of(job, exchanges), job.evaluation.cohort
        if not summing:
            _check_queries(job, said)
            _check_judges(job, algorithm, said)
        elif isinstance(cohort, int):
            _check_cohort(summing[last], f"evaluation.cohort is {cohort}", cohort)
    return exchanges


def survey_exchanges_of(job: Job, exchanges: Mapping[str, Exchange]) -> dict[str, Exchange]:
    """In what nodes add up what devices answer or find where they are asked beside the training, by the tier of the
    aggregators. Empty where each device tells its own; a tier that is not there hands its sums on as they are.

    Args:
        job: what is to be done.
        exchanges: of its tiers (:func:`exchanges_of`).
    """
    made = {name: one.for_sums() for name, one in exchanges.items() if one.only_sums} if asks_beside(job) else {}
    summing = {name: one for name, one in made.items() if one is not None}
    return summing if job.tree.names[-1] in summing else {}


def _exchange_of(job: Job, algorithm: Algorithm, name: str) -> Exchange:
    tier, mode = job.tree.tiers[name], job.tree.modes(algorithm.mode)[name]
    if mode == "ring":
        raise JobError(
            f"tree.{name} has an exchange, and in ring mode one child after the other moves the model; take another "
            "mode, or leave the exchange out."
        )
    group = tier.buffer_of(algorithm.buffer, tier.cohort_of(MANY))
    if mode == "async" and not (isinstance(tier.cohort, int) and tier.cohort >= group):
        raise JobError(
            f"tree.{name} has an exchange, and its rounds are async: then a buffer's worth of children ({group}) is "
            f"asked together, and so many such groups train at once as its cohort has room for; set tree.{name}.cohort "
            f"to a count of at least {group}."
        )
    if rules_of(job, algorithm)[name].needs_all:
        raise JobError(
            f"tree.{name}.rule needs every child's update, and an exchange gives one result of all; use the mean."
        )
    if not algorithm.alike:
        raise JobError(
            f"With {type(algorithm).__name__} devices send vectors of different names, and the exchange of tree.{name} "
            "adds up what all send alike; take another method, or leave the exchange out."
        )
    try:
        exchange = make_exchange(tier.exchange, **tier.exchange_parameters)
    except ValueError as error:
        raise JobError(f"tree.{name}.exchange: {error}") from error
    if name == job.tree.names[-1]:
        exchange = with_shares(job, exchange)
    if mode == "async":
        _check_cohort(exchange, f"tree.{name} asks a buffer's worth of {group} together", group)
    elif isinstance(tier.cohort, int):
        _check_cohort(exchange, f"tree.{name}.cohort is {tier.cohort}", tier.cohort)
    return exchange


def _check_queries(job: Job, said: str) -> None:
    """Refuse what devices would answer one by one."""
    if job.queries:
        raise JobError(
            f"queries has '{job.queries[0]}', which each device answers by itself, and {said}; leave one of them out."
        )


def _check_judges(job: Job, algorithm: Algorithm, said: str) -> None:
    """Refuse what each device would find and tell by itself, where somebody else could judge."""
    if job.evaluation.on_devices and where_kept(algorithm) is None and not isinstance(algorithm, PersonalModels):
        raise JobError(
            f"evaluation.where is '{job.evaluation.where}', and each device tells by itself what it finds, while "
            f"{said}, and cannot add that up; take 'secagg', set evaluation.where to 'cloud', or leave the exchange "
            "out."
        )


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


def check_children(exchanges: Mapping[str, Exchange], tree: Tree, homes: Iterable[str], mode: Mode) -> None:
    """Whether the rounds of every aggregator that has an exchange can have it.

    Args:
        exchanges: by tier.
        tree: the job's.
        homes: the aggregator above each device.
        mode: of the method, for tiers that name none.

    Raises:
        JobError: those of one cannot; one sentence that names it.
    """
    children, modes = Counter([*homes, *filter(None, tree.parents().values())]), tree.modes(mode)
    for name, exchange in exchanges.items():
        tier, what = tree.tiers[name], "devices" if name == tree.names[-1] else "children"
        if modes[name] == "async":
            continue  # How many it asks together does not depend on how many there are.
        classes = tier.speed_classes if modes[name] == "semi-async" else 1
        for node in tree.nodes(name):
            count, asked = children[node], tier.cohort_of(children[node] // classes)
            in_classes = f" in {classes} classes of speed" if classes > 1 else ""
            _check_cohort(exchange, f"{node} has {count} {what}{in_classes} and asks {asked} in a round", asked)


def _check_cohort(exchange: Exchange, said: str, cohort: int) -> None:
    try:
        exchange.check_cohort(cohort)
    except ExchangeError as error:
        raise JobError(f"{said}, which does not fit its exchange: {error}") from error
