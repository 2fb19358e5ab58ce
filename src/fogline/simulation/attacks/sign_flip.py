"""Sign flip."""

from __future__ import annotations

from fogline.parameters import bounded
from fogline.params import Vector
from fogline.simulation.attacks.base import Collusion
from fogline.simulation.attacks.registry import ATTACKS
from fogline.simulation.attacks.view import RoundView


@ATTACKS.add("sign_flip")
class SignFlip(Collusion):
    """Sends the opposite of the honest mean, -scale * mean (Allen-Zhu et al., 2021, arXiv 2012.14368)."""

    scale: float = bounded(1.0, gt=0)

    def together(self, view: RoundView) -> Vector:
        return (-self.scale * view.mean).astype(view.honest.kind)
