"""IFCA."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fogline.aggregation import Folded
from fogline.algorithms.base import AggregatorContext, ClientUpdate, Moved, Weighted
from fogline.algorithms.methods.fedavg import FedAvg
from fogline.algorithms.registry import METHODS
from fogline.parameters import bounded
from fogline.params import State, Vector
from fogline.training.context import DeviceContext


@METHODS.add("ifca")
class IFCA(FedAvg):
    """Several models; a device trains the one that fits it best (Ghosh et al., 2020, arXiv 2006.04088, algorithm 1).

    ``x_j += sum_i n_i D_i / sum_i n_i`` over devices on whose examples model j has the least loss. The job's model is
    the first, which the cloud judges; others begin around it, moved by ``spread`` times its root mean square.
    """

    alike: ClassVar[bool] = False
    inner_rounds: ClassVar[bool] = False
    movement: ClassVar[str] = "delta-*"

    clusters: int = bounded(3, ge=1)
    spread: float = bounded(0.3, gt=0)

    def broadcast(self, state: State) -> State:
        return state

    def looks_at_examples(self) -> bool:
        return True

    def begin(self, device: DeviceContext) -> Vector:
        return min(self._models(device.model, device.received), key=lambda x: device.loss_at(x, device.examples))

    judge = begin

    def report(self, device: DeviceContext) -> ClientUpdate:
        taken = [np.array_equal(x, device.start) for x in self._models(device.model, device.received)]
        moved = Weighted(device.end - device.start, float(device.plan.samples))
        told = {f"cluster-{j}": float(its) for j, its in enumerate(taken)}
        return ClientUpdate({f"delta-{taken.index(True)}": moved}, device.local, told)

    def server_update(self, model: Vector, folded: Folded, state: State, group: AggregatorContext) -> Moved:
        moved = [
            x + folded.mean(f"delta-{j}") if f"delta-{j}" in folded else x
            for j, x in enumerate(self._models(model, state))
        ]
        return moved[0], {f"model-{j}": x for j, x in enumerate(moved) if j}

    def _models(self, first: Vector, others: State) -> list[Vector]:
        """All of them; before the first round all make the same ones from the first."""
        if others:
            return [first, *(others[f"model-{j}"] for j in range(1, self.clusters))]
        scale = self.spread * (float(np.sqrt(np.mean(np.square(first)))) or 1.0)
        drawn = (np.random.default_rng(j).standard_normal(first.size) for j in range(1, self.clusters))
        return [first, *(first + (scale * shift).astype(first.dtype) for shift in drawn)]
