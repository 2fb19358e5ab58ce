"""FedProx."""

from __future__ import annotations

from typing import ClassVar

from fogline.algorithms.methods.fedavg import FedAvg
from fogline.algorithms.registry import METHODS
from fogline.parameters import bounded
from fogline.training.method import Array, Arrays


@METHODS.add("fedprox")
class FedProx(FedAvg):
    """FedAvg with a proximal pull to the model received (Li et al., 2020, arXiv 1812.06127).

    The local objective is ``F_i(w) + mu/2 ||w - x||^2``. The paper tries mu in {0.001, 0.01, 0.1, 1}.
    """

    mu: float = bounded(0.01, ge=0)

    affine: ClassVar[bool] = True

    def adjust_gradient(self, gradient: Array, weights: Array, start: Array, local: Arrays, received: Arrays) -> Array:
        return gradient + self.mu * (weights - start)
