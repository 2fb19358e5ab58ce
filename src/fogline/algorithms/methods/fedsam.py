"""FedSAM."""

from __future__ import annotations

from fogline.algorithms.methods.fedavg import FedAvg
from fogline.algorithms.registry import METHODS
from fogline.parameters import bounded
from fogline.training.method import Array


@METHODS.add("fedsam")
class FedSAM(FedAvg):
    """Sharpness-aware local steps: the gradient is taken a little uphill (Qu et al., 2022, arXiv 2206.02618).

    Step along the gradient at ``w + rho g / ||g||``, the norm over all trainable parameters. Two gradients a
    step.
    """

    rho: float = bounded(0.05, ge=0)

    def perturb(self, weights: Array, gradient: Array) -> Array:
        norm = (gradient * gradient).sum(-1)[..., None] ** 0.5
        return weights + (self.rho / (norm + 1e-12)) * gradient
