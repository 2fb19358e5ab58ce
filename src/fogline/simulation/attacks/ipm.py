"""Inner product manipulation."""

from __future__ import annotations

from fogline.parameters import bounded
from fogline.params import Vector
from fogline.simulation.attacks.base import Collusion
from fogline.simulation.attacks.registry import ATTACKS
from fogline.simulation.attacks.view import RoundView


@ATTACKS.add("ipm")
class InnerProductManipulation(Collusion):
    """Turns the result against the honest: -tau * mean (IPM, Xie et al., 2020, arXiv 1903.03936)."""

    tau: float = bounded(2.0, ge=0)

    def together(self, view: RoundView) -> Vector:
        return (-self.tau * view.mean).astype(view.honest.kind)
