"""How a job protects what devices send, as its signed text says: what an owner may demand of it."""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from typing import Any, Literal, cast, get_args

from fogline.plugins import plain, read_call

SecureSum = Literal["secagg", "ckks"]
"""Exchanges in which an aggregator learns the sum of its devices' updates and none of them. One of a developer's own is
not among them, whatever it says."""

DEFAULT_MINIMUM = 3
"""Devices of a secure sum whose job names no minimum (:mod:`fogline.exchanges`)."""


def tiers_of(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The tables of a job's tiers, wherever in its tree they stand, the root's first."""
    tree = cast("dict[str, Any]", job.get("tree", {}))
    tables = {**{name: tier for name, tier in tree.items() if name != "tiers"}, **tree.get("tiers", {})}
    return {name: tier for name, tier in tables.items() if isinstance(tier, dict)}


def exchange_of_devices(job: dict[str, Any]) -> str:
    """The exchange between devices and the aggregator above them; empty where there is none."""
    tiers = [*tiers_of(job).values()]
    exchange = tiers[-1].get("exchange") if tiers else None
    return exchange if isinstance(exchange, str) else ""


def algorithm_of(job: str) -> str:
    """The method that a job (TOML) names."""
    algorithm = tomllib.loads(job).get("algorithm", {})
    return algorithm if isinstance(algorithm, str) else str(algorithm.get("name", "fedavg"))


def has_noise(job: str) -> bool:
    """Whether a job (TOML) has differential privacy."""
    return "privacy" in tomllib.loads(job)


def fewest_in_sum(job: str) -> int:
    """Devices that are at least in what the aggregator above them hands on, as a job (TOML) says: the quorum of its
    last tier where that is a count, or the minimum of a secure sum."""
    read = tomllib.loads(job)
    tier = [*tiers_of(read).values()][-1:] or [{}]
    quorum, exchange = tier[0].get("quorum"), exchange_of_devices(read)
    fewest = quorum if isinstance(quorum, int) else 1
    try:
        call = read_call(exchange)
    except ValueError:
        return fewest
    if plain(call.name) not in get_args(SecureSum):
        return fewest
    parameters = {**call.named, **(tier[0].get("exchange_parameters") or {})}
    usual = 2 if call.values else DEFAULT_MINIMUM  # In brackets without names the minimum may be the lowest there is.
    return max(fewest, int(parameters.get("minimum", usual)))


def keeps_reasons(job: str) -> bool:
    """Whether a job protects what devices give: then why one fails, which may tell of its data, stays there as well.

    Args:
        job: its text (TOML).
    """
    read = tomllib.loads(job)
    return "privacy" in read or bool(exchange_of_devices(read))


def adds_answers_up(job: str) -> bool:
    """Whether the exchange between devices and the aggregator above them adds up what devices are asked beside the
    training too: answers to queries, and what they find of a model.

    Args:
        job: its text (TOML), as the developer signed it.
    """
    return sums_securely(job, ("secagg",))


def sums_securely(job: str, by: Collection[SecureSum]) -> bool:
    """Whether devices and the aggregator above them have an exchange that shows only sums.

    Args:
        job: its text (TOML), as the developer signed it.
        by: the exchanges that will do.
    """
    try:
        name = read_call(exchange_of_devices(tomllib.loads(job))).name
    except ValueError:  # There is none; or the job is none, and will not run anywhere.
        return False
    return plain(name) in by
