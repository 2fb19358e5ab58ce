"""Min-max."""

from __future__ import annotations

import numpy as np

from fogline.params import Vector
from fogline.simulation.attacks.base import Collusion
from fogline.simulation.attacks.registry import ATTACKS
from fogline.simulation.attacks.view import RoundView


@ATTACKS.add("min_max")
class MinMax(Collusion):
    """Goes from the honest mean against their spread, as far as no honest update is farther away than two honest ones
    are from each other (min-max, Shejwalkar and Houmansadr, 2021): mean - gamma * standard deviation.

    The paper halves its way to the largest gamma; here it is the smallest root of a quadratic equation for each update.
    """

    def together(self, view: RoundView) -> Vector:
        return (view.mean - self.gamma(view) * view.std).astype(view.honest.kind)

    def gamma(self, view: RoundView) -> float:
        """How far it goes, in standard deviations."""
        # |mean - gamma std - x|^2 <= most, for every x: a gamma^2 + b gamma + c <= 0.
        gram, along, most = view.geometry.gram, view.products(view.std), float(view.geometry.distances.max())
        a = float(view.std @ view.std)
        if not a:
            return 0.0
        b = 2.0 * (along - along.mean())
        c = gram.mean() - 2.0 * gram.mean(axis=1) + gram.diagonal() - most
        roots = (-b + np.sqrt(np.maximum(b * b - 4.0 * a * c, 0.0))) / (2.0 * a)
        return max(0.0, float(roots.min()))
