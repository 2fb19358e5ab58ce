"""A model as one flat vector with names on it.

All floating entries lie one after the other in one vector: the trained parameters first, then the buffers (running
means and variances), then what is frozen. The vector is float32 whatever the model's own types are (float64 if any
entry is float64), so half-precision models accumulate in single precision. Integer entries (the batch counters of a
batch norm) lie in a second vector and stay integers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fogline.params.spec import Spec

Vector = npt.NDArray[np.floating[Any]]
"""A flat array of floating-point numbers. Algorithms work on its last axis."""

Counters = npt.NDArray[np.int64]
"""The integer entries of a model, flat."""

State = dict[str, Vector]
"""Named vectors that belong to a device, an aggregator or a message."""


@dataclass(frozen=True, slots=True)
class Params:
    """A model's numbers: ``vector`` (spec.floats,) and ``counters`` (spec.integers,)."""

    spec: Spec
    vector: Vector
    counters: Counters

    def __repr__(self) -> str:
        return f"<Params: {self.vector.size:,} numbers and {self.counters.size:,} counters in {self.spec!r}>"

    @classmethod
    def zeros(cls, spec: Spec) -> Params:
        """A model of that layout whose numbers are all zero."""
        return cls(spec, np.zeros(spec.floats, spec.dtype), np.zeros(spec.integers, np.int64))

    @classmethod
    def from_arrays(cls, spec: Spec, arrays: Mapping[str, npt.ArrayLike]) -> Params:
        """Gather named arrays into the flat form.

        Raises:
            ValueError: a name is missing or unknown, or a shape differs from the spec.
        """
        missing = [e.name for e in spec.entries if e.name not in arrays]
        unknown = sorted(set(arrays) - {e.name for e in spec.entries})
        if missing or unknown:
            raise ValueError(f"The arrays do not fit the model: missing {missing}, unknown {unknown}.")
        params = cls.zeros(spec)
        for entry in spec.entries:
            array = np.asarray(arrays[entry.name])
            if array.shape != entry.shape:
                raise ValueError(f"Tensor '{entry.name}' has shape {array.shape}; the model wants {entry.shape}.")
            target = params.vector if entry.is_float else params.counters
            target[spec.slices[entry.name]] = array.ravel()
        return params

    def laid_out(self, spec: Spec) -> Params:
        """The same tensors in a layout in which they may have other roles; itself, where it is its own.

        Raises:
            ValueError: that layout has other tensors.
        """
        if spec == self.spec:
            return self
        if {(e.name, e.shape, e.dtype) for e in spec.entries} != {
            (e.name, e.shape, e.dtype) for e in self.spec.entries
        }:
            raise ValueError("their tensors differ")
        return Params.from_arrays(spec, self.arrays())

    def view(self, name: str) -> npt.NDArray[Any]:
        """The tensor of that name, in its shape, without a copy."""
        entry = next(e for e in self.spec.entries if e.name == name)
        flat = self.vector if entry.is_float else self.counters
        return flat[self.spec.slices[name]].reshape(entry.shape)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All tensors by name, as views."""
        return {e.name: self.view(e.name) for e in self.spec.entries}

    def copy(self) -> Params:
        """A copy that shares no memory with this model."""
        return Params(self.spec, self.vector.copy(), self.counters.copy())
