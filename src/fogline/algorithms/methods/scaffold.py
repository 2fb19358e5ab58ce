"""SCAFFOLD."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fogline.aggregation import Folded
from fogline.algorithms.base import AggregatorContext, ClientUpdate, Weighted
from fogline.algorithms.methods.fedavg import FedAvg
from fogline.algorithms.registry import METHODS
from fogline.params import State, Vector
from fogline.training.context import DeviceContext
from fogline.training.method import Array, Arrays


@METHODS.add("scaffold")
class Scaffold(FedAvg):
    """Control variates take the drift out of local steps (Karimireddy et al., 2020, arXiv 1910.06378).

    Step ``y -= eta (g - c_i + c)``; after K steps ``c_i+ = c_i - c + (x - y) / (K eta)`` (``option`` 2), or the
    gradient of the device's loss at x (option 1, a pass more over its examples); server
    ``x += server_rate mean(y - x)`` and ``c += sum_i (c_i+ - c_i) / N``. Means are over devices, not examples,
    as in the paper. Option 2 takes the step's size to be eta, so local training should be plain SGD.

    A fog with rounds of its own keeps c fixed in them; the changes of its devices' controls add up.
    Memory: one model per device, and one more on the way down and up.
    """

    columnwise: ClassVar[bool] = True

    server_rate: float = 1.0
    option: int = 2

    affine: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.option not in (1, 2):
            raise ValueError(f"option of SCAFFOLD is {self.option}; it must be 1 or 2")

    def broadcast(self, state: State) -> State:
        return {"control": state["control"]} if "control" in state else {}

    def prepare(self, device: DeviceContext) -> State:
        zero: Vector = np.zeros_like(device.start)
        own = device.local.get("control", zero)
        return {"control": own, "correction": device.received.get("control", zero) - own}

    def adjust_gradient(self, gradient: Array, weights: Array, start: Array, local: Arrays, received: Arrays) -> Array:
        return gradient + local["correction"]

    def report(self, device: DeviceContext) -> ClientUpdate:
        plan, local = device.plan, device.local
        if self.option == 1:
            change = device.gradient_at(device.start, device.examples) - local["control"]
        else:
            mean = (device.start - device.end) / (plan.steps * plan.learning_rate)  # Of the adjusted gradients.
            change = mean - local["correction"] - local["control"]
        terms = {"delta": Weighted(device.end - device.start, 1.0), "control": Weighted(change, 1.0)}
        return ClientUpdate(terms, {"control": local["control"] + change})

    def server_update(
        self, model: Vector, folded: Folded, state: State, group: AggregatorContext
    ) -> tuple[Vector, State]:
        control = state.get("control", 0.0) + folded.total("control") * (1.0 / group.population)
        return model + self.server_rate * folded.mean("delta"), {"control": control}
