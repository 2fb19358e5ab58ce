"""From what happened to (ε, δ), and back: how many rounds, and how much noise, a promise takes.

Every figure is an upper bound, up to the rounding of floating-point numbers: what was given away is at most that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fogline.privacy.accounting.events import AccountantName, Event
from fogline.privacy.accounting.pld import pld_delta, pld_epsilon
from fogline.privacy.accounting.renyi import rdp_delta, rdp_epsilon, zcdp_delta, zcdp_epsilon
from fogline.privacy.accounting.tally import EventTally, tally

MOST_NOISE = 1e6
"""Beyond which nobody would want it."""
CLOSE = 1.0005
"""Between what is too little noise and what is enough, at the end of a search."""


@dataclass(frozen=True, slots=True)
class Accountant:
    """How events become (ε, δ)."""

    epsilon: Callable[[EventTally, float], float]
    """From what happened and δ."""
    delta: Callable[[EventTally, float], float]
    """From what happened and ε."""


ACCOUNTANTS: dict[AccountantName, Accountant] = {
    "pld": Accountant(pld_epsilon, pld_delta),
    "rdp": Accountant(rdp_epsilon, rdp_delta),
    "zcdp": Accountant(zcdp_epsilon, zcdp_delta),
}


def epsilon(events: Iterable[Event], delta: float, accountant: AccountantName = "pld") -> float:
    """The ε for which all of these events together are (ε, δ)-differentially private; infinite where there is none.

    Args:
        events: what happened, also in several jobs of the same owner.
        delta: above 0 and below 1.
        accountant: what adds it up: ``pld`` is the sharpest, ``zcdp`` takes no notice of samples.

    Raises:
        ValueError: a number of an event, or δ, can be none.
    """
    if not 0 < delta < 1:
        raise ValueError(f"delta is {delta}; it must be above 0 and below 1")
    total = tally(events)
    if total.nothing or total.everything:
        return 0.0 if total.nothing else math.inf
    return ACCOUNTANTS[accountant].epsilon(total, delta)


def delta(events: Iterable[Event], epsilon: float, accountant: AccountantName = "pld") -> float:
    """The δ for which all of these events together are (ε, δ)-differentially private; see :func:`epsilon`.

    Raises:
        ValueError: a number of an event, or ε, can be none.
    """
    if not epsilon >= 0:
        raise ValueError(f"epsilon is {epsilon}; it must be at least 0")
    total = tally(events)
    if total.nothing or total.everything:
        return 0.0 if total.nothing else 1.0
    return ACCOUNTANTS[accountant].delta(total, epsilon)


def most_rounds(fits: Callable[[int], bool], most: int) -> int:
    """The largest number of rounds up to ``most`` that fits, where all fewer fit too; 0 if not even one does."""
    if fits(most):
        return most
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def least_noise(
    events: Callable[[float], Iterable[Event]], wanted: float, at: float, accountant: AccountantName = "pld"
) -> float:
    """The least noise for which what happens is (ε, δ)-differentially private, to four digits and rounded up.

    Args:
        events: what happens with a noise.
        wanted: ε, above 0.
        at: δ.
        accountant: what adds it up.

    Raises:
        ValueError: no noise is enough.
    """
    low, high = 1e-3, 1.0
    while epsilon(events(high), at, accountant) > wanted:
        low, high = high, 2 * high
        if high > MOST_NOISE:
            raise ValueError(f"not even a noise of {MOST_NOISE:g} gives an epsilon of {wanted:g} at a delta of {at:g}")
    while high / low > CLOSE:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if epsilon(events(middle), at, accountant) > wanted else (low, middle)
    digit = 10.0 ** (math.floor(math.log10(high)) - 3)
    return math.ceil(high / digit) * digit
