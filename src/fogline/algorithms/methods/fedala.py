"""FedALA."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from fogline.algorithms.base import ClientUpdate, Weighted
from fogline.algorithms.own_models import MODEL, PersonalModels
from fogline.algorithms.registry import METHODS
from fogline.parameters import bounded
from fogline.params import State, Vector
from fogline.training.context import DeviceContext

MIX = "mix"


@METHODS.add("fedala")
class FedALA(PersonalModels):
    """A device learns how much of each number to take from the common model (Zhang et al., 2023, arXiv 2212.01197).

    It begins at its last model, moved towards the one received: ``x_i + (x - x_i) * W`` in the last ``layers`` layers,
    x in the others. W, in [0, 1] and 1 at first, learns on a share of the device's examples:
    ``W -= rate grad F_i * (x - x_i)`` (algorithm 1), ``first_passes`` over them when it begins (the paper goes on till
    the loss stands still), then one a round. A device is judged with where it would begin. The paper takes a share of
    0.8 and rate 1. A gradient more for each batch of a pass; two models more on each device.
    """

    columnwise: ClassVar[bool] = True
    movement_only: ClassVar[bool] = True

    layers: int = bounded(2, ge=1)
    share: float = bounded(0.8, gt=0, le=1)
    rate: float = bounded(1.0, gt=0)
    first_passes: int = bounded(5, ge=1)

    def looks_at_examples(self) -> bool:
        return True

    def prepare(self, device: DeviceContext) -> State:
        if MODEL not in device.local:
            return device.local
        last, mix = device.local[MODEL], np.ones_like(device.model) * device.local.get(MIX, 1.0)
        apart, top = device.model - last, device.spec.places(device.spec.last_layers(self.layers))
        count = math.ceil(self.share * device.examples.count)
        for _ in range(1 if MIX in device.local else self.first_passes):
            order, size = device.rng.permutation(device.examples.count)[:count], device.plan.batch_size or count
            for first in range(0, count, size):
                slope = device.gradient_at(last + apart * mix, device.examples.part(order[first : first + size]))
                mix[top] = np.clip(mix[top] - self.rate * (slope * apart)[top], 0.0, 1.0)
        return {**device.local, MIX: mix}

    def own(self, device: DeviceContext) -> Vector:
        last = super().own(device)
        return last + (device.model - last) * device.local.get(MIX, 1.0)

    def begin(self, device: DeviceContext) -> Vector:
        return self.own(device)

    def report(self, device: DeviceContext) -> ClientUpdate:
        moved = Weighted(device.end - device.model, float(device.plan.samples))
        return ClientUpdate({"delta": moved}, {**device.local, MODEL: device.end})
