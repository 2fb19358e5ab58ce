"""A little is enough."""

from __future__ import annotations

from fogline.parameters import bounded
from fogline.params import Vector
from fogline.simulation.attacks.base import Collusion
from fogline.simulation.attacks.registry import ATTACKS
from fogline.simulation.attacks.view import RoundView


@ATTACKS.add("alie")
class ALittleIsEnough(Collusion):
    """Hides in the spread of the honest: mean + tau * standard deviation, number by number (ALIE, Baruch et al., 2019,
    arXiv 1902.06156)."""

    tau: float = bounded(1.5, ge=0)

    def together(self, view: RoundView) -> Vector:
        return (view.mean + self.tau * view.std).astype(view.honest.kind)
