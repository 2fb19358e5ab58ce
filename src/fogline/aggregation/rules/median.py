"""The coordinate-wise median."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fogline.aggregation.ordering import sort_columns
from fogline.aggregation.rules.base import Rule
from fogline.aggregation.rules.registry import RULES
from fogline.params import Vector


@RULES.add("median")
class Median(Rule):
    """Coordinate-wise median, unweighted: it stays with the honest as long as they are most (Yin et al., 2018)."""

    def combine(self, block: npt.NDArray[Any], weights: npt.NDArray[np.float64]) -> Vector:
        sort_columns(block)  # Several times as fast as a selection, which NumPy's own median makes.
        return 0.5 * block[(len(block) - 1) // 2] + 0.5 * block[len(block) // 2]

    def kept(self, block: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Those between the quartiles: the one or two that it takes would say little of all others."""
        ordered, outside = np.sort(block, axis=0), len(block) // 4
        return (block >= ordered[outside]) & (block <= ordered[len(block) - outside - 1])
