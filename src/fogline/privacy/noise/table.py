"""Symmetric noise on the integers, drawn by inverting its distribution function.

A table holds what the probabilities of 0, 1, 2 … add up to, in 191 bits. A random word's upper 63 bits are looked up in
the upper 63 of these; where they are equal, which is once in 10^14 draws, more random bits decide. So what is drawn has
the distribution of the formula, and not that of floating-point arithmetic; what is left out beyond the table's end
comes to less than 2^-130.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from fogline.privacy.noise.source import Source  # Not above: who only plans a round needs no ciphers.


Integers = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
COARSE, REST = 63, 128
"""Bits that are looked up at once, and those behind them."""
AT_ONCE = 1 << 15
"""Numbers that are drawn at once, so that they stay in the processor's cache."""


class NoiseError(ValueError):
    """Noise of a size that cannot be drawn; a sentence."""


class Table:
    """Draws 0, 1, 2 … in proportion to weights.

    Args:
        weights: whole numbers, each at least 0, of which the first is above 0.
    """

    def __init__(self, weights: Sequence[int]) -> None:
        sums = list(accumulate(weights))
        self._fine = [(part << COARSE + REST) // sums[-1] for part in sums]
        self._coarse = np.array([part >> REST for part in self._fine], np.uint64)

    def draw(self, words: Words, source: Source) -> Integers:
        """As many numbers as words, (n,). The lowest bit of each word has no say, and may be used for something else.

        Args:
            words: (n,) random words.
            source: of more bits, where they do not decide.
        """
        keys = words >> np.uint64(1)
        found = np.searchsorted(self._coarse, keys, side="right").astype(np.int64)
        # The last entry is 2^63, which no key is; so where nothing was found, -1 points to what is not equal.
        for row in np.flatnonzero(self._coarse[found - 1] == keys).tolist():
            high, low = source.words(2).tolist()
            found[row] = bisect_right(self._fine, int(keys[row]) << REST | high << REST // 2 | low)
        return found


class IntegerNoise(ABC):
    """Noise on the integers whose distribution is symmetric around 0."""

    variance: float
    """Of each number."""

    def draw(self, count: int, source: Source) -> Integers:
        """Independent numbers, (count,)."""
        out, filled = np.empty(count, np.int64), 0
        while filled < count:
            missing = min(count - filled, AT_ONCE)
            made = self._some(missing, source)[:missing]
            out[filled : filled + made.size] = made
            filled += made.size
        return out

    @abstractmethod
    def _some(self, count: int, source: Source) -> Integers:
        """About so many of them."""


def signed(magnitudes: Integers, words: Words, kept: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[Any]:
    """Magnitudes with the signs that the lowest bits of words give, those that are kept; 0 has no second sign, so half
    of the zeros are left out, and magnitudes are drawn as if there were none."""
    negative = (words & np.uint64(1)).astype(np.bool_)
    good = ~negative | (magnitudes != 0)
    if kept is not None:
        good &= kept
    return np.where(negative, -magnitudes, magnitudes)[good]
