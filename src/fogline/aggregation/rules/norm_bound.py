"""Bounded lengths."""

from __future__ import annotations

import numpy as np

from fogline.aggregation.geometry import Geometry, Matrix
from fogline.aggregation.rules.base import Rule
from fogline.aggregation.rules.registry import RULES
from fogline.parameters import bounded


@RULES.add("norm_bound")
class NormBound(Rule):
    """Scales updates down to an L2 norm of at most ``norm`` (Sun et al., 2019); alone, it takes their mean."""

    prepares = True
    norm: float = bounded(gt=0)
    """Longest update that stays as it is."""

    def mix(self, updates: Geometry) -> Matrix:
        return np.diag(self.norm / np.maximum(updates.norms, self.norm))
