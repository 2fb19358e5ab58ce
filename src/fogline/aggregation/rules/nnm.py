"""Nearest-neighbour mixing."""

from __future__ import annotations

import numpy as np

from fogline.aggregation.geometry import Geometry, Matrix
from fogline.aggregation.rules.base import Rule
from fogline.aggregation.rules.registry import RULES
from fogline.parameters import bounded


@RULES.add("nnm")
class NearestNeighbourMixing(Rule):
    """Puts in each update's place the mean of the n - f nearest to it, itself among them, unweighted (Allouah et al.,
    2023); it stands before another rule."""

    prepares = True
    f: int = bounded(ge=0)
    """Updates that may lie."""

    @property
    def least(self) -> int:
        return 2 * self.f + 1

    def mix(self, updates: Geometry) -> Matrix:
        count = len(updates) - self.f
        nearest = np.argsort(updates.distances, axis=1, kind="stable")[:, :count]
        matrix = np.zeros((len(updates), len(updates)))
        np.put_along_axis(matrix, nearest, 1.0 / count, axis=1)
        return matrix
