"""Folds: how updates become one. A fold is a commutative monoid with an action.

``zero`` is a new fold, ``add`` takes a device's update, ``merge`` takes another node's partial result, and
``finish`` gives means and totals. Updates stream through: memory is one sum per named vector, however many
children there are. A refused update leaves the fold as it was.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fogline.aggregation.sweep import Scratch, bound, magnitude
from fogline.aggregation.update import (
    DOUBLE,
    NO_COUNTERS,
    Folded,
    Partial,
    Sum,
    UnusableUpdateError,
    Update,
    float_type,
)
from fogline.aggregation.weights import Weight, fault, is_per_number, largest, plus
from fogline.params import Counters

_Term = tuple[str, npt.NDArray[Any], Weight, Weight, float]
"""Name, vector, weight, the factor that the vector is added with, and a bound on the magnitudes of what is added."""


def highest(counters: Counters, others: Counters) -> Counters:
    """The largest value of each; either may be none at all."""
    if not others.size:
        return counters
    return np.maximum(counters, others) if counters.size else others.copy()


def middle(several: Sequence[Counters]) -> Counters:
    """The median value of each, the lower one of an even number; of those that are none at all nothing."""
    rows = [counters for counters in several if counters.size]
    return np.sort(np.stack(rows), axis=0)[(len(rows) - 1) // 2] if rows else NO_COUNTERS


class Fold(ABC):
    """What all folds share: names, weights, counters, and what is refused."""

    unit: float = 1.0
    """What one stands for in a sum."""
    adds_codes: ClassVar[bool] = False
    """Whether it adds numbers as they are, so that it may add those of a linear code."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Become empty, without touching the arrays that were handed over."""
        self.sums: dict[str, Sum] = {}
        self.counters: Counters = NO_COUNTERS
        self.count = 0

    @abstractmethod
    def add(self, update: Update, scale: float = 1.0) -> None:
        """Take a device's update.

        ``scale`` multiplies its vectors, but not its weights' part in the denominator: a stale update counts
        for less without the others counting for more.

        Raises:
            UnusableUpdateError: it is not finite, does not fit or is too large; nothing of it was added.
        """

    @abstractmethod
    def merge(self, partial: Partial, scale: float = 1.0) -> None:
        """Take another node's partial result; ``scale`` as in :meth:`add`.

        Raises:
            UnusableUpdateError: as in :meth:`add`, or it comes from another kind of fold.
        """

    def take(self, value: Update | Partial, scale: float = 1.0) -> None:
        """Add an update or merge a partial result, whichever it is."""
        if isinstance(value, Partial):
            self.merge(value, scale)
        else:
            self.add(value, scale)

    def take_all(self, values: Sequence[tuple[Update | Partial, float]], refused: Callable[[int, str], None]) -> None:
        """:meth:`take` for one after the other, to the bit. ``refused`` is told the place of every one that cannot be
        used, and why."""
        for place, (value, scale) in enumerate(values):
            try:
                self.take(value, scale)
            except UnusableUpdateError as error:
                refused(place, str(error))

    @abstractmethod
    def partial(self) -> Partial:
        """What the fold holds, handed over without a copy: the fold is empty afterwards."""

    @abstractmethod
    def finish(self) -> Folded:
        """The result, handed over without a copy: the fold is empty afterwards."""

    @abstractmethod
    def suits(self, partial: Partial) -> None:
        """Refuse a partial result of another kind of fold."""

    def _suits_names(
        self, vectors: Mapping[str, npt.NDArray[Any]], weights: Mapping[str, Weight], counters: Counters
    ) -> None:
        if weights.keys() != vectors.keys():
            raise UnusableUpdateError(f"The update has vectors {[*vectors]} but weights {[*weights]}.")
        if self.counters.size and counters.size and self.counters.size != counters.size:
            raise UnusableUpdateError(f"It has {counters.size} counters where others have {self.counters.size}.")

    def _size(self, name: str, vector: npt.NDArray[Any], weight: Weight, times: float, known: float | None) -> float:
        """A bound on the magnitudes of a vector, if it and its weight are right; it counts so many times at most."""
        total = self.sums.get(name)
        if vector.ndim != 1 or (total is not None and vector.shape != total.shape):
            wanted = "(n,)" if total is None else total.shape
            raise UnusableUpdateError(f"Its vector '{name}' has shape {vector.shape} where others have {wanted}.")
        wrong = fault(name, vector, weight, times)
        if wrong is not None:
            raise UnusableUpdateError(wrong)
        size = bound(vector) if known is None else known
        if not math.isfinite(size):
            bad = int(np.flatnonzero(~np.isfinite(vector))[0])
            raise UnusableUpdateError(
                f"Its vector '{name}' is not finite: number {bad} of {vector.size} is {vector[bad]}."
            )
        return size


class SumFold(Fold):
    """Adds up: what folds share whose results are weighted sums."""

    def clear(self) -> None:
        super().clear()
        self.weights: dict[str, Weight] = {}
        self.bounds: dict[str, float] = {}  # no magnitude in the sum of that name exceeds it
        self.double: set[str] = set()
        self.scratch = Scratch()

    def add(self, update: Update, scale: float = 1.0) -> None:
        vectors, weights = update.vectors, update.weights
        self._suits_names(vectors, weights, update.counters)
        terms: list[_Term] = []
        for name, vector in vectors.items():
            weight = self.weight(name, weights[name])
            factor = weight * scale * self.unit
            terms.append(
                (name, vector, weight, factor, self._room(name, vector, weight, factor, update.bounds.get(name)))
            )
        self._enter(terms, update.counters, update.count)
        for name, vector in vectors.items():
            if float_type(vector) is DOUBLE:
                self.double.add(name)

    def merge(self, partial: Partial, scale: float = 1.0) -> None:
        self.suits(partial)
        self._suits_names(partial.sums, partial.weights, partial.counters)
        terms: list[_Term] = [
            (name, total, partial.weights[name], scale, self._room(name, total, partial.weights[name], scale, None))
            for name, total in partial.sums.items()
        ]
        self._enter(terms, partial.counters, partial.count)
        self.double |= partial.double

    def partial(self) -> Partial:
        for name in self.sums:
            self.settle(name)
        partial = Partial(self.sums, self.weights, self.counters, self.count, frozenset(self.double))
        self.clear()
        return partial

    @abstractmethod
    def limit(self, vector: npt.NDArray[Any]) -> float:
        """The magnitude at which a sum of such vectors overflows."""

    @abstractmethod
    def accumulate(self, name: str, vector: npt.NDArray[Any], factor: float, top: float) -> None:
        """``sum += factor * vector``; no term of it exceeds ``top``."""

    @abstractmethod
    def product(self, vector: npt.NDArray[Any], factors: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The vector, each number times its own factor, as it is accumulated."""

    def weight(self, name: str, weight: Weight) -> Weight:
        """The weight as the fold can hold it."""
        return weight

    def settle(self, name: str) -> None:
        """Bring that sum into the form that is handed over."""

    def _enter(self, terms: list[_Term], counters: Counters, count: int) -> None:
        """Add what was found to fit."""
        for name, vector, weight, factor, top in terms:
            if is_per_number(factor):
                self.accumulate(name, self.product(vector, factor), 1.0, top)
            else:
                self.accumulate(name, vector, factor, top)
            self.bounds[name] = self.bounds.get(name, 0.0) + top
            self.weights[name] = plus(self.weights.get(name, 0.0), weight)
        self.counters = highest(self.counters, counters)
        self.count += count

    def _room(self, name: str, vector: npt.NDArray[Any], weight: Weight, factor: Weight, known: float | None) -> float:
        """A bound on the magnitudes of ``factor * vector``, if the vector fits and there is room for it.

        The Euclidean norm is a cheap bound, and mostly enough. Where it is not, the true magnitudes decide.
        """
        most = largest(factor)
        size = self._size(name, vector, weight, most / self.unit, known)
        limit = self.limit(vector)
        top = size * most
        if self.bounds.get(name, 0.0) + top < limit:
            return top
        if name in self.sums:
            self.settle(name)
            self.bounds[name] = magnitude(self.sums[name])
        top = magnitude(vector) * most
        if self.bounds.get(name, 0.0) + top < limit:
            return top
        raise UnusableUpdateError(
            f"Its vector '{name}', times its weight, reaches {top / self.unit:.3g}; the fold overflows at "
            f"{limit / self.unit:.3g}, of which {self.bounds.get(name, 0.0) / self.unit:.3g} may be in use."
        )
