"""The discrete Gaussian (Canonne, Kamath and Steinke, NeurIPS 2020): P(x) in proportion to exp(-x^2 / 2 sigma^2)."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fogline.privacy.noise.table import IntegerNoise, Integers, NoiseError, Table, Words, signed

if TYPE_CHECKING:
    from fogline.privacy.noise.source import Source  # Not above: who only plans a round needs no ciphers.

WIDE = 1 << 10
"""Standard deviation up to which a table has an entry for each number; beyond it has one for several that follow each
other."""
MOST = 2.0**30
PRECISION = 256
"""Bits of the weights in a table."""
UNSURE = 2.0**-47
"""How near to its probability a random number is where floating point does not decide. The exponential function is
right to about 2^-52 of it."""


class DiscreteGaussian(IntegerNoise):
    """The integers with the weights of a Gaussian.

    Where the standard deviation is large, blocks of ``step`` numbers that follow each other are drawn by a table, and a
    number of the block uniformly; it is kept with the probability by which it is less likely than the block's first,
    which is mostly above 0.99.

    Args:
        sigma: the Gaussian's standard deviation, at most 2^30; that of the integers is the same from about 1 on.

    Raises:
        NoiseError: there is no such noise.
    """

    def __init__(self, sigma: float) -> None:
        if not 0.0 < sigma <= MOST:
            raise NoiseError(f"The discrete Gaussian has a standard deviation above 0 and at most 2^30, not {sigma:g}.")
        self.variance = sigma * sigma
        self._twice = 2 * Fraction(sigma) ** 2
        self._step = math.ceil(sigma / WIDE)
        self._table = _table(self._step**2 / self._twice)

    def _some(self, count: int, source: Source) -> Integers:
        # A few more, so that one turn is mostly enough: half of the zeros fall out, and who is less likely.
        words = source.words(count + count // 64 + 8 + round(count * min(0.5, 0.25 / math.sqrt(self.variance))))
        blocks = self._table.draw(words, source)
        if self._step == 1:
            return signed(blocks, words)
        inside, kept = _below(self._step, source.words(words.size))
        starts = blocks * self._step
        kept &= self._accepted(inside * (2 * starts + inside), source)
        return signed(starts + inside, words, kept)

    def _accepted(self, squares: Integers, source: Source) -> npt.NDArray[np.bool_]:
        """True with probability exp(-square / 2 sigma^2), (n,)."""
        words = source.words(squares.size)
        chances = np.exp(squares * (-1.0 / float(self._twice)))
        chances -= (words >> np.uint64(11)) * 2.0**-53
        kept = chances > 0.0
        for row in np.flatnonzero(np.abs(chances) <= UNSURE).tolist():
            kept[row] = is_below_exp(int(words[row]), int(squares[row]) / self._twice, source)
        return kept


def is_below_exp(word: int, exponent: Fraction, source: Source) -> bool:
    """Whether a random number from [0, 1) is below ``exp(-exponent)``: exactly, with as many bits as it takes.

    Args:
        word: its first 64 bits.
        exponent: at least 0.
        source: of the others.
    """
    size = 64
    while True:
        bound = _exp(exponent, size)
        if abs(word - bound) > 1:
            return word < bound
        word, size = word << 64 | int(source.words(1)[0]), size + 64


def _exp(exponent: Fraction, bits: int) -> int:
    """``2 ** bits * exp(-exponent)``, off by less than 1."""
    with localcontext() as context:
        context.prec = bits // 3 + 30
        power = (-Decimal(exponent.numerator) / Decimal(exponent.denominator)).exp()
        return int(power * (1 << bits))


def _below(bound: int, words: Words) -> tuple[Integers, npt.NDArray[np.bool_]]:
    """Numbers below a bound, (n,), and which of them are to be taken, so that all are equally likely (Lemire, 2019)."""
    products = (words >> np.uint64(32)) * np.uint64(bound)
    kept = (products & np.uint64(2**32 - 1)) >= np.uint64(2**32 % bound)
    return (products >> np.uint64(32)).astype(np.int64), kept


@lru_cache(8)
def _table(exponent: Fraction) -> Table:
    """Of ``exp(-k^2 * exponent)``: each is the one before times a factor, and the factors fall by a factor too."""
    factor, fall = _exp(exponent, PRECISION), _exp(2 * exponent, PRECISION)
    weights, weight = list[int](), 1 << PRECISION
    while weight >> PRECISION - 150:
        weights.append(weight)
        weight = weight * factor >> PRECISION
        factor = factor * fall >> PRECISION
    return Table(weights)
