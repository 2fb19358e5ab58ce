"""The Skellam distribution: the difference of two Poisson variables. Sums of such are such again."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING

from fogline.privacy.noise.table import IntegerNoise, Integers, NoiseError, Table, signed

if TYPE_CHECKING:
    from fogline.privacy.noise.source import Source  # Not above: who only plans a round needs no ciphers.

MOST = 2.0**12
"""Standard deviation above which its table would be too large."""


class Skellam(IntegerNoise):
    """The integers with ``P(x) = exp(-variance) I_x(variance)``, where I are the modified Bessel functions.

    Args:
        variance: above 0, at most 2^24.

    Raises:
        NoiseError: there is no such noise.
    """

    def __init__(self, variance: float) -> None:
        if not 0.0 < variance <= MOST**2:
            raise NoiseError(f"Skellam noise has a variance above 0 and at most 2^24, not {variance:g}.")
        self.variance = variance
        self._table = _table(variance)

    def _some(self, count: int, source: Source) -> Integers:
        words = source.words(count + 8 + round(count * min(0.6, 0.25 / math.sqrt(self.variance))))
        return signed(self._table.draw(words, source), words)


@lru_cache(8)
def _table(variance: float) -> Table:
    """By the recurrence ``I_{k-1} = I_{k+1} + 2k / variance I_k``, downwards, where it is stable (Miller, 1952), and in
    whole numbers. What it begins with is off by less than the last entry, which is below 2^-150 of the first."""
    exact, weights = Fraction(variance), [0, 1 << 128]
    twice, below = 2 * exact.denominator, exact.numerator
    for k in range(int(16.0 * math.sqrt(variance) + 160.0), 0, -1):
        weights.append(weights[-2] + k * twice * weights[-1] // below)
    return Table(weights[:0:-1])
