"""The ordinary fold: weighted sums in floating point."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from operator import add
from typing import Any, ClassVar, cast

import numpy as np
import numpy.typing as npt

from fogline.aggregation.fold import SumFold
from fogline.aggregation.sweep import sweep
from fogline.aggregation.update import DOUBLE, SINGLE, Folded, Partial, UnusableUpdateError, Update, float_type

LARGEST = {np.dtype(kind): float(np.finfo(kind).max) for kind in (np.float32, np.float64)}

TINY = 1 << 14
"""Numbers up to which nothing is worth preparing: there may be a million such updates."""
TOGETHER = 64
"""As many of them at most are looked at together."""


class MeanFold(SumFold):
    """Adds in float32 (float64 where the vectors are, or are integers of more than 16 bits).

    Fed in canonical order, it gives the same bits every time. Another order, or another tree, changes the
    result by rounding only; where that is too much, take :class:`fogline.aggregation.ExactFold`.
    """

    adds_codes: ClassVar[bool] = True

    def take_all(self, values: Sequence[tuple[Update | Partial, float]], refused: Callable[[int, str], None]) -> None:
        if len(values) == 1:  # As they come from training.
            if not self._take_one(*values[0]):
                super().take_all(values, refused)
            return
        for start in range(0, len(values), TOGETHER):
            some = values[start : start + TOGETHER]
            if not self._take_alike(some):
                super().take_all(some, lambda place, why, start=start: refused(start + place, why))

    def _take_one(self, value: Update | Partial, scale: float) -> bool:
        """As :meth:`_take_alike`, of one."""
        weighted = isinstance(value, Partial)
        named = value.sums if isinstance(value, Partial) else value.vectors
        if len(named) != 1 or len(value.weights) != 1 or value.counters.size or (weighted and value.double):
            return False
        ((name, vector),) = named.items()
        weight, total, size = value.weights.get(name, -1.0), self.sums.get(name), vector.size
        if vector.dtype != SINGLE or vector.ndim != 1 or size > TINY:
            return False
        if isinstance(weight, np.ndarray) or not 0.0 <= weight < math.inf:
            return False
        if total is not None and (total.size != size or total.dtype != SINGLE):
            return False
        factor = scale if weighted else weight * scale
        squares = float(np.vdot(vector, vector))
        top = math.sqrt(squares) * 1.001 * abs(factor) if 1e-30 < squares < math.inf else math.inf
        room = self.bounds.get(name, 0.0) + top
        if not room < LARGEST[SINGLE]:
            return False
        scaled = np.multiply(vector, SINGLE.type(factor))
        self.sums[name] = scaled if total is None else np.add(total, scaled, out=total)
        self.bounds[name] = room
        self.weights[name] = self.weights.get(name, 0.0) + weight
        self.count += value.count
        return True

    def _take_alike(self, values: Sequence[tuple[Update | Partial, float]]) -> bool:
        """Take updates and partial results of one small float32 vector each, where nothing is out of the ordinary:
        checked and scaled together, then added in order. False, and nothing is taken, where it takes a closer look."""
        first = values[0][0]
        if len(first.weights) != 1:
            return False
        (name,) = first.weights
        total, count = self.sums.get(name), 0
        shape = None if total is None else total.shape
        vectors: list[npt.NDArray[Any]] = []
        weights: list[float] = []
        scales: list[float] = []
        for value, scale in values:
            weighted = isinstance(value, Partial)
            named = value.sums if isinstance(value, Partial) else value.vectors
            vector, weight = named.get(name), value.weights.get(name)
            if vector is None or weight is None or len(named) != 1 or len(value.weights) != 1 or value.counters.size:
                return False
            shape = shape or vector.shape
            if vector.dtype != SINGLE or vector.shape != shape or isinstance(weight, np.ndarray):
                return False
            if not 0.0 <= weight < math.inf or (weighted and value.double):
                return False
            vectors.append(vector)
            weights.append(weight)
            scales.append(scale if weighted else weight * scale)
            count += value.count
        # Numpy adds rows in order, but not the numbers of a single column.
        if vectors[0].ndim != 1 or not 1 < vectors[0].size <= TINY or (total is not None and total.dtype != SINGLE):
            return False
        table = np.concatenate(vectors if total is None else [total, *vectors]).reshape(-1, vectors[0].size)
        rows = table[len(table) - len(vectors) :]
        squares = float(np.vdot(rows, rows))
        top = math.sqrt(squares) * 1.001 * sum(map(abs, scales)) if 1e-30 < squares < math.inf else math.inf
        room = self.bounds.get(name, 0.0) + top
        if not room < LARGEST[SINGLE]:
            return False
        if scales.count(1.0) < len(scales):
            rows *= np.array(scales, SINGLE)[:, None]
        self.sums[name] = np.add.reduce(table)
        self.bounds[name] = room
        self.weights[name] = reduce(add, weights, cast("float", self.weights.get(name, 0.0)))
        self.count += count
        return True

    def finish(self) -> Folded:
        partial = self.partial()
        sums = {name: total.astype(float_type(total), copy=False) for name, total in partial.sums.items()}
        return Folded(sums, partial.weights, partial.counters, partial.count)

    def suits(self, partial: Partial) -> None:
        for name, total in sorted(partial.sums.items()):  # From a file they come in another order.
            if total.dtype == np.int64:
                raise UnusableUpdateError(
                    f"Its sum '{name}' comes from an exact fold; this node folds in floating point."
                )

    def limit(self, vector: npt.NDArray[Any]) -> float:
        return LARGEST[float_type(vector)]

    def product(self, vector: npt.NDArray[Any], factors: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.multiply(vector, factors).astype(float_type(vector), copy=False)

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
