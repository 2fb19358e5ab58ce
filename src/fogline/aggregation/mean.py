"""The ordinary fold: weighted sums in floating point."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fogline.aggregation.fold import Fold
from fogline.aggregation.sweep import sweep
from fogline.aggregation.update import Folded, Partial, UnusableUpdate

SINGLE, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
LARGEST = {np.dtype(kind): float(np.finfo(kind).max) for kind in (np.float32, np.float64)}

TINY = 1 << 14
"""Numbers up to which nothing is worth preparing: there may be a million such updates."""


class MeanFold(Fold):
    """Adds in float32 (float64 where the vectors are).

    Fed in canonical order, it gives the same bits every time. Another order, or another tree, changes the
    result by rounding only; where that is too much, take :class:`fogline.aggregation.ExactFold`.
    """

    def finish(self) -> Folded:
        partial = self.partial()
        sums = {name: total.astype(float_type(total), copy=False) for name, total in partial.sums.items()}
        return Folded(sums, partial.weights, partial.counters, partial.count)

    def suits(self, partial: Partial) -> None:
        for name, total in partial.sums.items():
            if total.dtype == np.int64:
                raise UnusableUpdate(f"Its sum '{name}' comes from an exact fold; this node folds in floating point.")

    def limit(self, vector: npt.NDArray[Any]) -> float:
        return LARGEST.get(vector.dtype, LARGEST[SINGLE])

    def accumulate(self, name: str, vector: npt.NDArray[Any], factor: float, top: float) -> None:
        kind, total = float_type(vector), self.sums.get(name)
        if total is None:
            self.sums[name] = np.multiply(vector, kind.type(factor), dtype=kind)
            return
        if kind is DOUBLE and total.dtype != kind:
            self.sums[name] = total = total.astype(kind)
        by = total.dtype.type(factor)
        if vector.size <= TINY:
            product = vector
            if factor != 1.0:
                product = np.multiply(vector, by)
                product = product if product.dtype is total.dtype else product.astype(total.dtype, copy=False)
            np.add(total, product, out=total)
            return
        rooms = self.scratch.rooms(vector.size, total.dtype)

        def work(block: slice, thread: int) -> None:
            part = total[block]
            product = vector[block]
            if factor != 1.0:
                product = np.multiply(product, by, out=rooms[thread][: part.size])
            np.add(part, product, out=part)

        sweep(vector.size, work)


def float_type(vector: npt.NDArray[Any]) -> np.dtype[np.floating[Any]]:
    """The type a vector is summed in: float64 stays, everything else is float32."""
    return DOUBLE if vector.dtype == DOUBLE else SINGLE
