"""Folds: how updates become one. A fold is a commutative monoid with an action.

``zero`` is a new fold, ``add`` takes a device's update, ``merge`` takes another node's partial result, and
``finish`` gives means and totals. Updates stream through: memory is one sum per named vector, however many
children there are. A refused update leaves the fold as it was.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fogline.aggregation.update import NO_COUNTERS, Folded, Partial, Sum, UnusableUpdate, Update
from fogline.params import Counters, Vector

BLOCK = 1 << 14
"""Numbers that a fold works on at once: few enough to stay in the processor's cache between two passes."""


class Fold(ABC):
    """The part that all folds share: names, weights, counters, and what is refused."""

    def __init__(self) -> None:
        self.sums: dict[str, Sum] = {}
        self.weights: dict[str, float] = {}
        self.double: set[str] = set()
        self.counters: Counters = NO_COUNTERS
        self.count = 0

    def add(self, update: Update, scale: float = 1.0) -> None:
        """Take a device's update.

        ``scale`` multiplies its vectors, but not its weights' part in the denominator: a stale update counts
        for less without the others counting for more.

        Raises:
            UnusableUpdate: it is not finite, does not fit or is too large; nothing of it was added.
        """
        if update.weights.keys() != update.vectors.keys():
            raise UnusableUpdate(f"The update has vectors {[*update.vectors]} but weights {[*update.weights]}.")
        sizes = self._check(update.vectors, update.weights, update.counters, scale)
        self._add(update, scale, sizes)
        self._count(update.weights, update.counters, update.count)
        self.double |= {name for name, vector in update.vectors.items() if vector.dtype == np.float64}

    def merge(self, partial: Partial, scale: float = 1.0) -> None:
        """Take another node's partial result; ``scale`` as in :meth:`add`.

        Raises:
            UnusableUpdate: as in :meth:`add`, or it comes from the other kind of fold.
        """
        if partial.weights.keys() != partial.sums.keys():
            raise UnusableUpdate(f"The partial has sums {[*partial.sums]} but weights {[*partial.weights]}.")
        sizes = self._check(partial.sums, partial.weights, partial.counters, scale)
        self._merge(partial, scale, sizes)
        self._count(partial.weights, partial.counters, partial.count)
        self.double |= partial.double

    def take(self, value: Update | Partial, scale: float = 1.0) -> None:
        """Add an update or merge a partial result, whichever it is."""
        if isinstance(value, Partial):
            self.merge(value, scale)
        else:
            self.add(value, scale)

    @abstractmethod
    def partial(self) -> Partial:
        """What the fold holds, handed over without a copy: the fold is empty afterwards."""

    @abstractmethod
    def finish(self) -> Folded:
        """The result, handed over without a copy: the fold is empty afterwards."""

    @abstractmethod
    def _add(self, update: Update, scale: float, sizes: dict[str, float]) -> None: ...

    @abstractmethod
    def _merge(self, partial: Partial, scale: float, sizes: dict[str, float]) -> None: ...

    def _check(
        self, vectors: Mapping[str, npt.NDArray[Any]], weights: dict[str, float], counters: Counters, scale: float
    ) -> dict[str, float]:
        """Refuse what does not fit; return, by name, a bound on the vector's largest magnitude."""
        if self.counters.size and counters.size and self.counters.size != counters.size:
            raise UnusableUpdate(f"It has {counters.size} counters where others have {self.counters.size}.")
        for name, vector in vectors.items():
            if vector.ndim != 1 or (name in self.sums and vector.shape != self.sums[name].shape):
                wanted = self.sums[name].shape if name in self.sums else "(n,)"
                raise UnusableUpdate(f"Its vector '{name}' has shape {vector.shape} where others have {wanted}.")
            if not (0.0 <= weights[name] < math.inf and math.isfinite(scale)):
                raise UnusableUpdate(f"Its vector '{name}' has weight {weights[name]} and scale {scale}.")
        return {name: bound(name, vector) for name, vector in vectors.items()}

    def _count(self, weights: dict[str, float], counters: Counters, count: int) -> None:
        for name, weight in weights.items():
            self.weights[name] = self.weights.get(name, 0.0) + weight
        if counters.size:
            self.counters = np.maximum(self.counters, counters) if self.counters.size else counters.copy()
        self.count += count

    def _empty(self) -> None:
        """Forget everything, without touching the arrays handed over."""
        Fold.__init__(self)


def bound(name: str, vector: npt.NDArray[Any]) -> float:
    """A number that no magnitude in the vector exceeds: its Euclidean norm, which one fast pass gives.

    Raises:
        UnusableUpdate: a number in it is not finite.
    """
    if vector.dtype == np.int64:
        return magnitude(vector)
    if vector.dtype in (np.float32, np.float64):
        with np.errstate(all="ignore"):
            square = float(np.dot(vector, vector))
        if 1e-30 < square < math.inf:  # neither overflow nor, for what matters here, underflow
            return math.sqrt(square) * (1.0 + 1e-3)  # the margin covers the rounding of the product
    largest = magnitude(vector)
    if not math.isfinite(largest):
        bad = int(np.flatnonzero(~np.isfinite(vector))[0])
        raise UnusableUpdate(f"Its vector '{name}' is not finite: number {bad} of {vector.size} is {vector[bad]}.")
    return largest


def magnitude(vector: npt.NDArray[Any]) -> float:
    """The largest magnitude in the vector; not finite if a number in it is not."""
    return max(-float(vector.min()), float(vector.max())) if vector.size else 0.0


def blocks(size: int) -> Iterator[slice]:
    """Slices that cover so many numbers, a cache's worth each."""
    return (slice(start, min(start + BLOCK, size)) for start in range(0, size, BLOCK))


def as_float(vector: Vector) -> np.dtype[np.floating[Any]]:
    """The type a vector is summed and given back in: float64 stays, everything else is float32."""
    return np.dtype(np.float64 if vector.dtype == np.float64 else np.float32)
