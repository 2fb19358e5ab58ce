"""Divide and conquer."""

from __future__ import annotations

import numpy as np

from fogline.aggregation.geometry import Geometry, Matrix, average
from fogline.aggregation.products import inner_products
from fogline.aggregation.rules.base import Rule
from fogline.aggregation.rules.registry import RULES
from fogline.parameters import bounded


@RULES.add("dnc")
class DivideAndConquer(Rule):
    """Mean of the updates that stand out least along the direction in which they differ most, unweighted (DnC,
    Shejwalkar and Houmansadr, 2021).

    The direction is that of a random part of the numbers, drawn anew in every iteration.
    """

    f: int = bounded(ge=0)
    """Updates that may lie."""
    remove: float = bounded(1.0, gt=0)
    """Updates left out in each iteration, in multiples of ``f``: the paper's filtering fraction c."""
    iterations: int = bounded(1, ge=1)
    sample: int = bounded(10_000, ge=1)
    """Numbers of an update that are looked at: the paper's b."""

    @property
    def least(self) -> int:
        return max(2 * self.f, self.iterations * self._removed) + 1

    @property
    def _removed(self) -> int:
        return round(self.remove * self.f)

    def mix(self, updates: Geometry) -> Matrix:
        rng, good = updates.rng(), np.ones(len(updates), bool)
        for _ in range(self.iterations):
            places = rng.choice(updates.size, min(self.sample, updates.size), replace=False)
            table = updates.columns(np.sort(places))
            table = table - table.mean(axis=0)
            # The projections on the first right singular vector are the first left one, times a number.
            projected = np.linalg.eigh(inner_products(table))[1][:, -1]
            good[np.argsort(projected**2, kind="stable")[len(updates) - self._removed :]] = False
        return average(np.flatnonzero(good), len(updates))
