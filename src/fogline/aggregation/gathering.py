"""The fold of a rule that needs all updates at once: it gathers them, and combines them in blocks of columns."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fogline.aggregation.fold import Fold, highest
from fogline.aggregation.mean import DOUBLE, LARGEST, SINGLE
from fogline.aggregation.sweep import bound, magnitude, sweep
from fogline.aggregation.update import NO_COUNTERS, Arrays, Folded, Partial, UnusableUpdateError, Update
from fogline.aggregation.weights import is_per_number
from fogline.params import Vector

Combine = Callable[[npt.NDArray[Any], npt.NDArray[np.float64]], Vector]
"""Makes (columns,) of a block (updates, columns) and the weights (updates,)."""
Keep = Callable[[Vector], Vector]
"""Gives a vector of the same numbers that stays as it is."""
BLOCK = 1 << 22
"""Numbers of a block, over all updates."""


class WrongRuleError(TypeError):
    """A rule gives what it must not; the text stands after its name."""


def as_it_is(vector: Vector) -> Vector:
    """Keeps a vector that nobody changes, such as one that lies in a file."""
    return vector


def copied(vector: Vector) -> Vector:
    """Keeps a vector whose memory is used again."""
    return vector.copy()


class Gathered(Partial):
    """Updates that wait together. They merge as partial results do, but only on the node that gathered them."""

    __slots__ = ("updates",)

    def __init__(self, updates: list[tuple[Update, float]]) -> None:
        """``updates``: each with its scale."""
        sums = {name: vector for update, _ in reversed(updates) for name, vector in update.vectors.items()}
        counters, count = NO_COUNTERS, 0
        for update, _ in updates:
            counters, count = highest(counters, update.counters), count + update.count
        super().__init__({**sums}, {}, counters, count)
        self.updates = updates

    def to_arrays(self) -> Arrays:
        arrays: Arrays = {}
        for place, (update, scale) in enumerate(self.updates):
            arrays |= {f"{place}/{name}": array for name, array in update.to_arrays().items()}
            arrays[f"{place}/scale"] = np.array([scale])
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Gathered:
        """Read what :meth:`to_arrays` wrote."""
        parts: dict[int, Arrays] = {}
        for name, array in arrays.items():
            place, _, rest = name.partition("/")
            parts.setdefault(int(place), {})[rest] = array
        return cls([(Update.from_arrays(part), float(part["scale"].item())) for _, part in sorted(parts.items())])


class Combined(Folded):
    """What a rule made of all updates at once: of each name one vector, which stands for their mean.

    Its weight is what the updates' weights come to if each were as heavy as the median one, lest one update make
    itself as heavy as it likes. A total is the rule's vector times that.
    """

    __slots__ = ()

    def mean(self, name: str) -> Vector:
        self._check(name)
        if not self.weights[name] > 0.0:
            raise ValueError(f"The updates' weights of '{name}' sum to {self.weights[name]}; there is no mean.")
        return self.sums[name]

    def total(self, name: str) -> Vector:
        return super().total(name) * self.weights[name]


class GatheringFold(Fold):
    """Gathers updates, and lets a rule combine them.

    Args:
        combine: the rule.
        keep: gives the vectors that are gathered.
    """

    def __init__(self, combine: Combine, keep: Keep) -> None:
        self._combine, self._keep = combine, keep
        super().__init__()

    def clear(self) -> None:
        super().clear()
        self._updates: list[tuple[Update, float]] = []

    def add(self, update: Update, scale: float = 1.0) -> None:
        self._suits_names(update.vectors, update.weights, update.counters)
        for name, vector in update.vectors.items():
            weight = update.weights[name]
            if is_per_number(weight):
                raise UnusableUpdateError(
                    f"Its vector '{name}' has a weight for each number; the rule of this tier takes one for all."
                )
            self._size(name, vector, weight, scale, update.bounds.get(name))
        vectors = {name: self._keep(vector) for name, vector in update.vectors.items()}
        self._gather([(Update(vectors, {**update.weights}, update.counters.copy(), update.count), scale)])

    def merge(self, partial: Partial, scale: float = 1.0) -> None:
        self.suits(partial)
        assert isinstance(partial, Gathered)
        self._gather([(update, scale * own) for update, own in partial.updates])

    def partial(self) -> Gathered:
        gathered = Gathered(self._updates)
        self.clear()
        return gathered

    def finish(self) -> Folded:
        counters, count = self.counters, self.count
        made = {name: self._combined(name) for name in self.sums}
        self.clear()
        sums = {name: vector for name, (vector, _) in made.items()}
        return Combined(sums, {name: weight for name, (_, weight) in made.items()}, counters, count)

    def suits(self, partial: Partial) -> None:
        if not isinstance(partial, Gathered):
            raise UnusableUpdateError("It is a sum of several updates; the rule of this tier wants each by itself.")

    def _gather(self, updates: list[tuple[Update, float]]) -> None:
        for update, _ in updates:
            for name, vector in update.vectors.items():
                self.sums.setdefault(name, vector)
            self.counters = highest(self.counters, update.counters)
            self.count += update.count
        self._updates += updates

    def _combined(self, name: str) -> tuple[Vector, float]:
        """What the rule makes of the vectors of a name that weigh anything, and their weight."""
        rows: list[tuple[Vector, float]] = []
        heavy: list[float] = []
        for update, scale in self._updates:
            weight = update.weights.get(name, 0.0)
            assert not is_per_number(weight)
            if weight > 0.0:
                rows.append((update.vectors[name], scale))
                heavy.append(weight)
        size, weights = self.sums[name].size, np.array(heavy)
        kind = DOUBLE if any(vector.dtype == DOUBLE for vector, _ in rows) else SINGLE
        combined = np.zeros(size, kind)
        if not rows:
            return combined, 0.0

        def work(columns: slice, _: int) -> None:
            block = np.empty((len(rows), columns.stop - columns.start), kind)
            for row, (vector, scale) in zip(block, rows, strict=True):
                np.multiply(vector[columns], kind.type(scale), out=row, casting="same_kind")
            made = self._checked(self._combine(block, weights), columns)
            with np.errstate(over="ignore"):
                combined[columns] = made

        sweep(size, work, max(1, BLOCK // len(rows)))
        if not math.isfinite(bound(combined)):
            self._refuse(name, combined, max(magnitude(vector) * abs(scale) for vector, scale in rows))
        return combined, len(rows) * float(np.median(weights))

    def _refuse(self, name: str, combined: Vector, largest: float) -> None:
        """A rule has made numbers that are not finite. Of numbers whose squares overflow many an honest rule would."""
        bad = np.flatnonzero(~np.isfinite(combined))
        what = f"gives '{name}' with {bad.size:,} of {combined.size:,} numbers that are not finite"
        if largest * largest * len(self._updates) < LARGEST[combined.dtype]:
            raise WrongRuleError(f"{what} (number {bad[0]} is {combined[bad[0]]})")
        raise UnusableUpdateError(f"Of updates as large as {largest:.3g} the tier's rule {what}.")

    def _checked(self, made: Any, columns: slice) -> Vector:
        wanted = (columns.stop - columns.start,)
        if not isinstance(made, np.ndarray) or made.shape != wanted or made.dtype.kind != "f":
            given = f"{made.dtype} of shape {made.shape}" if isinstance(made, np.ndarray) else repr(type(made))
            raise WrongRuleError(f"gives {given}; it must give floating-point numbers of shape {wanted}")
        return made
