"""Whether a job's differential privacy holds for all that the job does: what would go past it is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec

from fogline.algorithms import Algorithm
from fogline.algorithms.private import where_kept
from fogline.jobs.errors import JobError
from fogline.jobs.job import Job
from fogline.jobs.protection.protection import Protection, protection_of
from fogline.params import Spec
from fogline.plugins import read_call
from fogline.privacy.adaptive import TooFewError, noise_of_sum

WIDEST = 1e7
"""Noise that sums in whole numbers have room for: steps of 2^-30 in 64 bits, and some to spare for clips that grow."""


def check_privacy(job: Job, algorithm: Algorithm) -> None:
    """Refuse a job in which noise for devices or sites would not cover what it is to cover.

    Raises:
        JobError: one sentence that names the key, and what would be right.
    """
    protection = protection_of(job)
    if protection is None:
        return
    why = next(_amiss(job, algorithm, protection), None)
    if why is not None:
        raise JobError(why)


def check_private_model(job: Job, shared: Spec) -> None:
    """Refuse a model that devices report more of than its movement.

    Args:
        job: any.
        shared: layout of what devices and aggregators share.

    Raises:
        JobError: it has buffers or counters; one sentence that names one.
    """
    if protection_of(job) is None:
        return
    beside = next((entry.name for entry in shared.entries if entry.role == "buffer"), None)
    if beside is not None:
        raise JobError(
            f"The model has '{beside}', a buffer: devices report it beside their movement, and the clip of [privacy] "
            "does not hold it; take layers without buffers, such as GroupNorm in place of BatchNorm"
        )


def check_units(job: Job, population: Mapping[str, int]) -> None:
    """Refuse rounds in which too few are expected for the clip to follow them.

    Args:
        job: any that was checked.
        population: devices below each aggregator, by its name.

    Raises:
        JobError: one sentence.
    """
    protection = protection_of(job)
    if protection is None or protection.privacy.quantile is None:
        return
    for node in job.tree.nodes(protection.tier_of(protection.noise)):
        try:
            noise_of_sum(protection.privacy.noise, protection.units(population[node]))
        except TooFewError as error:
            raise JobError(str(error).rstrip(".")) from error


def _amiss(job: Job, algorithm: Algorithm, protection: Protection) -> Iterator[str]:
    """What is wrong, one after the other."""
    if find_spec("cryptography") is None:
        yield "[privacy] needs the package cryptography, from which its noise comes: pip install 'fogline[network]'"
    yield from _amiss_in_mechanism(protection)
    if protection.mechanism.remembers:
        yield from _amiss_in_memory(algorithm, protection)
    if protection.mechanism.distributed:
        yield from _amiss_in_shares(job, protection)
    yield from _amiss_in_method(algorithm)
    yield from _amiss_beside(job, algorithm, protection)
    for depth in protection.sums:
        yield from _amiss_in_sums(job, algorithm, protection, depth)


def _amiss_in_mechanism(protection: Protection) -> Iterator[str]:
    privacy, mechanism = protection.privacy, protection.mechanism
    if privacy.noise * privacy.clip > WIDEST:
        yield (
            f"privacy.noise is {privacy.noise:g} and privacy.clip {privacy.clip:g}, and the noise of both together is "
            "more than sums in whole numbers have room for; make one of them smaller"
        )
    said = f"privacy.mechanism is '{privacy.mechanism}'"
    if protection.local and mechanism.remembers:
        yield (
            f"{said}, which goes by sums that came before, but privacy.at is '{privacy.at}', where there are none; "
            "name a tier above, or take 'gaussian'"
        )
    if privacy.quantile is not None and not mechanism.adapts:
        yield f"{said}, whose clip cannot change; leave privacy.quantile out, or take 'gaussian'"
    if privacy.quantile is not None and protection.local:
        yield (
            f"privacy.quantile wants a sum of what units say of the clip, but privacy.at is '{privacy.at}', where each "
            "adds its own noise; leave privacy.quantile out, or name a tier above"
        )


def _amiss_in_memory(algorithm: Algorithm, protection: Protection) -> Iterator[str]:
    """What is wrong with a mechanism whose noise belongs to sums over rounds."""
    said, asking = f"privacy.mechanism is '{protection.privacy.mechanism}'", protection.tier_of(protection.unit - 1)
    if not algorithm.linear:
        yield (
            f"{said}, whose noise cancels out where updates are added up, and {type(algorithm).__name__} does "
            "something else with them; take 'fedavg', 'fedavgm' or another that adds them up, or 'gaussian'"
        )
    if protection.separation == 1:
        yield (
            f"{said}, which costs little only where each {protection.privacy.unit} is in few rounds, far from each "
            f'other; set {asking}.policy = "rotation", with a cohort of no more than one in its period, and leave '
            f"{asking}.rounds at 1"
        )
    if 0 < protection.noise < protection.unit:
        yield (
            f"{said}, whose noise cancels out from round to round, but privacy.at is '{protection.privacy.at}', of "
            "which others may be there in each round; leave privacy.at out"
        )


def _amiss_in_shares(job: Job, protection: Protection) -> Iterator[str]:
    """What is wrong where each device adds a share of the noise."""
    said, name = f"privacy.mechanism is '{protection.privacy.mechanism}'", job.tree.names[-1]
    if not job.tree.tiers[name].exchange:
        yield (
            f"{said}, whose noise is in shares that are only enough together, so nobody may see a single update; set "
            f'{name}.exchange = "secagg"'
        )
    if not protection.privacy.noise:
        yield f"{said}, and privacy.noise is 0, of which there are no shares; set it above 0"


def _amiss_in_method(algorithm: Algorithm) -> Iterator[str]:
    name = type(algorithm).__name__
    if not algorithm.movement or "*" in algorithm.movement:
        yield (
            f"With {name} devices report something else than the movement of one model, which the clip of [privacy] is "
            "for; take a method that reports one movement, such as 'fedavg' or 'fedadam'"
        )
    elif not algorithm.movement_only:
        yield (
            f"{name} reports more than the movement of the model, and the clip of [privacy] does not hold it; take a "
            "method that reports the movement alone, such as 'fedavg' or 'fedadam' (or say movement_only = True in a "
            "class of your own that does)"
        )


def _amiss_beside(job: Job, algorithm: Algorithm, protection: Protection) -> Iterator[str]:
    """What leaves devices beside the training."""
    kept = where_kept(algorithm)
    if kept is not None:
        yield (
            f"{kept}, so that only devices can judge it, and they tell sums of their examples, without noise: it and "
            "[privacy] exclude each other; leave [privacy] out, or take a method whose whole model the cloud has, such "
            "as 'fedavg'"
        )
    if job.evaluation.on_devices:
        yield (
            f"evaluation.where is '{job.evaluation.where}', but devices that judge tell sums of their examples, "
            "without noise; set it to 'cloud'"
        )
    if job.queries:
        yield f"queries has '{job.queries[0]}', whose answers are sums of examples, without noise; leave queries out"
    for name in list(job.tree.names)[: protection.unit]:
        policy = job.tree.tiers[name].policy
        if read_call(policy).name not in ("uniform", "rotation"):
            yield (
                f"{name}.policy is '{policy}', which selects by what is known of those below, and no noise is on that; "
                "set it to 'uniform' or 'rotation'"
            )
        if job.tree.tiers[name].keeps_pace:
            yield (
                f"{name} sets its deadline or over_selection by how long those below take ('auto'), and no noise is on "
                "that; give numbers"
            )


def _amiss_in_sums(job: Job, algorithm: Algorithm, protection: Protection, depth: int) -> Iterator[str]:
    """What is wrong with a tier that adds up what units give."""
    name = protection.tier_of(depth)
    tier, mode = job.tree.tiers[name], job.tree.modes(algorithm.mode)[name]
    unit = protection.privacy.unit
    if mode != "sync":
        yield (
            f"{name}.mode is '{mode}', in which one {unit} may be in a sum twice, and noise is for once; set it to "
            "'sync', or privacy.at so that noise is added below it"
        )
    if tier.late == "fold":
        yield f"{name}.late is 'fold', with which one {unit} may be in a sum twice; set it to 'drop'"
    if depth > protection.noise and (tier.rounds > 1 or algorithm.group_models):
        by = f"{name}.rounds is {tier.rounds}" if tier.rounds > 1 else f"{type(algorithm).__name__} is used"
        yield (
            f"{by}, so that {name} moves a model of its own before noise is added, and how far one {unit} moves that "
            f"is not bounded; set privacy.at to '{name}', or privacy.unit to 'site'"
        )
    if depth == protection.noise > 0 and not algorithm.inner_rounds:
        yield (
            f"privacy.at is '{name}', which moves a model of its own then, and {type(algorithm).__name__} has no "
            "rounds of a tier's own; leave privacy.at out"
        )
    if tier.exchange and not protection.mechanism.in_exchange:
        other = (
            ", or take 'skellam' or 'discrete_gaussian', whose noise is whole numbers too" if unit == "device" else ""
        )
        yield (
            f"{name}.exchange is '{tier.exchange}', which rounds what each {unit} gives, and privacy.mechanism "
            f"'{protection.privacy.mechanism}' is for sums that are exact; leave one of them out{other}"
        )
    if tier.uplink:
        yield (
            f"{name}.uplink names stages, which change what each {unit} gives after it was clipped; leave it out (the "
            "clip is privacy.clip)"
        )
