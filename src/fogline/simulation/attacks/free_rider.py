"""Free rider."""

from __future__ import annotations

import numpy as np

from fogline.parameters import bounded
from fogline.params import Vector
from fogline.simulation.attacks.base import Attack
from fogline.simulation.attacks.registry import ATTACKS
from fogline.simulation.attacks.view import RoundView


@ATTACKS.add("free_rider")
class FreeRider(Attack):
    """Sends back the model that it got, with noise that hides it: it wants the model without the work (Fraboni et al.,
    2021, arXiv 2006.11901)."""

    noise: float = bounded(0.0, ge=0)
    """Standard deviation of each number, in the units of an update's."""

    def forge(self, own: Vector, view: RoundView, rng: np.random.Generator) -> Vector:
        return (self.noise * rng.standard_normal(own.size)).astype(own.dtype)
