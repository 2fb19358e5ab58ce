"""How far one unit may move the model: its movement, scaled down to an L2 norm."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
BELOW = 1.0 - 2.0**-20
"""Of the norm that is aimed at: rounding in single precision, 2^-24 a number, cannot lead above it then."""


def norm_of(vectors: Iterable[Floats]) -> float:
    """The L2 norm of vectors (n,) as one; not finite where a number is not.

    It is summed in double precision: the square of a large number is beyond single.
    """
    return math.sqrt(sum(float(np.square(vector, dtype=np.float64).sum()) for vector in vectors))


def scaled(vector: Floats, factor: float) -> Floats:
    """The vector times a factor, in its own type."""
    return vector * vector.dtype.type(factor)


def bounded_on_grid(vector: Floats, norm: float, bound: float, step: float) -> Floats:
    """A vector of a norm of at most ``bound``, each number a multiple of ``step`` that its type holds exactly.

    Numbers are rounded towards zero, so that this makes no vector longer.

    Args:
        vector: (n,), finite.
        norm: its own, as :func:`norm_of` has it.
        bound: above 0.
        step: a power of two.
    """
    shorter = scaled(vector, bound * BELOW / norm) if norm > bound * BELOW else vector
    kind = vector.dtype.type
    return np.trunc(shorter * kind(1.0 / step)) * kind(step)
