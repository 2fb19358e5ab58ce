"""IFCA."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fogline.aggregation import Folded
from fogline.algorithms.base import AggregatorContext, ClientUpdate, Weighted
from fogline.algorithms.methods.fedavg import FedAvg
from fogline.algorithms.registry import METHODS
from fogline.params import State, Vector
from fogline.training.context import DeviceContext


@METHODS.add("ifca")
class IFCA(FedAvg):
    """Several models; a device trains the one that fits it best (Ghosh et al., 2020, arXiv 2006.04088).

    A device takes the model j of the least loss on its examples, trains it, and ``x_j += sum_i n_i D_i / sum_i n_i``
    over the devices that took it (algorithm 1, averaging of models). The job's model is the first; the others begin
    around it, moved by ``spread`` times the root mean square of its weights. It is also the one that is judged at the
    cloud; on devices, ``judge`` gives each its own.

    A fog has no rounds of its own. A device reports a zero of weight zero for the models that it did not take.
    Memory: as many models at the server as clusters, and on the way down and up.
    """

    columnwise: ClassVar[bool] = False

    clusters: int = 3
    spread: float = 0.3

    inner_rounds: ClassVar[bool] = False

    def broadcast(self, state: State) -> State:
        return state

    def prepare(self, device: DeviceContext) -> State:
        return {"cluster": np.array([self._best(device)], np.float32)}

    def begin(self, device: DeviceContext) -> Vector:
        return self._models(device.model, device.received)[int(device.local["cluster"][0])]

    def report(self, device: DeviceContext) -> ClientUpdate:
        chosen, moved = int(device.local["cluster"][0]), device.end - device.start
        taken = {j: Weighted(np.zeros_like(moved), 0.0) for j in range(self.clusters)}
        taken[chosen] = Weighted(moved, float(device.plan.samples))
        terms = {_name(j): term for j, term in taken.items()}
        return ClientUpdate(terms, device.local, {f"cluster-{j}": float(j == chosen) for j in range(self.clusters)})

    def judge(self, device: DeviceContext) -> Vector:
        return self._models(device.model, device.received)[self._best(device)]

    def server_update(
        self, model: Vector, folded: Folded, state: State, group: AggregatorContext
    ) -> tuple[Vector, State]:
        models = self._models(model, state)
        moved = [x + folded.mean(_name(j)) if folded.weights[_name(j)] else x for j, x in enumerate(models)]
        return moved[0], {f"model-{j}": x for j, x in enumerate(moved) if j}

    def _best(self, device: DeviceContext) -> int:
        models = self._models(device.model, device.received)
        return int(np.argmin([device.loss_at(model, device.examples) for model in models]))

    def _models(self, first: Vector, others: State) -> list[Vector]:
        """All of them; before the first round all make the same ones from the first."""
        scale = self.spread * (float(np.sqrt(np.mean(np.square(first)))) or 1.0)
        return [first] + [
            others[f"model-{j}"] if others else first + (scale * _normal(j, first.size)).astype(first.dtype)
            for j in range(1, self.clusters)
        ]


def _normal(seed: int, size: int) -> Vector:
    return np.random.default_rng(seed).standard_normal(size)


def _name(cluster: int) -> str:
    return f"delta-{cluster}" if cluster else "delta"
