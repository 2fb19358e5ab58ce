"""The coordinate-wise trimmed mean."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from fogline.aggregation.ordering import sort_columns
from fogline.aggregation.rules.base import Rule
from fogline.aggregation.rules.registry import RULES
from fogline.parameters import bounded
from fogline.params import Vector


@RULES.add("trimmed_mean")
class TrimmedMean(Rule):
    """Coordinate-wise mean, unweighted, without the share that is the largest and the share that is the smallest
    (Yin et al., 2018)."""

    share: float = bounded(0.1, ge=0, lt=0.5)
    """Left out at either end, rounded up to whole updates, below 0.5; it stays with the honest as long as the others
    are no larger a share. 0 leaves out nobody."""

    @property
    def least(self) -> int:
        return 3 if self.share else 1  # Of two there is nothing to trim.

    def combine(self, block: npt.NDArray[Any], weights: npt.NDArray[np.float64]) -> Vector:
        trimmed = self._trimmed(len(block))
        sort_columns(block)
        return block[trimmed : len(block) - trimmed].mean(axis=0, dtype=np.float64)

    def kept(self, block: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        trimmed, ordered = self._trimmed(len(block)), np.sort(block, axis=0)
        return (block >= ordered[trimmed]) & (block <= ordered[len(block) - trimmed - 1])

    def _trimmed(self, count: int) -> int:
        """Updates left out at either end: one is left of an odd number, two of an even one."""
        return min(math.ceil(self.share * count - 1e-9), (count - 1) // 2)  # The margin forgives binary fractions.
