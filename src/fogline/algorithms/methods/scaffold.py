"""SCAFFOLD."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fogline.aggregation import Folded
from fogline.algorithms.base import AggregatorContext, ClientUpdate, Moved, Weighted
from fogline.algorithms.checks import check_plain_sgd
from fogline.algorithms.methods.fedavg import FedAvg
from fogline.algorithms.registry import METHODS
from fogline.parameters import bounded
from fogline.params import State, Vector
from fogline.settings import LocalSettings
from fogline.training.context import DeviceContext
from fogline.training.method import Array, Arrays


@METHODS.add("scaffold")
class Scaffold(FedAvg):
    """Control variates take the drift out of local steps (Karimireddy et al., 2020, arXiv 1910.06378).

    Step ``y -= eta (g - c_i + c)``; after K steps ``c_i+ = c_i - c + (x - y) / (K eta)`` (``option`` 2), or the
    gradient of the device's loss at x (1, a pass more over its examples); server ``x += server_rate mean(y - x)``,
    ``c += sum_i (c_i+ - c_i) / N``. Means are over devices, as in the paper. Option 2 wants plain SGD of rate eta. A
    fog with rounds of its own keeps c fixed in them; changes of c_i add up. Memory: a model more per device, up, down.
    """

    columnwise: ClassVar[bool] = True
    affine: ClassVar[bool] = True

    server_rate: float = bounded(1.0, gt=0)
    option: int = bounded(2, ge=1, le=2)

    def check_local(self, local: LocalSettings) -> None:
        if self.option == 2:
            check_plain_sgd(local, "its control variates are what a device moved, divided by its steps and their rate")

    def looks_at_examples(self) -> bool:
        return self.option == 1

    def broadcast(self, state: State) -> State:
        return state

    def prepare(self, device: DeviceContext) -> State:
        own = device.local["control"] if "control" in device.local else np.zeros_like(device.start)
        return {"control": own, "correction": device.received.get("control", 0.0) - own}

    def adjust_gradient(self, gradient: Array, weights: Array, start: Array, local: Arrays, received: Arrays) -> Array:
        return gradient + local["correction"]

    def report(self, device: DeviceContext) -> ClientUpdate:
        plan, local, moved = device.plan, device.local, device.end - device.start
        if self.option == 1:
            control = device.gradient_at(device.start, device.examples)
        else:  # The mean of the adjusted gradients, without what adjusted them.
            control = -moved / (plan.steps * plan.learning_rate) - local["correction"]
        terms = {"delta": Weighted(moved, 1.0), "control": Weighted(control - local["control"], 1.0)}
        return ClientUpdate(terms, {"control": control})

    def server_update(self, model: Vector, folded: Folded, state: State, group: AggregatorContext) -> Moved:
        control = state.get("control", 0.0) + folded.total("control") * (1.0 / group.population)
        return model + self.server_rate * folded.mean("delta"), {"control": control}
