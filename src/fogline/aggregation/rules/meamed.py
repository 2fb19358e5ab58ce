"""The mean around the median."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fogline.aggregation.ordering import sort_columns
from fogline.aggregation.rules.base import Rule
from fogline.aggregation.rules.registry import RULES
from fogline.parameters import bounded
from fogline.params import Vector


@RULES.add("meamed")
class MeaMed(Rule):
    """Coordinate-wise mean of the n - f numbers nearest to the median, unweighted (Xie et al., 2018)."""

    f: int = bounded(ge=0)
    """Updates that may lie."""

    @property
    def least(self) -> int:
        return 2 * self.f + 1

    def combine(self, block: npt.NDArray[Any], weights: npt.NDArray[np.float64]) -> Vector:
        return mean_around_median(block, len(block) - self.f)

    def kept(self, block: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        return near_median(block, len(block) - self.f)


def mean_around_median(block: npt.NDArray[Any], count: int) -> Vector:
    """Of each column the mean of so many numbers that are nearest to its median, (columns,). It sorts the block.

    Sorted, they stand side by side: of all stretches of that length it is the one whose ends are nearest.
    """
    sort_columns(block)
    median = 0.5 * block[(len(block) - 1) // 2] + 0.5 * block[len(block) // 2]
    far = np.maximum(median - block[0], block[count - 1] - median)
    mean = _mean(block[:count])
    for low in range(1, len(block) - count + 1):
        reach = np.maximum(median - block[low], block[low + count - 1] - median)
        nearer = reach < far
        np.copyto(mean, _mean(block[low : low + count]), where=nearer)
        np.copyto(far, reach, where=nearer)
    return mean


def near_median(block: npt.NDArray[Any], count: int) -> npt.NDArray[np.bool_]:
    """Which of a block, (updates, columns), are among the so many of their column that are nearest to its median."""
    far = np.abs(block - np.median(block, axis=0))
    return far <= np.partition(far, count - 1, axis=0)[count - 1]


def _mean(block: npt.NDArray[Any]) -> Vector:
    with np.errstate(over="ignore"):  # Of a stretch with a lie that large, which is not the one.
        return block.mean(axis=0)
