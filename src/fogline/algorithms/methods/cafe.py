"""CAFe."""

from __future__ import annotations

from typing import ClassVar

from fogline.aggregation import Folded
from fogline.algorithms.base import AggregatorContext, ClientUpdate, Moved, Weighted
from fogline.algorithms.methods.fedavg import FedAvg
from fogline.algorithms.registry import METHODS
from fogline.params import State, Vector
from fogline.training.context import DeviceContext


@METHODS.add("cafe")
class Cafe(FedAvg):
    """Devices send how they moved against the last aggregate, so that a biased code loses less and needs no feedback
    (compressed aggregate feedback: Ortega, Huang, Li and Jafarkhani, arXiv 2412.04538).

    ``a+ = a + mean(C(x_i - x - a))``, ``x += a+``, where the codes C are the stages of the uplink. The aggregate goes
    down with the model, which so is twice as large; devices keep nothing. A downlink that loses something gives devices
    another ``a`` than is added.
    """

    columnwise: ClassVar[bool] = True
    linear: ClassVar[bool] = True
    movement_only: ClassVar[bool] = False
    inner_rounds: ClassVar[bool] = False

    def broadcast(self, state: State) -> State:
        return state

    def report(self, device: DeviceContext) -> ClientUpdate:
        moved = device.end - device.start - device.received.get("aggregate", 0.0)
        return ClientUpdate({"delta": Weighted(moved, float(device.plan.samples))}, device.local)

    def server_update(self, model: Vector, folded: Folded, state: State, group: AggregatorContext) -> Moved:
        aggregate = state.get("aggregate", 0.0) + folded.mean("delta")
        return model + aggregate, {"aggregate": aggregate}
