"""Gaussian noise."""

from __future__ import annotations

import numpy as np

from fogline.parameters import bounded
from fogline.params import Vector
from fogline.simulation.attacks.base import Attack
from fogline.simulation.attacks.registry import ATTACKS
from fogline.simulation.attacks.view import RoundView


@ATTACKS.add("gaussian")
class GaussianAttack(Attack):
    """Sends normally distributed numbers with mean 0 (Blanchard et al., 2017)."""

    std: float = bounded(1.0, gt=0)
    """Standard deviation of each number, in the units of an update's."""

    def forge(self, own: Vector, view: RoundView, rng: np.random.Generator) -> Vector:
        return rng.normal(0.0, self.std, own.size).astype(own.dtype)
