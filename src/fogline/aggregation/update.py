"""What goes into a fold and what comes out: updates, partial results, finished folds.

Updates and partials turn into flat dictionaries of arrays and back, for safetensors on disk and on the wire:

- update: ``vector/NAME``, ``weight/NAME``, ``counters``, ``count``;
- partial: ``sum/NAME``, ``weight/NAME``, ``double/NAME``, ``counters``, ``count``, ``partial``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from fogline.params import Counters, Vector

NO_COUNTERS: Counters = np.zeros(0, np.int64)

NO_BOUNDS: Mapping[str, float] = {}

Arrays = dict[str, npt.NDArray[Any]]
"""Named arrays, as safetensors holds them."""

Sum = npt.NDArray[np.floating[Any] | np.int64]
"""A sum of weighted vectors, (n,): floating point, or fixed point under the exact fold."""


class UnusableUpdateError(ValueError):
    """An update that must not enter an aggregate: not finite, of a wrong shape, or too large for the exact fold."""


@dataclass(slots=True)
class Update:
    """What a device sends up: named vectors, each with the weight it has in the mean.

    Args:
        vectors: name to (n,) vector, unscaled.
        weights: name to weight; the same names.
        counters: integer entries of the model after training.
        count: devices that it speaks for; more than one where a fog makes one update of its rounds.
        bounds: numbers that no magnitude in the vector of that name exceeds, as ``sweep.bound`` gives them, where
            who made the vector has looked already. They never travel: a node believes its own only.
    """

    vectors: dict[str, Vector]
    weights: dict[str, float]
    counters: Counters = field(default_factory=lambda: NO_COUNTERS)
    count: int = 1
    bounds: Mapping[str, float] = field(default_factory=lambda: NO_BOUNDS)

    @property
    def nbytes(self) -> int:
        """Bytes that its numbers take in transport, before any codec."""
        return _nbytes(self.vectors, self.counters)

    def to_arrays(self) -> Arrays:
        """A flat dictionary of arrays; the vectors are not copied."""
        return _join("vector", self.vectors, self.weights, self.counters, self.count)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Update:
        """Read what :meth:`to_arrays` wrote.

        Raises:
            UnusableUpdateError: the arrays are not those of an update.
        """
        return cls(*_split("vector", arrays))


@dataclass(slots=True)
class Partial:
    """What a fold holds: sums of weighted vectors and sums of weights.

    Args:
        sums: name to (n,) sum; int64 multiples of the resolution under the exact fold.
        weights: name to sum of weights.
        counters: largest value of each integer entry.
        count: device updates in it.
        double: names whose vectors were float64; what an exact fold gives back has that type.
    """

    sums: dict[str, Sum]
    weights: dict[str, float]
    counters: Counters
    count: int
    double: frozenset[str] = frozenset()

    @property
    def nbytes(self) -> int:
        """Bytes that its numbers take in transport, before any codec."""
        return _nbytes(self.sums, self.counters)

    def to_arrays(self) -> Arrays:
        """A flat dictionary of arrays; the sums are not copied."""
        one = np.ones(1, np.int64)
        marks = {"partial": one} | {f"double/{name}": one for name in sorted(self.double)}
        return _join("sum", self.sums, self.weights, self.counters, self.count) | marks

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Partial:
        """Read what :meth:`to_arrays` wrote.

        Raises:
            UnusableUpdateError: the arrays are not those of a partial result.
        """
        double = frozenset(key.removeprefix("double/") for key in arrays if key.startswith("double/"))
        return cls(*_split("sum", arrays), double)


@dataclass(frozen=True, slots=True)
class Folded:
    """What a fold has come to: sums by name with their weights, from which means are taken."""

    sums: dict[str, Vector]
    weights: dict[str, float]
    counters: Counters
    count: int
    """Device updates in it."""

    def __repr__(self) -> str:
        names = ", ".join(f"'{name}' {vector.shape}" for name, vector in self.sums.items())
        return f"<Folded: {self.count} updates of {names}>"

    def mean(self, name: str) -> Vector:
        """Weighted mean of that vector, (n,).

        Raises:
            KeyError: no update had a vector of that name.
            ValueError: the weights sum to zero, so there is no mean.
        """
        self._check(name)
        if not self.weights[name] > 0.0:
            raise ValueError(f"The updates' weights of '{name}' sum to {self.weights[name]}; there is no mean.")
        return self.sums[name] * (1.0 / self.weights[name])

    def total(self, name: str) -> Vector:
        """Weighted sum of that vector, (n,).

        Raises:
            KeyError: no update had a vector of that name.
        """
        self._check(name)
        return self.sums[name]

    def _check(self, name: str) -> None:
        if name not in self.sums:
            raise KeyError(f"no update has a vector '{name}', only {', '.join(self.sums) or 'none'}")


def from_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> Update | Partial:
    """Read an update or a partial result, whichever it is.

    Raises:
        UnusableUpdateError: the arrays are neither.
    """
    if "partial" in arrays:
        return Partial.from_arrays(arrays)
    return Update.from_arrays(arrays)


def _nbytes(vectors: Mapping[str, npt.NDArray[Any]], counters: Counters) -> int:
    return sum(vector.nbytes + 8 for vector in vectors.values()) + counters.nbytes + 8


def _join(
    what: str, vectors: Mapping[str, npt.NDArray[Any]], weights: dict[str, float], counters: Counters, count: int
) -> Arrays:
    arrays: Arrays = {f"{what}/{name}": vector for name, vector in vectors.items()}
    arrays |= {f"weight/{name}": np.array([weight], np.float64) for name, weight in weights.items()}
    return arrays | {"counters": counters, "count": np.array([count], np.int64)}


def _split(
    what: str, arrays: Mapping[str, npt.NDArray[Any]]
) -> tuple[dict[str, npt.NDArray[Any]], dict[str, float], Counters, int]:
    try:
        names = [key.removeprefix(f"{what}/") for key in arrays if key.startswith(f"{what}/")]
        vectors = {name: arrays[f"{what}/{name}"] for name in names}
        weights = {name: float(arrays[f"weight/{name}"].item()) for name in names}
        counters, count = arrays["counters"], int(arrays["count"].item())
    except (KeyError, ValueError, OverflowError) as error:
        raise UnusableUpdateError(
            f"The arrays {sorted(arrays)} are no update: {error} is missing or not one number."
        ) from error
    if counters.dtype != np.int64 or counters.ndim != 1 or count < 0:
        raise UnusableUpdateError(f"It counts {count} devices and has counters of {counters.dtype}, {counters.shape}.")
    if any(vector.dtype == np.bool_ for vector in vectors.values()):
        raise UnusableUpdateError("It holds truth values where numbers should be.")
    return vectors, weights, counters, count
