"""FLAME."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fogline.aggregation.geometry import Geometry, Matrix, Mixture
from fogline.aggregation.rules.base import Rule
from fogline.aggregation.rules.registry import RULES
from fogline.parameters import bounded


@RULES.add("flame")
class Flame(Rule):
    """Mean of the updates that point most nearly the same way, none longer than the median one, with a little noise,
    unweighted (Nguyen et al., 2022).

    The paper clusters by HDBSCAN with clusters of more than half of the updates. Of these there is one at most, which
    single linkage finds: updates are joined, the nearest first, until more than half hang together.
    """

    noise: float = bounded(0.001, ge=0)
    """Standard deviation of the noise, in multiples of the median length: the paper's λ. It blurs what a backdoor
    leaves behind, and is no differential privacy."""

    @property
    def least(self) -> int:
        return 3

    def mix(self, updates: Geometry) -> Mixture:
        middle = float(np.median(updates.norms))
        admitted = first_majority(1.0 - updates.cosines)
        factors = middle / np.maximum(updates.norms, middle) if middle else np.zeros(len(updates))
        return Mixture((admitted * factors / admitted.sum())[None], self.noise * middle)


def first_majority(distances: Matrix) -> npt.NDArray[np.bool_]:
    """The first of more than half that hang together when the nearest are joined first, (updates,)."""
    count = len(distances)
    groups = np.arange(count)
    ones, others = np.triu_indices(count, 1)
    for place in np.argsort(distances[ones, others], kind="stable"):
        groups[groups == groups[others[place]]] = groups[ones[place]]
        joined = groups == groups[ones[place]]
        if 2 * np.count_nonzero(joined) > count:
            return joined
    return np.ones(count, bool)
