"""FedDyn."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fogline.aggregation import Folded
from fogline.algorithms.base import AggregatorContext, ClientUpdate, Weighted
from fogline.algorithms.methods.fedavg import FedAvg
from fogline.algorithms.registry import METHODS
from fogline.params import State, Vector
from fogline.training.method import Array, Arrays, LocalWork


@METHODS.add("feddyn")
class FedDyn(FedAvg):
    """Each device's objective is regularised anew, so that local optima agree (Acar et al., 2021, arXiv 2111.04263).

    Local objective ``f_i(w) - <g_i, w> + alpha/2 ||w - x||^2``; then ``g_i -= alpha (x_i - x)``. Server
    ``h -= alpha/N sum_i (x_i - x)``, ``x = mean(x_i) - h / alpha``, with means over devices.

    A fog with rounds of its own averages plainly in them, and counts as its devices moving as it did.
    Memory: one model per device and one at the server.
    """

    columnwise: ClassVar[bool] = True

    alpha: float = 0.01

    affine: ClassVar[bool] = True

    def prepare(self, start: Vector, local: State, received: State, targets: npt.NDArray[Any]) -> State:
        return local if "gradient" in local else {"gradient": np.zeros_like(start)}

    def adjust_gradient(self, gradient: Array, weights: Array, start: Array, local: Arrays, received: Arrays) -> Array:
        return gradient - local["gradient"] + self.alpha * (weights - start)

    def report(self, start: Vector, end: Vector, local: State, received: State, work: LocalWork) -> ClientUpdate:
        delta = end - start
        return ClientUpdate({"delta": Weighted(delta, 1.0)}, {"gradient": local["gradient"] - self.alpha * delta})

    def server_update(
        self, model: Vector, folded: Folded, state: State, group: AggregatorContext
    ) -> tuple[Vector, State]:
        h = state.get("h", 0.0) - (self.alpha / group.population) * folded.total("delta")
        return model + folded.mean("delta") - h / self.alpha, {"h": h}
