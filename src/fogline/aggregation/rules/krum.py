"""Krum."""

from __future__ import annotations

from typing import ClassVar

from fogline.aggregation.geometry import Geometry, Matrix, krum_scores, selection
from fogline.aggregation.rules.base import Rule
from fogline.aggregation.rules.registry import RULES
from fogline.parameters import bounded


@RULES.add("krum")
class Krum(Rule):
    """The one update whose nearest neighbours are nearest, unweighted (Blanchard et al., 2017)."""

    tells: ClassVar[bool] = False  # Of all that it does not take but one, most are honest.
    f: int = bounded(ge=0)
    """Updates that may lie."""
    neighbours: int = bounded(0, ge=0)
    """Others whose distances count; 0 takes the paper's n - f - 2."""

    @property
    def least(self) -> int:
        return max(2 * self.f + 3, self.neighbours + 1)

    def mix(self, updates: Geometry) -> Matrix:
        scores = krum_scores(updates.distances, self.neighbours or len(updates) - self.f - 2)
        return selection([scores.argmin()], len(updates))
