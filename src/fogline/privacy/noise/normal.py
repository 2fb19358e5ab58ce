"""Gaussian noise and Poisson samples for the steps of training: single precision, many numbers at once.

A step wants as many numbers as the model has, so they must cost little beside its gradient. What noise is added to is
no whole number there; who adds it rounds the sum to a grid afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from fogline.privacy.noise.source import Source  # Not above: who only plans needs no cipher.

Words = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float32]

WORD = 2.0**-32
TURN = np.float32(2.0 * np.pi * WORD)
PAIRS = 1 << 12
"""Pairs of numbers that are made at once: they stay in the processor's cache."""
FINE = 1 << 12
"""Words below it are too coarse for the tail: there a second word makes them finer."""


def fill_normal(source: Source, out: Floats) -> None:
    """Fill ``out``, (n,), with independent normal numbers around 0, of deviation 1.

    Box and Muller (1958). The radius has 64 bits where it is large: no number is further out than 9.42, which a true
    one is once in 10^20 times.
    """
    for low in range(0, out.size, 2 * PAIRS):
        part = out[low : low + 2 * PAIRS]
        half = (part.size + 1) // 2
        words = _words(source, 2 * half)
        angle = words[:half].astype(np.float32)
        angle *= TURN
        radius = _radius(words[half:], source)
        np.multiply(np.cos(angle), radius, out=part[:half])
        rest = part[half:]
        np.multiply(np.sin(angle[: rest.size]), radius[: rest.size], out=rest)


def _radius(words: Words, source: Source) -> Floats:
    """The square root of minus twice the logarithm of numbers spread evenly over (0, 1]."""
    share = words.astype(np.float32)
    coarse = np.flatnonzero(words < FINE)
    if coarse.size:
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
