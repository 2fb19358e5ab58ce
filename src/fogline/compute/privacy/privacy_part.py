"""What an aggregator does for a job's differential privacy."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING

from fogline.aggregation import Partial, Update
from fogline.compute.privacy.contributions import ContributionError, Contributions
from fogline.jobs.protection.protection import Protection
from fogline.privacy.noise_state import NoiseState

if TYPE_CHECKING:
    from fogline.compute.privacy.noising import Noising  # Not above: noise needs a cipher, and most jobs want none.

log = logging.getLogger("fogline.compute")
KEY = 32
"""Bytes of a key that noise comes from."""
Draw = Callable[[], bytes]


def drawn_key() -> bytes:
    """The key of a real node: nobody can guess it."""
    return secrets.token_bytes(KEY)


def simulated_key(seed: int, *whose: object) -> bytes:
    """The key of a simulated node. Who knows the job's seed can make it, so that a run can be repeated."""
    return blake2b("/".join(map(str, ("noise", seed, *whose))).encode(), digest_size=KEY).digest()


@dataclass(frozen=True, slots=True)
class PrivacyPart:
    """The part of one aggregator; false where it has none but to look at what comes."""

    takes: Contributions | None = None
    """What it gets from each child, where every child is one unit."""
    gives: Contributions | None = None
    """What it sends, where it is one unit itself."""
    noising: Noising | None = None
    """The noise that it adds to the sum of what it gets."""
    first: NoiseState | None = None
    """What it keeps before its first round, but for the key,"""
    draw: Draw = drawn_key
    """which this makes."""

    def __bool__(self) -> bool:
        return self.first is not None

    @property
    def adapts(self) -> bool:
        """Whether the clip is made here, and changes from round to round."""
        return self.noising is not None and self.noising.protection.privacy.quantile is not None

    def begun(self) -> NoiseState | None:
        """What it keeps before its first round."""
        return None if self.first is None else replace(self.first, key=self.draw())

    def fault(self, value: Update | Partial) -> str | None:
        """Why what a child sent is nothing that a unit gives; None if it is, or need not be: a simulation adds up sums
        of what it has looked at."""
        return None if self.takes is None or isinstance(value, Partial) else self.takes.fault(value)

    def given(self, update: Update, state: NoiseState | None) -> Update:
        """What it sends its parent: clipped, where it is one unit; nothing that counts where it cannot be clipped."""
        if self.gives is None or state is None:
            return update
        said = b"".join(update.vectors[name].tobytes() for name in sorted(update.vectors))
        try:
            return self.gives.of(update, state.clip, state.key_of("given", said))
        except ContributionError as error:
            log.warning("nothing is given to the parent: %s", error)
            return self.gives.nothing(sum(vector.size for vector in update.vectors.values()))


NO_PART = PrivacyPart()


def part_of(protection: Protection | None, movement: str, depth: int, draw: Draw = drawn_key) -> PrivacyPart:
    """The part of the aggregators of that depth.

    Args:
        protection: of the job; None: there is none.
        movement: name of the vector that moves the model.
        depth: aggregators above them.
        draw: makes the key that one begins with.
    """
    if protection is None:
        return NO_PART
    from fogline.compute.privacy.noising import Noising

    units, noising = Contributions(protection, movement), Noising(protection, movement)
    gives, noises = depth == protection.unit, depth == protection.noise and not protection.local
    exchanges = bool(protection.tree.tiers[protection.tier_of(depth)].exchange)
    return PrivacyPart(
        takes=units if depth + 1 == protection.unit and not exchanges else None,
        gives=units if gives else None,
        noising=noising if noises else None,
        first=NoiseState(b"", protection.privacy.clip) if gives or noises else None,
        draw=draw,
    )


def units_of(protection: Protection | None, movement: str) -> Contributions | None:
    """What devices give, where each is one unit; None where they report as they are."""
    if protection is None or protection.unit < len(protection.tree.names):
        return None
    return Contributions(protection, movement)
