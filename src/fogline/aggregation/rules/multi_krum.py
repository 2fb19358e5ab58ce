"""Multi-Krum."""

from __future__ import annotations

import numpy as np

from fogline.aggregation.geometry import Geometry, Matrix, average, krum_scores
from fogline.aggregation.rules.base import Rule
from fogline.aggregation.rules.registry import RULES
from fogline.parameters import bounded


@RULES.add("multi_krum")
class MultiKrum(Rule):
    """Mean of the updates whose nearest neighbours are nearest, unweighted (Blanchard et al., 2017)."""

    f: int = bounded(ge=0)
    """Updates that may lie."""
    keep: int = bounded(0, ge=0)
    """Updates of which the mean is taken; 0 takes n - f."""
    neighbours: int = bounded(0, ge=0)
    """Others whose distances count; 0 takes the paper's n - f - 2."""

    @property
    def least(self) -> int:
        return max(2 * self.f + 3, self.keep, self.neighbours + 1)

    def mix(self, updates: Geometry) -> Matrix:
        scores = krum_scores(updates.distances, self.neighbours or len(updates) - self.f - 2)
        return average(np.argsort(scores, kind="stable")[: self.keep or len(updates) - self.f], len(updates))
