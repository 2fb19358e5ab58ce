"""Gaussian noise in whole numbers.

A normal number (Box and Muller, 1958, of 64-bit uniform numbers) is rounded to the nearest whole one. Added to a sum of
whole numbers, that is the same as rounding the sum with continuous noise: whoever sees the result sees a point of the
grid, and none of the gaps and clusters of floating-point numbers by which noise can be told from what it hides
(Mironov, "On Significance of the Least Significant Bits for Differential Privacy", CCS 2012).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from fogline.privacy.noise.source import Source  # Not above: who only plans needs no cipher.

STEP = 4096
"""Numbers that are made at once."""
WIDEST = 2.0**56
"""The largest standard deviation in steps: ten of it are far from what 64 bits hold."""


def rounded_gaussian(deviation: float, count: int, source: Source) -> npt.NDArray[np.int64]:
    """Whole numbers, (count,), of a normal distribution around 0.

    None is further out than 9.42 standard deviations, which a true one is once in 10^20 times.

    Args:
        deviation: standard deviation, at least 0.
        count: how many.
        source: decides them.

    Raises:
        ValueError: the deviation is negative, or too large for 64 bits.
    """
    if not 0.0 <= deviation <= WIDEST:
        raise ValueError(f"Noise of {deviation:.3g} steps does not fit into 64 bits; make noise or clip smaller.")
    noise = np.zeros(count, np.int64)
    for low in range(0, count, STEP) if deviation else ():
        part = noise[low : low + STEP]
        part[:] = np.rint(normals(part.size, source) * deviation)
    return noise


def normals(count: int, source: Source) -> npt.NDArray[np.float64]:
    """Normal numbers (count,) around 0, of deviation 1."""
    pairs = (count + 1) // 2
    uniform = source.words(2 * pairs).astype(np.float64)
    radius = np.sqrt(-2.0 * np.log((uniform[:pairs] + 1.0) * 2.0**-64))
    angle = uniform[pairs:] * (2.0 * math.pi * 2.0**-64)
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]
