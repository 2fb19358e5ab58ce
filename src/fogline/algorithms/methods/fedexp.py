"""FedExP."""

from __future__ import annotations

import numpy as np

from fogline.aggregation import Folded, Weight
from fogline.algorithms.base import AggregatorContext, ClientUpdate, Weighted
from fogline.algorithms.methods.fedavg import FedAvg
from fogline.algorithms.registry import METHODS
from fogline.parameters import bounded
from fogline.params import State, Vector
from fogline.training.context import DeviceContext


@METHODS.add("fedexp")
class FedExP(FedAvg):
    """The server goes as far beyond the mean as the updates disagree (Jhunjhunwala et al., 2023, arXiv 2301.09604).

    ``x += eta D`` with D the mean update and ``eta = max(1, mean_i ||D_i||^2 / (2 (||D||^2 + epsilon)))``.
    Means are weighted by examples; with equal devices that is the paper's. The paper tries epsilon from 0.001
    to 0.1. As there, the mean of the last two models is judged and handed out, since single ones oscillate.

    A fog with rounds of its own counts as one device that moved as it did.
    """

    epsilon: float = bounded(1e-3, gt=0)

    def report(self, device: DeviceContext) -> ClientUpdate:
        return ClientUpdate(_terms(device.end - device.start, float(device.plan.samples)), device.local)

    def server_update(
        self, model: Vector, folded: Folded, state: State, group: AggregatorContext
    ) -> tuple[Vector, State]:
        delta = folded.mean("delta")
        ratio = float(folded.mean("square")[0]) / (2.0 * (float(delta @ delta) + self.epsilon))
        return model + max(1.0, ratio) * delta, {"before": model}

    def evaluation_model(self, model: Vector, state: State) -> Vector:
        return (model + state["before"]) / 2 if state else model

    def group_update(
        self, start: Vector, delta: Vector, weight: Weight, totals: dict[str, Weighted]
    ) -> dict[str, Weighted]:
        return _terms(delta, weight)


def _terms(delta: Vector, weight: Weight) -> dict[str, Weighted]:
    return {"delta": Weighted(delta, weight), "square": Weighted(np.array([delta @ delta], delta.dtype), weight)}
