"""FedProto."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fogline.aggregation import Folded
from fogline.algorithms.base import AggregatorContext, ClientUpdate, Weighted
from fogline.algorithms.methods.fedavg import FedAvg
from fogline.algorithms.registry import METHODS
from fogline.params import State, Vector
from fogline.training.context import DeviceContext, LocalBatch
from fogline.training.method import Array


@METHODS.add("fedproto")
class FedProto(FedAvg):
    """Devices share the mean features of each class instead of weights (Tan et al., 2022, arXiv 2105.00243).

    Adds ``lam`` times the mean squared distance of a batch's features to the prototypes of their classes to the loss;
    a prototype is the mean of the features of all devices' examples of its class. Each device keeps its own model, and
    ``judge`` gives it; the root's stays as it began. The paper takes lam 1 for digits. For labels that are classes.

    A fog has no rounds of its own. A device reports a zero of weight zero for a class that it has not.
    """

    columnwise: ClassVar[bool] = False

    lam: float = 1.0

    inner_rounds: ClassVar[bool] = False

    def broadcast(self, state: State) -> State:
        return state

    def begin(self, device: DeviceContext) -> Vector:
        own = device.local.get("model")
        return device.model if own is None else own

    def adjust_loss(self, loss: Array, batch: LocalBatch, device: DeviceContext) -> Array:
        if "prototypes" not in device.received:
            return loss
        known = device.received["known"][batch.targets]
        wanted = device.received["prototypes"].reshape(-1, batch.features.shape[-1])[batch.targets]
        return loss + self.lam * (known * ((batch.features - wanted) ** 2).mean(-1)).mean()

    def report(self, device: DeviceContext) -> ClientUpdate:
        y, features = device.examples.y, device.features_at(device.end, device.examples)
        classes = device.outputs_at(device.end, device.examples.part(slice(1))).shape[-1]
        means = [features[y == j].mean(0) if (y == j).any() else np.zeros_like(features[0]) for j in range(classes)]
        terms = {f"class-{j}": Weighted(mean, float((y == j).sum())) for j, mean in enumerate(means)}
        return ClientUpdate(terms, {"model": device.end})

    def judge(self, device: DeviceContext) -> Vector:
        return self.begin(device)

    def server_update(
        self, model: Vector, folded: Folded, state: State, group: AggregatorContext
    ) -> tuple[Vector, State]:
        names = [f"class-{j}" for j in range(sum(name.startswith("class-") for name in folded.sums))]
        before = state.get("prototypes", np.zeros(sum(folded.sums[name].size for name in names), model.dtype))
        rows, known = (
            before.reshape(len(names), -1).copy(),
            state.get("known", np.zeros(len(names), model.dtype)).copy(),
        )
        for j, name in enumerate(names):
            if folded.weights[name]:
                rows[j], known[j] = folded.mean(name), 1.0
        return model, {"prototypes": rows.ravel(), "known": known}
