"""What goes into a fold and what comes out: updates, partial results, finished folds.

Updates and partials turn into flat dictionaries of arrays and back, for safetensors on disk and on the wire:

- update: ``vector/NAME``, ``weight/NAME``, ``counters``, ``count``, and ``ranges`` where it is of a smaller model;
- partial: ``sum/NAME``, ``weight/NAME``, ``double/NAME``, ``counters``, ``count``, ``partial``.

A weight for each number is ``weights/NAME``, in place of ``weight/NAME``. Where the vectors are the numbers of a linear
code, ``code`` is what it takes beside them to decode it; that goes over no link in this form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from fogline.aggregation.weights import Weight, divided, is_per_number
from fogline.params import Counters, Vector
from fogline.params.ranges import ModelRanges

NO_COUNTERS: Counters = np.zeros(0, np.int64)

NO_BOUNDS: Mapping[str, float] = {}

Arrays = dict[str, npt.NDArray[Any]]
"""Named arrays, as safetensors holds them."""

Sum = npt.NDArray[np.floating[Any] | np.int64]
"""A sum of weighted vectors, (n,): floating point, or fixed point under the exact fold."""

SINGLE, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)


def float_type(vector: npt.NDArray[Any]) -> np.dtype[np.floating[Any]]:
    """The type that a vector is summed in: float64 for float64 and for integers of more than 16 bits, which float32
    does not hold exactly; else float32."""
    kind = vector.dtype
    return DOUBLE if kind == DOUBLE or (kind.kind in "iu" and kind.itemsize > 2) else SINGLE


class UnusableUpdateError(ValueError):
    """An update that must not enter an aggregate: not finite, of a wrong shape, or too large for the exact fold."""


class UnusableRoundError(UnusableUpdateError):
    """Of the updates of a round the rule can make none: each of them counts as refused."""


@dataclass(slots=True)
class Update:
    """What a device sends up: named vectors, each with the weight it has in the mean.

    Args:
        vectors: name to (n,) vector, unscaled.
        weights: name to weight, for all of the vector or (n,) for each of its numbers; the same names.
        counters: integer entries of the model after training.
        count: devices that it speaks for; more than one where a fog makes one update of its rounds.
        bounds: numbers that no magnitude in the vector of that name exceeds, as ``sweep.bound`` gives them, where
            who made the vector has looked already. They never travel: a node believes its own only.
        child: who sent it, where its aggregator has a rule that may ask. It never travels either.
        ranges: the numbers of the model that its vectors are of, where they are of a smaller one; None: of all.
        code: what the sum of such vectors is decoded by, where they are the numbers of a linear code; empty: they are
            what they are.
    """

    vectors: dict[str, Vector]
    weights: dict[str, Weight]
    counters: Counters = field(default_factory=lambda: NO_COUNTERS)
    count: int = 1
    bounds: Mapping[str, float] = field(default_factory=lambda: NO_BOUNDS)
    child: str = ""
    ranges: ModelRanges | None = None
    code: bytes = b""

    @property
    def nbytes(self) -> int:
        """Bytes that its numbers take in transport, before any codec."""
        told = 0 if self.ranges is None else len(self.ranges.text)
        return _nbytes(self.vectors, self.weights, self.counters) + told + len(self.code)

    def to_arrays(self) -> Arrays:
        """A flat dictionary of arrays; the vectors are not copied."""
        arrays = _join("vector", self.vectors, self.weights, self.counters, self.count) | _coded(self.code)
        return arrays if self.ranges is None else arrays | {"ranges": self.ranges.to_array()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Update:
        """Read what :meth:`to_arrays` wrote.

        Raises:
            UnusableUpdateError: the arrays are not those of an update.
        """
        made = cls(*_split("vector", arrays), code=_code(arrays))
        if "ranges" in arrays:
            try:
                made.ranges = ModelRanges.from_array(arrays["ranges"])
            except (TypeError, ValueError) as error:
                raise UnusableUpdateError(f"What it says of its smaller model cannot be read: {error}.") from error
        return made


@dataclass(slots=True)
class Partial:
    """What a fold holds: sums of weighted vectors and sums of weights.

    Args:
        sums: name to (n,) sum; int64 multiples of the resolution under the exact fold.
        weights: name to sum of weights.
        counters: largest value of each integer entry; the median one under a rule that needs all updates.
        count: device updates in it.
        double: names whose vectors are summed in float64; what an exact fold gives back has that type.
        code: as of an :class:`Update`.
    """

    sums: dict[str, Sum]
    weights: dict[str, Weight]
    counters: Counters
    count: int
    double: frozenset[str] = frozenset()
    code: bytes = b""

    @property
    def nbytes(self) -> int:
        """Bytes that its numbers take in transport, before any codec."""
        return _nbytes(self.sums, self.weights, self.counters) + len(self.code)

    def to_arrays(self) -> Arrays:
        """A flat dictionary of arrays; the sums are not copied."""
        one = np.ones(1, np.int64)
        marks = {"partial": one} | {f"double/{name}": one for name in sorted(self.double)}
        return _join("sum", self.sums, self.weights, self.counters, self.count) | marks | _coded(self.code)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Partial:
        """Read what :meth:`to_arrays` wrote.

        Raises:
            UnusableUpdateError: the arrays are not those of a partial result.
        """
        double = frozenset(key.removeprefix("double/") for key in arrays if key.startswith("double/"))
        return cls(*_split("sum", arrays), double, _code(arrays))


class MissingTermError(KeyError):
    """No update has a vector of that name.

    Args:
        name: which is asked for.
        text: what there is instead.
    """

    def __init__(self, name: str, text: str) -> None:
        super().__init__(name, text)
        self.name = name
        self.text = text

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Folded:
    """What a fold has come to: sums by name with their weights, from which means are taken."""

    sums: dict[str, Vector]
    weights: dict[str, Weight]
    counters: Counters
    count: int
    """Device updates in it."""

    def __repr__(self) -> str:
        names = ", ".join(f"'{name}' {vector.shape}" for name, vector in self.sums.items())
        return f"<Folded: {self.count} updates of {names}>"

    def mean(self, name: str) -> Vector:
        """Weighted mean of that vector, (n,). Where each number has a weight of its own, one that nobody weighed is 0.

        Raises:
            MissingTermError: no update had a vector of that name.
            ValueError: the weights sum to zero, so there is no mean.
        """
        self._check(name)
        weight = self.weights[name]
        if not is_per_number(weight) and not weight > 0.0:
            raise ValueError(f"The updates' weights of '{name}' sum to {weight}; there is no mean.")
        return divided(self.sums[name], weight)

    def means(self, prefix: str) -> dict[str, Vector]:
        """Weighted means of all vectors whose names begin so, by the rest of their names, sorted."""
        found = sorted(name for name in self.sums if name.startswith(prefix))
        return {name.removeprefix(prefix): self.mean(name) for name in found}

    def total(self, name: str) -> Vector:
        """Weighted sum of that vector, (n,).

        Raises:
            MissingTermError: no update had a vector of that name.
        """
        self._check(name)
        return self.sums[name]

    def __contains__(self, name: str) -> bool:
        """Whether some update had a vector of that name."""
        return name in self.sums

    def _check(self, name: str) -> None:
        if name not in self.sums:
            raise MissingTermError(name, f"no update has a vector '{name}', only {', '.join(self.sums) or 'none'}")


def from_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> Update | Partial:
    """Read an update or a partial result, whichever it is.

    Raises:
        UnusableUpdateError: the arrays are neither.
    """
    if "partial" in arrays:
        return Partial.from_arrays(arrays)
    return Update.from_arrays(arrays)


def weights_to_arrays(weights: Mapping[str, Weight]) -> Arrays:
    """Weights by name as arrays."""
    return {
        f"weights/{name}" if is_per_number(weight) else f"weight/{name}": np.atleast_1d(weight)
        for name, weight in weights.items()
    }


def weight_from_arrays(name: str, arrays: Mapping[str, npt.NDArray[Any]]) -> Weight:
    """The weight of a name, from what :func:`weights_to_arrays` wrote.

    Raises:
        KeyError: there is none.
        ValueError: it is not one number where it should be.
    """
    each = arrays.get(f"weights/{name}")
    return float(arrays[f"weight/{name}"].item()) if each is None else each


def _nbytes(vectors: Mapping[str, npt.NDArray[Any]], weights: Mapping[str, Weight], counters: Counters) -> int:
    weighing = sum(weight.nbytes if is_per_number(weight) else 8 for weight in weights.values())
    return sum(vector.nbytes for vector in vectors.values()) + weighing + counters.nbytes + 8


def _join(
    what: str, vectors: Mapping[str, npt.NDArray[Any]], weights: Mapping[str, Weight], counters: Counters, count: int
) -> Arrays:
    arrays: Arrays = {f"{what}/{name}": vector for name, vector in vectors.items()}
    return arrays | weights_to_arrays(weights) | {"counters": counters, "count": np.array([count], np.int64)}


def _coded(code: bytes) -> Arrays:
    return {"code": np.frombuffer(code, np.uint8)} if code else {}


def _code(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    return arrays["code"].tobytes() if "code" in arrays else b""


def _split(
    what: str, arrays: Mapping[str, npt.NDArray[Any]]
) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Weight], Counters, int]:
    try:
        names = [key.removeprefix(f"{what}/") for key in arrays if key.startswith(f"{what}/")]
        vectors = {name: arrays[f"{what}/{name}"] for name in names}
        weights = {name: weight_from_arrays(name, arrays) for name in names}
        counters, count = arrays["counters"], int(arrays["count"].item())
    except (KeyError, ValueError, OverflowError) as error:
        raise UnusableUpdateError(
            f"The arrays {sorted(arrays)} are no update: {error} is missing or not one number."
        ) from error
    if counters.dtype != np.int64 or counters.ndim != 1 or count < 0:
        raise UnusableUpdateError(f"It counts {count} devices and has counters of {counters.dtype}, {counters.shape}.")
    numbers = [*vectors.values(), *filter(is_per_number, weights.values())]
    if any(array.dtype == np.bool_ for array in numbers):
        raise UnusableUpdateError("It holds truth values where numbers should be.")
    return vectors, weights, counters, count
