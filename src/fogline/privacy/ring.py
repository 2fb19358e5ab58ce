"""Numbers as integers modulo a power of two, in which sums of masked vectors wrap around and come out right.

A number of a known range times its weight is scaled by a power of two and rounded up or down by chance, so that it is
right on average. The scale leaves room for the sum of all members, and as much again: a sum outside of what they can
come to shows that a mask was left over.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from fogline.privacy.masks import (
        Integers,
        Stream,
    )  # Not above: who only plans a round needs no ciphers.

BITS = (16, 32, 64)
LEVELS = 64
"""Steps that the largest number of one member takes at least: with fewer, little is left of an update."""
WEIGHT_UNIT = 2.0**-20
"""Weights are summed in steps of that, in 64 bits."""
LEAST_WEIGHT = 2.0**-10
"""A weight of less is off by more than a two-thousandth where it is rounded to such steps."""
STEP = 1 << 13
"""Numbers that are worked on at once."""


class RingError(ValueError):
    """A ring has no room for what is to be summed in it; a sentence."""


@dataclass(frozen=True)
class Ring:
    """The integers modulo ``2 ** bits``, as signed ones that wrap around, for sums of that many members.

    Args:
        bits: 16, 32 or 64.
        members: that a sum may have.
        clip: the largest magnitude of a number.
        weight: the largest weight of a member.

    Raises:
        RingError: there is no room for so many, or the weights have none.
    """

    bits: int
    members: int
    clip: float
    weight: float

    def __post_init__(self) -> None:
        if self.levels < LEVELS:
            raise RingError(
                f"A ring of {self.bits} bits leaves each of {self.members} devices {self.levels:g} steps; take more "
                f"bits than {self.bits}, or a smaller cohort."
            )
        if self.members * self.weight / WEIGHT_UNIT >= 2.0**62:
            raise RingError(
                f"{self.members} weights of up to {self.weight:g} do not add up in 64 bits; lower 'weight'."
            )

    @cached_property
    def scale(self) -> float:
        """What 1 becomes: a power of two."""
        most = 2.0 ** (self.bits - 2) / self.members - 1.0  # Half of the range; rounding adds up to 1.
        return 2.0 ** math.floor(math.log2(most / (self.weight * self.clip))) if most > 0.0 else 0.0

    @property
    def levels(self) -> float:
        """Steps of the largest number of one member."""
        return self.weight * self.clip * self.scale

    @property
    def kind(self) -> np.dtype[np.signedinteger[Any]]:
        """Type of its numbers."""
        return np.dtype(f"<i{self.bits // 8}")

    def encode(self, vector: npt.NDArray[Any], weight: float, noise: Stream, out: Integers) -> None:
        """Write ``weight * vector`` into the ring.

        Args:
            vector: (n,), of magnitudes up to the ring's ``clip``; larger ones may wrap around.
            weight: at least 0 and at most the ring's.
            noise: decides which numbers are rounded up.
            out: (n,), takes them.
        """
        for low in range(0, vector.size, STEP):
            part = vector[low : low + STEP]
            numbers = np.multiply(part, weight * self.scale, dtype=np.float64)
            numbers += noise.uniform(part.size)
            np.floor(numbers, out=numbers)
            out[low : low + STEP] = numbers.astype(np.int64).astype(self.kind)

    def decode(self, total: Integers, members: int) -> npt.NDArray[np.float64]:
        """The sum of that many members' numbers, (n,).

        Raises:
            RingError: they cannot have come to that.
        """
        sums = total.astype(np.float64)
        most = members * (self.levels + 1.0)
        if sums.size and float(np.abs(sums).max()) > most:
            raise RingError("The sum is larger than its members can have come to: a mask does not cancel out.")
        sums /= self.scale
        return sums
