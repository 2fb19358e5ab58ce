"""What methods share in which devices send the mean of something for each class instead of weights."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from fogline.aggregation import Folded
from fogline.algorithms.base import AggregatorContext, ClientUpdate, Moved, Weighted
from fogline.algorithms.own_models import MODEL, OwnModels
from fogline.params import State, Vector
from fogline.training.context import DeviceContext, LocalBatch
from fogline.training.method import Array


class ClassMeans(OwnModels):
    """A device sends the means of the classes that it has; the root keeps the last mean of each over all devices, and
    sends them down. For labels that are classes. A fog has no rounds of its own."""

    alike: ClassVar[bool] = False

    @abstractmethod
    def told(self, device: DeviceContext) -> Array:
        """(n, d) what there are means of, of each of the device's examples under ``device.end``."""

    @staticmethod
    def of_targets(batch: LocalBatch, device: DeviceContext) -> tuple[Array, Array] | None:
        """The means (B, d) of the classes of a batch's targets, and whether there is one, (B,) of 1 and 0.

        None where there are none yet.
        """
        if "known" not in device.received:
            return None
        known = device.received["known"]
        rows = batch.targets.clamp(max=len(known) - 1)
        return device.received["means"].reshape(len(known), -1)[rows], known[rows]

    def broadcast(self, state: State) -> State:
        """A table with a row for each label, and which rows somebody has sent; the last is no label's."""
        if not state or "known" in state:
            return state
        labels, sent = [int(name) for name in state], np.stack(list(state.values()))
        table, known = np.zeros((2 + max(labels), sent.shape[1]), sent.dtype), np.zeros(2 + max(labels), sent.dtype)
        table[labels], known[labels] = sent, 1.0
        return {"means": table.ravel(), "known": known}

    def looks_at_examples(self) -> bool:
        return True

    def report(self, device: DeviceContext) -> ClientUpdate:
        y, told = device.examples.y, self.told(device)
        own = {str(label): told[y == label] for label in np.unique(y)}
        means = {label: Weighted(some.mean(0), self.weight(some)) for label, some in own.items()}
        return ClientUpdate(means, {MODEL: device.end})

    def weight(self, some: Vector) -> float:
        """Of one device's mean of a class among those of others; some: (m, d) what it is the mean of."""
        return float(len(some))

    def server_update(self, model: Vector, folded: Folded, state: State, group: AggregatorContext) -> Moved:
        return model, state | {name: folded.mean(name) for name in folded.sums if name.isdigit()}
