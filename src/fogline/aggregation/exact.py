"""The exact fold: weighted sums in fixed point, the same bits for any order and any tree."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fogline.aggregation.fold import BLOCK, Fold, blocks, magnitude
from fogline.aggregation.update import Folded, Partial, Sum, UnusableUpdate, Update
from fogline.params import Vector

FRACTION_BITS = 30
UNIT = 2.0**FRACTION_BITS
"""A sum counts in steps of 1 / UNIT, about 1e-9."""
LIMIT = 2.0**63
"""What an int64 holds: sums of weighted magnitudes up to LIMIT / UNIT, about 8.6e9."""
WEIGHT_UNIT = 2.0**20
"""Weights count in steps of 1 / WEIGHT_UNIT, so that their float64 sums are exact up to the same 8.6e9."""

MAGIC = 1.5 * 2.0**52
"""Added to a float64 of magnitude below 2^51, it leaves the number, rounded to an integer, in the low bits."""
MAGIC_BITS = int(np.array(MAGIC).view(np.int64))
SMALL = 2.0**51


class ExactFold(Fold):
    """Adds int64 multiples of 2^-30: every ``weight * x`` is rounded once, and integer sums have no order.

    The mean of updates of weight w is off by at most 2^-31 / w (5e-10 for w = 1), below half of what float32
    resolves for weights of order one. Weights are rounded to 2^-20, so sample counts are exact. A sum of
    weighted magnitudes, or of weights, beyond 2^33 (8.6e9) is refused, never wrapped silently.

    A block is turned into integers without a slow conversion: as float64 plus 1.5 * 2^52, its low bits are the
    rounded integer. The bits of the constant add up with the sums, and are taken out at the end, modulo 2^64.
    """

    def __init__(self) -> None:
        super().__init__()
        self._magic: dict[str, int] = {}  # how often the constant stands in a sum
        self._bounds: dict[str, float] = {}  # no magnitude of the settled sum exceeds it

    def add(self, update: Update, scale: float = 1.0) -> None:
        weights = {name: _on_grid(name, weight) for name, weight in update.weights.items()}
        super().add(Update(update.vectors, weights, update.counters, update.count), scale)

    def partial(self) -> Partial:
        for name in self.sums:
            self._settle(name)
        partial = Partial(self.sums, self.weights, self.counters, self.count, frozenset(self.double))
        self._empty()
        return partial

    def finish(self) -> Folded:
        partial = self.partial()
        sums = {name: _as_floats(total, name in partial.double) for name, total in partial.sums.items()}
        return Folded(sums, partial.weights, partial.counters, partial.count)

    def _empty(self) -> None:
        ExactFold.__init__(self)

    def _add(self, update: Update, scale: float, sizes: dict[str, float]) -> None:
        factors = {name: weight * scale * UNIT for name, weight in update.weights.items()}
        tops = {name: sizes[name] * abs(factor) for name, factor in factors.items()}
        for name, vector in update.vectors.items():
            tops[name] = self._reserve(name, vector, factors[name], tops[name], update.weights[name])
        for name, vector in update.vectors.items():
            self._accumulate(name, vector, factors[name], tops[name])

    def _merge(self, partial: Partial, scale: float, sizes: dict[str, float]) -> None:
        for name, total in partial.sums.items():
            if total.dtype != np.int64:
                raise UnusableUpdate(f"Its sum '{name}' is in floating point; this node folds exactly.")
            self._reserve(name, total, scale, sizes[name] * abs(scale), partial.weights[name])
        for name, total in partial.sums.items():
            self._accumulate(name, total, scale, sizes[name] * abs(scale))

    def _reserve(self, name: str, vector: Sum, factor: float, top: float, weight: float) -> float:
        """Refuse a vector for which there is no room; return a bound on its scaled magnitudes.

        The norm is a cheap bound, and mostly enough. Where it is not, the true magnitudes decide.
        """
        if self._bounds.get(name, 0.0) + top >= LIMIT and name in self.sums:
            self._settle(name)
            self._bounds[name] = magnitude(self.sums[name])
        if self._bounds.get(name, 0.0) + top >= LIMIT:
            top = magnitude(vector) * abs(factor)
        if self._bounds.get(name, 0.0) + top >= LIMIT:
            raise UnusableUpdate(
                f"Its vector '{name}', times its weight, reaches {top / UNIT:.3g}, which overflows the exact fold "
                f"(sums up to {LIMIT / UNIT:.2g}). Use smaller weights, or the ordinary fold."
            )
        if self.weights.get(name, 0.0) + weight >= LIMIT / UNIT:
            raise UnusableUpdate(f"The weights of '{name}' sum to more than {LIMIT / UNIT:.2g}; use smaller ones.")
        return top

    def _accumulate(self, name: str, vector: Sum, factor: float, top: float) -> None:
        """``sum += round(factor * vector)``, block by block through the cache."""
        total = self.sums.setdefault(name, np.zeros(vector.size, np.int64))
        self._bounds[name] = self._bounds.get(name, 0.0) + top
        if vector.dtype == np.int64 and factor == 1.0:
            np.add(total, vector, out=total)
            return
        small = top < SMALL
        scratch = np.empty(min(BLOCK, vector.size), np.float64)
        for block in blocks(vector.size):
            part = scratch[: block.stop - block.start]
            np.copyto(part, vector[block])
            np.multiply(part, factor, out=part)
            if small:
                np.add(part, MAGIC, out=part)
                np.add(total[block], part.view(np.int64), out=total[block])
            else:
                np.add(total[block], np.rint(part, out=part).astype(np.int64), out=total[block])
        self._magic[name] = self._magic.get(name, 0) + small

    def _settle(self, name: str) -> None:
        """Take the constant's bits out of a sum."""
        surplus = self._magic.pop(name, 0) * MAGIC_BITS % 2**64
        total = self.sums[name].view(np.uint64)
        np.subtract(total, np.uint64(surplus), out=total)


def _on_grid(name: str, weight: float) -> float:
    """The weight, rounded to a multiple of 2^-20."""
    if not abs(weight) < LIMIT / UNIT:
        raise UnusableUpdate(f"Its vector '{name}' has weight {weight}; the exact fold takes up to {LIMIT / UNIT:.2g}.")
    rounded = round(weight * WEIGHT_UNIT) / WEIGHT_UNIT
    if weight and not rounded:
        raise UnusableUpdate(f"Its vector '{name}' has weight {weight}, below what the exact fold resolves (1e-6).")
    return rounded


def _as_floats(total: npt.NDArray[np.int64], double: bool) -> Vector:
    floats = np.empty(total.size, np.float64 if double else np.float32)
    for block in blocks(total.size):
        floats[block] = total[block] * (1.0 / UNIT)
    return floats
