"""Label flip."""

from __future__ import annotations

import numpy as np

from fogline.data import Examples
from fogline.simulation.attacks.base import Attack
from fogline.simulation.attacks.registry import ATTACKS


@ATTACKS.add("label_flip")
class LabelFlip(Attack):
    """Trains on wrong labels: class y of C becomes C - 1 - y (Tolpegin et al., 2020, arXiv 2007.08432)."""

    def poison(self, examples: Examples, classes: int, rng: np.random.Generator) -> Examples:
        y = examples.y
        if y.dtype.kind not in "iu":
            raise ValueError("label_flip wants a class for each example, and the data has soft labels")
        return Examples(examples.x, np.where(y >= 0, classes - 1 - y, y))  # Below 0 it is no class, but a mark.
