"""FedAT."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fogline.aggregation import Folded, Weight
from fogline.algorithms.base import AggregatorContext, ClientUpdate, Weighted
from fogline.algorithms.methods.fedavg import FedAvg
from fogline.algorithms.registry import METHODS
from fogline.modes import Mode
from fogline.params import State, Vector
from fogline.training.context import DeviceContext


@METHODS.add("fedat")
class FedAT(FedAvg):
    """Synchronous within speed classes, asynchronous across them (Chai et al., 2021, arXiv 2010.05958).

    The server keeps one model per class, the mean of what its devices last sent; all begin as the initial
    model. ``x = sum_m T_(M+1-m) / T w_m`` where T_m counts the reports of class m (1 the fastest) and T all:
    a class weighs as much as its mirror image reported, so that slow ones are heard.

    A report of any age replaces its class's model, so staleness does not scale it. A fog with rounds of its
    own averages plainly. Memory: one model per class at the server.
    """

    columnwise: ClassVar[bool] = True

    mode: ClassVar[Mode] = "semi-async"
    movement: ClassVar[str] = "model"

    def report(self, device: DeviceContext) -> ClientUpdate:
        return ClientUpdate({"model": Weighted(device.end, float(device.plan.samples))}, device.local)

    def server_update(
        self, model: Vector, folded: Folded, state: State, group: AggregatorContext
    ) -> tuple[Vector, State]:
        lanes = {f"lane-{m}": state.get(f"lane-{m}", model) for m in range(group.lanes)}
        lanes[f"lane-{group.lane}"] = folded.mean("model")
        reports = state.get("reports", np.zeros(group.lanes)).copy()
        reports[group.lane] += 1.0
        weights = reports[::-1] / reports.sum()
        mixed = sum((float(w) * lanes[f"lane-{m}"] for m, w in enumerate(weights)), np.zeros_like(model))
        return mixed, lanes | {"reports": reports}

    def inner_update(
        self, model: Vector, folded: Folded, state: State, group: AggregatorContext
    ) -> tuple[Vector, State]:
        return folded.mean("model"), state

    def group_update(
        self, start: Vector, delta: Vector, weight: Weight, totals: dict[str, Weighted]
    ) -> dict[str, Weighted]:
        return {"model": Weighted(start + delta, weight)}

    def staleness_weight(self, staleness: int) -> float:
        return 1.0
