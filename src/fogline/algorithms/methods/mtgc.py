"""MTGC."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fogline.aggregation import Folded
from fogline.algorithms.base import AggregatorContext, ClientUpdate, Weighted
from fogline.algorithms.methods.fedavg import FedAvg
from fogline.algorithms.registry import METHODS
from fogline.params import State, Vector
from fogline.training.context import DeviceContext
from fogline.training.method import Array, Arrays


@METHODS.add("mtgc")
class MTGC(FedAvg):
    """Corrects drift on every tier: device from group, group from all (Fang et al., NeurIPS 2024).

    Step along ``g + z_i + y_j``. After each mean of the group ``z_i += (x_i - mean_j) / (H eta)``; after each
    mean of all, E rounds of the group later, ``y_j += (mean_j - mean) / (H E eta)``, and z_i begins at zero.
    H eta, what a device steps in a round, is reported by the devices and averaged.

    A node sees its parent's mean when it gets the next model, and corrects itself then. A correction lasts
    until the parent itself takes a new model from above: hence z lasts a cloud round, y for good, and on a
    star, where nothing is above, z for good. With more tiers, what is above adds up on the way down.

    The paper has all devices in every round. One that sat out corrects itself by the model it sees next.
    Memory: two models per device (z and where it ended), two per fog, one more on the way down.
    """

    columnwise: ClassVar[bool] = True

    affine: ClassVar[bool] = True
    group_models: ClassVar[bool] = True

    # Devices: z.

    def prepare(self, device: DeviceContext) -> State:
        local, received = device.local, device.received
        epoch = received.get("epoch", _scalar(0.0))
        z = np.zeros_like(device.start)
        if "epoch" in local and local["epoch"] == epoch:
            z = local["z"] + (local["end"] - device.start) / local["pace"]
        return {"z": z, "epoch": epoch, "correction": z + received.get("correction", 0.0)}

    def adjust_gradient(self, gradient: Array, weights: Array, start: Array, local: Arrays, received: Arrays) -> Array:
        return gradient + local["correction"]

    def report(self, device: DeviceContext) -> ClientUpdate:
        plan, local = device.plan, device.local
        pace, samples = _scalar(plan.steps * plan.learning_rate), float(plan.samples)
        terms = {"delta": Weighted(device.end - device.start, samples), "pace": Weighted(pace, samples)}
        return ClientUpdate(terms, {"z": local["z"], "end": device.end, "pace": pace, "epoch": local["epoch"]})

    # Groups: y, kept as "own"; "above" is what the parent sent.

    def broadcast(self, state: State) -> State:
        if "epoch" not in state:
            return {}
        return {"correction": state["own"] + state["above"], "epoch": state["epoch"]}

    def receive(self, group_model: Vector | None, model: Vector, state: State, received: State) -> State:
        parent = received.get("epoch", _scalar(0.0))
        own = np.zeros_like(model)
        if group_model is not None and state["parent"] == parent:
            own = state["own"] if not state["pace"] else state["own"] + (group_model - model) / state["pace"]
        return {
            "own": own,
            "above": received.get("correction", np.zeros_like(model)),
            "epoch": state.get("epoch", _scalar(0.0)) + 1.0,
            "parent": parent,
            "pace": _scalar(0.0),
        }

    def inner_update(
        self, model: Vector, folded: Folded, state: State, group: AggregatorContext
    ) -> tuple[Vector, State]:
        return model + folded.mean("delta"), state | {"pace": state["pace"] + folded.mean("pace")}


def _scalar(value: float) -> Vector:
    return np.array([value], np.float32)
