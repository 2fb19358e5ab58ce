"""The exact fold: weighted sums in fixed point, the same bits for any order and any tree."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fogline.aggregation.fold import SumFold
from fogline.aggregation.sweep import BLOCK, blocks, sweep
from fogline.aggregation.update import Folded, Partial, Sum, UnusableUpdateError
from fogline.aggregation.weights import Weight, is_per_number, largest
from fogline.params import Vector

UNIT = 2.0**30
"""A sum counts in steps of 1 / UNIT, about 1e-9."""
LIMIT = 2.0**63
"""What an int64 holds: sums of weighted magnitudes up to LIMIT / UNIT, about 8.6e9."""
WEIGHT_UNIT = 2.0**20
"""Weights count in steps of 1 / WEIGHT_UNIT, so that their float64 sums are exact up to the same 8.6e9."""

MAGIC = 1.5 * 2.0**52
"""Added to a float64 of magnitude below 2^51, it leaves the number, rounded to an integer, in the low bits."""
MAGIC_BITS = int(np.array(MAGIC).view(np.int64))
SMALL = 2.0**51


class ExactFold(SumFold):
    """Adds int64 multiples of 2^-30: every ``weight * x`` is rounded once, and integer sums have no order.

    The mean of updates of weight w is off by at most 2^-31 / w (5e-10 for w = 1), well below what float32
    resolves next to weights of order one. Weights are rounded to 2^-20, so sample counts are exact. Sums of
    weighted magnitudes, or of weights, beyond 2^33 (8.6e9) are refused, never wrapped silently.

    A block is turned into integers without a slow conversion: as float64 plus 1.5 * 2^52, its low bits are the
    rounded integer. The bits of the constant add up with the sums, and are taken out at the end, modulo 2^64.
    """

    unit = UNIT

    def clear(self) -> None:
        super().clear()
        self._magic: dict[str, int] = {}  # how often the constant stands in a sum

    def finish(self) -> Folded:
        partial = self.partial()
        sums = {name: _as_floats(total, name in partial.double) for name, total in partial.sums.items()}
        return Folded(sums, partial.weights, partial.counters, partial.count)

    def suits(self, partial: Partial) -> None:
        for name, total in sorted(partial.sums.items()):  # From a file they come in another order.
            if total.dtype != np.int64:
                raise UnusableUpdateError(f"Its sum '{name}' is in floating point; this node folds exactly.")

    def limit(self, vector: npt.NDArray[Any]) -> float:
        return LIMIT

    def weight(self, name: str, weight: Weight) -> Weight:
        if is_per_number(weight):
            return self._each(name, weight)
        if not largest(self.weights.get(name, 0.0)) + abs(weight) < LIMIT / UNIT:
            raise UnusableUpdateError(f"With weight {weight}, the weights of '{name}' exceed {LIMIT / UNIT:.2g}.")
        rounded = round(weight * WEIGHT_UNIT) / WEIGHT_UNIT
        if weight and not rounded:
            raise UnusableUpdateError(
                f"Weight {weight} of '{name}' is below what the exact fold resolves, {0.5 / WEIGHT_UNIT:.1g}."
            )
        return rounded

    def _each(self, name: str, weight: npt.NDArray[Any]) -> Weight:
        """:meth:`weight` of one for each number."""
        if not largest(self.weights.get(name, 0.0)) + largest(weight) < LIMIT / UNIT:
            raise UnusableUpdateError(f"The weights of '{name}' exceed {LIMIT / UNIT:.2g}, or are no numbers.")
        rounded = np.rint(np.multiply(weight, WEIGHT_UNIT, dtype=np.float64)) / WEIGHT_UNIT
        small = np.flatnonzero((weight > 0.0) & (rounded == 0.0))
        if small.size:
            raise UnusableUpdateError(
                f"Weight {weight[small[0]]} of number {small[0]} of '{name}' is below what the exact fold resolves, "
                f"{0.5 / WEIGHT_UNIT:.1g}."
            )
        return rounded

    def product(self, vector: npt.NDArray[Any], factors: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.multiply(vector, factors, dtype=np.float64)

    def accumulate(self, name: str, vector: npt.NDArray[Any], factor: float, top: float) -> None:
        if name not in self.sums:
            self.sums[name] = np.zeros(vector.size, np.int64)
        total = self.sums[name]
        if vector.dtype == np.int64 and factor == 1.0:
            np.add(total, vector, out=total)
            return
        small = top < SMALL
        rooms = self.scratch.rooms(vector.size, np.dtype(np.float64))

        def work(block: slice, thread: int) -> None:
            part = total[block]
            product = rooms[thread][: part.size]
            np.copyto(product, vector[block])
            np.multiply(product, factor, out=product)
            if small:
                np.add(product, MAGIC, out=product)
                np.add(part, product.view(np.int64), out=part)
            else:
                np.add(part, np.rint(product, out=product).astype(np.int64), out=part)

        sweep(vector.size, work)
        self._magic[name] = self._magic.get(name, 0) + small

    def settle(self, name: str) -> None:
        surplus = self._magic.pop(name, 0) * MAGIC_BITS % 2**64
        total = self.sums[name].view(np.uint64)
        np.subtract(total, np.uint64(surplus), out=total)


def _as_floats(total: Sum, double: bool) -> Vector:
    """A sum as floating-point numbers, written into its own memory."""
    size = total.size
    floats = total.view(np.float64 if double else np.float32)
    for block in blocks(size, BLOCK):
        floats[block] = total[block] * (1.0 / UNIT)
    if double:
        return floats
    # Singles fill the first half: give the other back. Nobody else holds this array.
    del floats
    total.resize((size + 1) // 2, refcheck=False)
    return total.view(np.float32)[:size]
