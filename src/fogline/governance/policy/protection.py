"""How a job protects what devices send, as its signed text says: what an owner may demand of it."""

from __future__ import annotations

import tomllib
from typing import Any, cast

from fogline.plugins import plain, read_call

SECURE = ("secagg",)
"""Exchanges in which an aggregator learns the sum of its devices' updates and none of them. One of a developer's own is
not among them, whatever it says."""


def tiers_of(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The tables of a job's tiers, wherever in its tree they stand, the root's first."""
    tree = cast("dict[str, Any]", job.get("tree", {}))
    tables = {**{name: tier for name, tier in tree.items() if name != "tiers"}, **tree.get("tiers", {})}
    return {name: tier for name, tier in tables.items() if isinstance(tier, dict)}


def keeps_reasons(job: str) -> bool:
    """Whether a job protects what devices give: then why one fails, which may tell of its data, stays there as well.

    Args:
        job: its text (TOML).
    """
    read = tomllib.loads(job)
    return "privacy" in read or any(tier.get("exchange") for tier in [*tiers_of(read).values()][-1:])


def sums_securely(job: str) -> bool:
    """Whether devices and the aggregator above them have an exchange that shows only sums.

    Args:
        job: its text (TOML), as the developer signed it.
    """
    tiers = list(tiers_of(tomllib.loads(job)).values())
    exchange = tiers[-1].get("exchange") if tiers else None
    if not isinstance(exchange, str) or not exchange:
        return False
    try:
        name = read_call(exchange).name
    except ValueError:  # The job is none, and will not run anywhere.
        return False
    return plain(name) in SECURE
