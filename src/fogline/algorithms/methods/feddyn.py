"""FedDyn."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fogline.aggregation import Folded
from fogline.algorithms.base import AggregatorContext, ClientUpdate, Weighted
from fogline.algorithms.methods.fedavg import FedAvg
from fogline.algorithms.registry import METHODS
from fogline.parameters import bounded
from fogline.params import State, Vector
from fogline.training.context import DeviceContext
from fogline.training.method import Array, Arrays


@METHODS.add("feddyn")
class FedDyn(FedAvg):
    """Each device's objective is regularised anew, so that local optima agree (Acar et al., 2021, arXiv 2111.04263).

    Local objective ``f_i(w) - <g_i, w> + alpha/2 ||w - x||^2``; then ``g_i -= alpha (x_i - x)``. Server
    ``h -= alpha/N sum_i (x_i - x)``, ``x = mean(x_i) - h / alpha``, with means over devices.

    A fog with rounds of its own averages plainly in them, and counts as its devices moving as it did.
    Memory: one model per device and one at the server.
    """

    columnwise: ClassVar[bool] = True
    movement_only: ClassVar[bool] = True

    alpha: float = bounded(0.01, gt=0)

    affine: ClassVar[bool] = True

    def prepare(self, device: DeviceContext) -> State:
        return device.local if "gradient" in device.local else {"gradient": np.zeros_like(device.start)}

    def adjust_gradient(self, gradient: Array, weights: Array, start: Array, local: Arrays, received: Arrays) -> Array:
        return gradient - local["gradient"] + self.alpha * (weights - start)

    def report(self, device: DeviceContext) -> ClientUpdate:
        delta = device.end - device.start
        gradient = device.local["gradient"] - self.alpha * delta
        return ClientUpdate({"delta": Weighted(delta, 1.0)}, {"gradient": gradient})

    def server_update(
        self, model: Vector, folded: Folded, state: State, group: AggregatorContext
    ) -> tuple[Vector, State]:
        h = state.get("h", 0.0) - (self.alpha / group.population) * folded.total("delta")
        return model + folded.mean("delta") - h / self.alpha, {"h": h}
