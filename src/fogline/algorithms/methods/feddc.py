"""FedDC."""

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


@METHODS.add("feddc")
class FedDC(FedAvg):
    """Each device learns its drift from the common model, and sends its model without it (Gao et al., 2022).

    Step along ``g + alpha (w + h_i - x) + (D_i - D) / (K eta)`` with D_i the device's last movement and D their mean;
    then ``h_i += x_i - x``, and the server takes the mean of ``x_i + h_i`` (arXiv 2203.11751, algorithm 1). The paper
    takes alpha from 0.005 to 0.1. Movements are divided by their own K eta when they are reported, which is the
    paper's where all devices make K steps at one rate.

    A fog has no rounds of its own: D is the mean over all. Memory: two models per device, one at the server and one
    more on the way down and up.
    """

    columnwise: ClassVar[bool] = True

    alpha: float = bounded(0.01, ge=0)

    affine: ClassVar[bool] = True
    inner_rounds: ClassVar[bool] = False

    def broadcast(self, state: State) -> State:
        return state

    def prepare(self, device: DeviceContext) -> State:
        zero: Vector = np.zeros_like(device.start)
        drift, own = device.local.get("drift", zero), device.local.get("pull", zero)
        return {"drift": drift, "correction": own - device.received.get("pull", zero)}

    def adjust_gradient(self, gradient: Array, weights: Array, start: Array, local: Arrays, received: Arrays) -> Array:
        return gradient + self.alpha * (weights + local["drift"] - start) + local["correction"]

    def report(self, device: DeviceContext) -> ClientUpdate:
        plan, moved = device.plan, device.end - device.start
        drift, pull, samples = device.local["drift"] + moved, moved / (plan.steps * plan.learning_rate), plan.samples
        terms = {"delta": Weighted(moved + drift, float(samples)), "pull": Weighted(pull, float(samples))}
        return ClientUpdate(terms, {"drift": drift, "pull": pull})

    def server_update(
        self, model: Vector, folded: Folded, state: State, group: AggregatorContext
    ) -> tuple[Vector, State]:
        return model + folded.mean("delta"), {"pull": folded.mean("pull")}
