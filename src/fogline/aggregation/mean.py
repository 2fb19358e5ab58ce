"""The ordinary fold: weighted sums in floating point."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fogline.aggregation.fold import BLOCK, Fold, as_float, blocks
from fogline.aggregation.update import Folded, Partial, UnusableUpdate, Update


class MeanFold(Fold):
    """Adds in float32 (float64 where the vectors are).

    Fed in canonical order, it gives the same bits every time. Another order, or another tree, changes the
    result by rounding only; where that is too much, take :class:`fogline.aggregation.ExactFold`.
    """

    def partial(self) -> Partial:
        partial = Partial(self.sums, self.weights, self.counters, self.count, frozenset(self.double))
        self._empty()
        return partial

    def finish(self) -> Folded:
        partial = self.partial()
        sums = {name: total.astype(as_float(total), copy=False) for name, total in partial.sums.items()}
        return Folded(sums, partial.weights, partial.counters, partial.count)

    def _add(self, update: Update, scale: float, sizes: dict[str, float]) -> None:
        for name, vector in update.vectors.items():
            self._accumulate(name, vector, update.weights[name] * scale)

    def _merge(self, partial: Partial, scale: float, sizes: dict[str, float]) -> None:
        for name, total in partial.sums.items():
            if total.dtype == np.int64:
                raise UnusableUpdate(f"Its sum '{name}' comes from an exact fold; this node folds in floating point.")
        for name, total in partial.sums.items():
            self._accumulate(name, total, scale)

    def _accumulate(self, name: str, vector: npt.NDArray[Any], factor: float) -> None:
        """``sum += factor * vector``, block by block through the cache."""
        kind = as_float(vector)
        if name not in self.sums:
            self.sums[name] = np.multiply(vector, kind.type(factor), dtype=kind)
            return
        if kind == np.float64:
            self.sums[name] = self.sums[name].astype(np.float64, copy=False)
        total = self.sums[name]
        scratch = np.empty(min(BLOCK, vector.size), total.dtype)
        by = total.dtype.type(factor)
        for block in blocks(vector.size):
            part = scratch[: block.stop - block.start]
            np.multiply(vector[block], by, out=part)
            np.add(total[block], part, out=total[block])
