"""FedBuff."""

from __future__ import annotations

from typing import ClassVar

from fogline.aggregation import Folded
from fogline.algorithms.base import AggregatorContext, ClientUpdate, Weighted
from fogline.algorithms.methods.fedavg import FedAvg
from fogline.algorithms.registry import METHODS
from fogline.modes import Mode
from fogline.parameters import bounded
from fogline.params import State, Vector
from fogline.training.context import DeviceContext


@METHODS.add("fedbuff")
class FedBuff(FedAvg):
    """Moves after every ``buffer`` updates, stale ones counting less (Nguyen et al., 2022, arXiv 2106.06639).

    ``x += server_rate / K sum_i (1 + staleness_i)^(-exponent) D_i``, every device with weight one, K reports. Where
    nothing is said, K is three in ten of the devices that train at once, at least 2 and at most 10, the paper's number.
    A fog moves a model of its own likewise, and sends how far it moved. In synchronous mode it is FedAvg with equal
    weights.
    """

    columnwise: ClassVar[bool] = True
    movement_only: ClassVar[bool] = True

    server_rate: float = bounded(1.0, gt=0)
    exponent: float = bounded(0.5, ge=0)
    buffer: int | None = bounded(None, ge=1)  # pyright: ignore[reportIncompatibleVariableOverride]

    mode: ClassVar[Mode] = "async"

    def report(self, device: DeviceContext) -> ClientUpdate:
        return ClientUpdate({"delta": Weighted(device.end - device.start, 1.0)}, device.local)

    def server_update(
        self, model: Vector, folded: Folded, state: State, group: AggregatorContext
    ) -> tuple[Vector, State]:
        return model + self.server_rate * folded.mean("delta"), state

    def staleness_weight(self, staleness: int) -> float:
        return (1.0 + staleness) ** -self.exponent
