"""FLTrust."""

from __future__ import annotations

import numpy as np

from fogline.aggregation.geometry import Geometry, Matrix
from fogline.aggregation.rules.base import Rule
from fogline.aggregation.rules.registry import RULES


@RULES.add("fltrust")
class FLTrust(Rule):
    """Mean of the updates, each as long as that of one trusted child and weighed by how much it points its way (Cao et
    al., 2021).

    The paper's server trains on a small data set of its own. Here that is a child like any other, run by who runs the
    aggregator, with that data; its update is the measure, and not in the mean.
    """

    root: str
    """The child with the trusted data."""

    def __post_init__(self) -> None:
        if not self.root:
            raise ValueError("root is empty; it must name the child with the trusted data")

    @property
    def least(self) -> int:
        return 2

    @property
    def trusted(self) -> str:
        return self.root

    def mix(self, updates: Geometry) -> Matrix:
        root = list(updates.children).index(self.root)
        trust = np.maximum(updates.cosines[root], 0.0)
        trust[root] = 0.0
        lengths = np.where(updates.norms > 0.0, updates.norms, 1.0)
        total = trust.sum() or 1.0  # Where nobody points its way the model stays.
        return (trust / total * updates.norms[root] / lengths)[None]
