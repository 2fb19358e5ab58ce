"""What the data of each node have given away, and what their owners still allow, as the nodes themselves signed it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cache

import msgspec

from fogline.privacy.accounting.accountants import epsilon
from fogline.privacy.accounting.events import Event
from fogline.privacy.accounting.heads import LedgerHead, verified_head

MOST = 1000
"""Events of one ledger that are added up: its end says in as few as can be what was given away."""
DELTA = 1e-5
"""Where the owner has set no limit, and so no δ."""


class SpentBudget(msgspec.Struct, frozen=True):
    """A node's data."""

    node: str
    problem: str = ""
    """Why what the cloud or the node has told cannot be believed; then nothing else is known."""
    unit: str = ""
    """What is protected as one."""
    epsilon: float | None = None
    """Given away over all jobs; None: without bound."""
    delta: float = DELTA
    allowed: float | None = None
    """ε that the owner allowed when the last of it was given away; None: no limit was set."""
    left: float | None = None
    """Of what is allowed."""


def spent_budgets(ends: Iterable[tuple[str, bytes]], root: bytes) -> list[SpentBudget]:
    """What nodes' data have given away.

    Args:
        ends: node, and the end of its ledger, as the cloud tells them.
        root: certificate of the authority (PEM): what the node has not signed is not believed.
    """
    of = cache(_added_up)  # Devices that were in the same rounds have given away the same.
    return [_spent(name, verified_head(end, root), of) for name, end in sorted(ends)]


def _added_up(events: tuple[Event, ...], delta: float) -> float:
    if len(events) > MOST:
        raise ValueError(f"it has {len(events):,} events, and {MOST:,} are the most that are added up")
    return epsilon(events, delta)


def _spent(name: str, head: LedgerHead | None, of: Callable[[tuple[Event, ...], float], float]) -> SpentBudget:
    if head is None or head.node != name:
        return SpentBudget(name, f"What the cloud has told of the ledger of {name} is not signed by {name}.")
    delta = DELTA if head.limit is None else head.limit.delta
    allowed = None if head.limit is None else head.limit.epsilon
    try:
        spent = of(head.events, delta)
    except (ValueError, ArithmeticError, RecursionError) as error:  # One node's nonsense hides no other's ledger.
        return SpentBudget(name, f"What {name} has signed of its ledger is none: {error}.")
    left = None if allowed is None else max(0.0, allowed - spent)
    return SpentBudget(name, "", head.unit, spent if math.isfinite(spent) else None, delta, allowed, left)
