"""Gaussian noise and Poisson samples for the steps of training: single precision, many numbers at once.

A step wants as many numbers as the model has, so they must cost little beside its gradient. What noise is added to are
no whole numbers there; their sum is rounded to a grid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from fogline.privacy.noise.source import Source  # Not above: who only plans needs no cipher.

Words = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float32]

WORD = 2.0**-32
TURN = np.float32(2.0 * np.pi * WORD)
PAIRS = 1 << 13
"""Pairs of numbers that are made at once: they stay in the processor's cache."""
FINE = 1 << 12
"""Words below it are too coarse for the tail: there a second word makes them finer."""


def add_normal(source: Source, numbers: npt.NDArray[Any], deviation: float, grid: float) -> None:
    """Add independent normal noise around 0 to ``numbers``, (n,) of floats, and round them to a grid; in place.

    Box and Muller (1958). The radius has 64 bits where it is large: no noise is further out than 9.42 deviations, which
    a true one is once in 10^20 times.

    Args:
        source: decides the noise.
        numbers: what it is added to.
        deviation: of the noise.
        grid: what results are multiples of.
    """
    for low in range(0, numbers.size, 2 * PAIRS):
        part = numbers[low : low + 2 * PAIRS]
        half = (part.size + 1) // 2
        noise = np.empty(2 * half, np.float32)
        words, first, second = _words(source, 2 * half), noise[:half], noise[half:]
        np.multiply(words[:half], TURN, out=second, dtype=np.float32, casting="unsafe")
        radius = _radius(words[half:], source)
        radius *= np.float32(deviation / grid)
        np.multiply(np.cos(second, out=first), radius, out=first)
        np.multiply(np.sin(second, out=second), radius, out=second)
        part *= 1.0 / grid
        part += noise[: part.size]
        np.rint(part, out=part)
        part *= grid


def _radius(words: Words, source: Source) -> Floats:
    """The square root of minus twice the logarithm of numbers spread evenly over (0, 1]."""
    share = words.astype(np.float32)
    if words.min() < FINE:
        coarse = np.flatnonzero(words < FINE)
        share[coarse] += ((_words(source, coarse.size) + 1.0) * WORD).astype(np.float32)
    share *= np.float32(WORD)
    np.log(share, out=share)
    share *= np.float32(-2.0)
    return np.sqrt(share, out=share)


def poisson_sample(source: Source, examples: int, rate: float) -> npt.NDArray[np.int64]:
    """Which of so many examples are in a sample that each is in by itself, with probability ``rate``; in rising order.

    The probability is rounded down to a multiple of 2^-32; at 1 all are in, and nothing is drawn.
    """
    if rate >= 1.0:
        return np.arange(examples)
    return np.flatnonzero(_words(source, examples) < np.uint32(rate / WORD))


def _words(source: Source, count: int) -> Words:
    """The next words of 32 bits, (count,)."""
    return source.words((count + 1) // 2).view(np.uint32)[:count]
