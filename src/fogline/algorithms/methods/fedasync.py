"""FedAsync."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fogline.aggregation import Folded, Weight
from fogline.algorithms.base import AggregatorContext, ClientUpdate, Weighted
from fogline.algorithms.methods.fedavg import FedAvg
from fogline.algorithms.registry import METHODS
from fogline.modes import Mode
from fogline.parameters import bounded
from fogline.params import State, Vector
from fogline.training.context import DeviceContext


@METHODS.add("fedasync")
class FedAsync(FedAvg):
    """Mixes each model in as it arrives, the less the staler (Xie et al., 2019, arXiv 1903.03934).

    ``x = (1 - a) x + a x_i`` with ``a = alpha (1 + staleness)^(-exponent)``. A device sends the model where it
    ended, and a share of one that staleness scales with it. Several reports at once mix in by their mean,
    weighted by examples. A fog with rounds of its own mixes likewise, and sends the model where it ended.
    """

    columnwise: ClassVar[bool] = True

    alpha: float = bounded(0.6, gt=0, le=1)
    exponent: float = bounded(0.5, ge=0)

    mode: ClassVar[Mode] = "async"
    movement: ClassVar[str] = "model"

    def report(self, device: DeviceContext) -> ClientUpdate:
        return ClientUpdate(_ends(device.end, float(device.plan.samples)), device.local)

    def server_update(
        self, model: Vector, folded: Folded, state: State, group: AggregatorContext
    ) -> tuple[Vector, State]:
        return model + self.alpha * (folded.mean("model") - folded.mean("share") * model), state

    def inner_update(
        self, model: Vector, folded: Folded, state: State, group: AggregatorContext
    ) -> tuple[Vector, State]:
        return self.server_update(model, folded, state, group)

    def group_update(
        self, start: Vector, delta: Vector, weight: Weight, totals: dict[str, Weighted]
    ) -> dict[str, Weighted]:
        return _ends(start + delta, weight)

    def staleness_weight(self, staleness: int) -> float:
        return (1.0 + staleness) ** -self.exponent


def _ends(end: Vector, weight: Weight) -> dict[str, Weighted]:
    return {"model": Weighted(end, weight), "share": Weighted(np.ones(1, end.dtype), weight)}
