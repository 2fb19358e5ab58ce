"""FedAMP."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fogline.aggregation import Folded
from fogline.algorithms.base import AggregatorContext, ClientUpdate, Moved, Weighted
from fogline.algorithms.own_models import MODEL, OwnModels
from fogline.algorithms.registry import METHODS
from fogline.parameters import bounded
from fogline.params import State, Vector
from fogline.training.context import DeviceContext
from fogline.training.method import Array, Arrays

OWN, CLOUD = "own-", "cloud-"
"""How the names begin of a device's w and u."""


@METHODS.add("fedamp")
class FedAMP(OwnModels):
    """Devices with similar models pull each other, by a model for each at the root (Huang et al., 2021).

    The root makes ``u_i = (1 - sum_j a_ij) w_i + sum_j a_ij w_j``, ``a_ij = alpha exp(-||w_i - w_j||^2 / sigma) /
    sigma``; the device goes on from u_i and minimises ``F_i(w) + lam/(2 alpha) ||w - u_i||^2`` (arXiv 2007.03797,
    algorithm 1, with its A(x) = 1 - exp(-x / sigma)). If a device's a_ij add up to more than 1, they are scaled to 1.
    How far models are apart depends on their size and the rate, and so does a good sigma.

    For few devices, such as sites: all of them are sent the u of every one, and the root keeps two models for each. A
    fog has no rounds of its own.
    """

    alpha: float = bounded(1.0, gt=0)
    sigma: float = bounded(1.0, gt=0)
    lam: float = bounded(1.0, ge=0)

    affine: ClassVar[bool] = True
    alike: ClassVar[bool] = False
    own_names: ClassVar[bool] = True
    own_prefix: ClassVar[str] = OWN

    def broadcast(self, state: State) -> State:
        return {name: vector for name, vector in state.items() if name.startswith(CLOUD)}

    def begin(self, device: DeviceContext) -> Vector:
        model: Vector = device.model
        return device.received.get(CLOUD + device.name, model)

    def adjust_gradient(self, gradient: Array, weights: Array, start: Array, local: Arrays, received: Arrays) -> Array:
        return gradient + self.lam / self.alpha * (weights - start)

    def report(self, device: DeviceContext) -> ClientUpdate:
        return ClientUpdate({OWN + device.name: Weighted(device.end, 1.0)}, {MODEL: device.end})

    def server_update(self, model: Vector, folded: Folded, state: State, group: AggregatorContext) -> Moved:
        own = {name: vector for name, vector in state.items() if name.startswith(OWN)}
        own |= {name: folded.mean(name) for name in folded.sums if name.startswith(OWN)}
        models = np.stack(list(own.values()))
        squares = np.stack([np.square(models - one).sum(1, dtype=np.float64) for one in models])
        pulls = self.alpha / self.sigma * np.exp(-squares / self.sigma)
        np.fill_diagonal(pulls, 0.0)
        pulls /= np.maximum(1.0, pulls.sum(1, keepdims=True))
        np.fill_diagonal(pulls, 1.0 - pulls.sum(1))
        clouds = pulls.astype(models.dtype) @ models
        return model, own | {CLOUD + name.removeprefix(OWN): one for name, one in zip(own, clouds, strict=True)}
