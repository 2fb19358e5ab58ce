"""FedProto."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fogline.aggregation import Folded
from fogline.algorithms.base import AggregatorContext, ClientUpdate, Moved, Weighted
from fogline.algorithms.own_models import MODEL, OwnModels
from fogline.algorithms.registry import METHODS
from fogline.parameters import bounded
from fogline.params import State, Vector
from fogline.training.context import DeviceContext, LocalBatch
from fogline.training.method import Array


@METHODS.add("fedproto")
class FedProto(OwnModels):
    """Devices share the mean features of each class instead of weights (Tan et al., 2022, arXiv 2105.00243).

    Adds ``lam`` times the mean squared distance of a batch's features to the prototypes of their classes to the loss;
    a prototype is the mean of the features of all devices' examples of its class. The paper takes lam 1 for digits. For
    labels that are classes.

    A fog has no rounds of its own. A device sends the means of the classes that it has.
    """

    alike: ClassVar[bool] = False

    lam: float = bounded(1.0, ge=0)

    def broadcast(self, state: State) -> State:
        """Prototypes as a table with a row for each label, and which rows somebody has sent; the last is no label's."""
        if not state:
            return {}
        labels, sent = [int(name) for name in state], np.stack(list(state.values()))
        table, known = np.zeros((2 + max(labels), sent.shape[1]), sent.dtype), np.zeros(2 + max(labels), sent.dtype)
        table[labels], known[labels] = sent, 1.0
        return {"prototypes": table.ravel(), "known": known}

    def looks_at_examples(self) -> bool:
        return True

    def adjust_loss(self, loss: Array, batch: LocalBatch, device: DeviceContext) -> Array:
        if "known" not in device.received:
            return loss
        known, table = device.received["known"], device.received["prototypes"].reshape(-1, batch.features.shape[-1])
        rows = batch.targets.clamp(max=len(known) - 1)
        squares = ((batch.features - table[rows]) ** 2).mean(-1)
        return loss + self.lam * (known[rows] * squares).mean()

    def report(self, device: DeviceContext) -> ClientUpdate:
        y, features = device.examples.y, device.features_at(device.end, device.examples)
        own = {str(label): features[y == label] for label in np.unique(y)}
        return ClientUpdate(
            {label: Weighted(some.mean(0), float(len(some))) for label, some in own.items()}, {MODEL: device.end}
        )

    def server_update(self, model: Vector, folded: Folded, state: State, group: AggregatorContext) -> Moved:
        return model, state | {name: folded.mean(name) for name in folded.sums if name.isdigit()}
