"""Bulyan."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fogline.aggregation.geometry import Geometry, Matrix, krum_scores, selection
from fogline.aggregation.rules.base import Rule
from fogline.aggregation.rules.meamed import mean_around_median, near_median
from fogline.aggregation.rules.registry import RULES
from fogline.parameters import bounded
from fogline.params import Vector


@RULES.add("bulyan")
class Bulyan(Rule):
    """Krum picks n - 2f updates one after the other; of these, coordinate-wise, the mean of all but 2f around the
    median, unweighted (El Mhamdi et al., 2018)."""

    f: int = bounded(ge=0)
    """Updates that may lie."""

    @property
    def least(self) -> int:
        return 4 * self.f + 3

    def mix(self, updates: Geometry) -> Matrix:
        left, picked = np.arange(len(updates)), list[int]()
        for _ in range(len(updates) - 2 * self.f):
            scores = krum_scores(updates.distances[np.ix_(left, left)], len(left) - self.f - 2)
            best = int(scores.argmin())
            picked.append(int(left[best]))
            left = np.delete(left, best)
        return selection(sorted(picked), len(updates))

    def combine(self, block: npt.NDArray[Any], weights: npt.NDArray[np.float64]) -> Vector:
        return mean_around_median(block, len(block) - 2 * self.f)

    def kept(self, block: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        return near_median(block, len(block) - 2 * self.f)
