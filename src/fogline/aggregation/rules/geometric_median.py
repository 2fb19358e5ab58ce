"""The geometric median."""

from __future__ import annotations

import numpy as np

from fogline.aggregation.geometry import Geometry, Matrix
from fogline.aggregation.rules.base import Rule
from fogline.aggregation.rules.registry import RULES
from fogline.parameters import bounded


@RULES.add("geometric_median")
class GeometricMedian(Rule):
    """The point whose distances to the updates add up to the least (RFA, Pillutla et al., 2022), by the smoothed
    Weiszfeld algorithm.

    It sets out from zero, the model that was sent. An iteration needs the updates' inner products only, so that many of
    them cost next to nothing.
    """

    smoothing: float = bounded(1e-6, gt=0)
    """Distances below this count as this: the paper's ν."""
    iterations: int = bounded(100, ge=1)
    """At most; it ends when nothing changes any more. The paper makes 3 to 5, each of which costs it a message."""
    weighted: bool = False
    """Whether an update pulls by the weight that it claims, as in the paper; else all pull alike."""

    def mix(self, updates: Geometry) -> Matrix:
        pulls = updates.weights if self.weighted else np.ones(len(updates))
        point = np.zeros(len(updates))
        for _ in range(self.iterations):
            factors = pulls / np.maximum(updates.distances_from(point), self.smoothing)
            before, point = point, factors / factors.sum()
            if np.array_equal(before, point):
                break
        return point[None]
