"""Weights of vectors in a mean: mostly one number for all of a vector, or one for each of its numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from typing_extensions import TypeIs

Weight = float | npt.NDArray[Any]
"""One number for all of a vector, or (n,), one for each of its numbers."""


def is_per_number(weight: Weight) -> TypeIs[npt.NDArray[Any]]:
    """Whether each number of the vector has a weight of its own."""
    return isinstance(weight, np.ndarray)


def plus(a: Weight, b: Weight) -> Weight:
    """The sum of two weights of a name; in float64, in which counts are exact."""
    return np.add(a, b, dtype=np.float64) if is_per_number(a) or is_per_number(b) else a + b


def largest(weight: Weight) -> float:
    """The largest magnitude in it."""
    if not is_per_number(weight):
        return abs(weight)
    return float(np.abs(weight).max()) if weight.size else 0.0


def fault(name: str, vector: npt.NDArray[Any], weight: Weight, times: float) -> str | None:
    """Why that is no weight of the vector, which counts so many times at most; None if it is one."""
    if not is_per_number(weight):
        right = 0.0 <= weight < math.inf and math.isfinite(times)
        return None if right else f"Its vector '{name}' has weight {weight} and counts {times} times."
    if weight.shape != vector.shape or weight.dtype.kind not in "fiu":
        return (
            f"Its vector '{name}' has shape {vector.shape}, but weights of {weight.dtype}, {weight.shape}: one for "
            "each number is wanted."
        )
    bad = np.flatnonzero(~((weight >= 0.0) & (weight < math.inf)))
    if bad.size:
        return f"Its weights of '{name}' are wrong: number {bad[0]} is {weight[bad[0]]}."
    return None if math.isfinite(times) else f"Its vector '{name}' counts {times} times."


def divided(vector: npt.NDArray[Any], weight: Weight) -> npt.NDArray[Any]:
    """``vector / weight``, (n,), in the vector's type; 0 where the weight is 0."""
    if not is_per_number(weight):
        return vector * (1.0 / weight) if weight else np.zeros_like(vector)
    quotient = np.zeros_like(vector)
    return np.divide(vector, weight, out=quotient, where=weight > 0.0, casting="same_kind")
