"""Centered clipping."""

from __future__ import annotations

import numpy as np

from fogline.aggregation.geometry import Geometry, Matrix
from fogline.aggregation.rules.base import Rule
from fogline.aggregation.rules.registry import RULES
from fogline.parameters import bounded


@RULES.add("centered_clipping")
class CenteredClipping(Rule):
    """Mean of the updates, each pulled to within a radius of the centre, unweighted (Karimireddy et al., 2021).

    The centre is what the rule made of the round before, at first zero, the model that was sent; it moves to the mean
    in every iteration. The paper wants momentum on the devices besides.
    """

    radius: float = bounded(gt=0)
    """The paper's τ, in the units of an update's L2 norm."""
    iterations: int = bounded(1, ge=1)
    history: bool = True
    """Whether it sets out from the last round's result, as in the paper, algorithm 2; else from zero in every round."""

    @property
    def remembers(self) -> bool:
        return self.history

    def mix(self, updates: Geometry) -> Matrix:
        centre, apart = np.zeros(len(updates)), updates.norms
        for iteration in range(self.iterations):
            if iteration:
                apart = updates.distances_from(centre)
            factors = self.radius / np.maximum(apart, self.radius)
            centre = centre * (1.0 - factors.mean()) + factors / len(updates)
        return centre[None]
