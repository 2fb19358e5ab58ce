"""FedRoD."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fogline.algorithms.methods.fedlc import SELDOM, label_counts
from fogline.algorithms.own_models import PersonalModels
from fogline.algorithms.registry import METHODS
from fogline.params import Spec, Vector
from fogline.training.context import DeviceContext, LocalBatch, RoundContext
from fogline.training.method import Array
from fogline.training.phase import Phases, TrainingPhase
from fogline.training.plan import Plan


@METHODS.add("fedrod")
class FedRoD(PersonalModels):
    """A generic head for all and a personal one beside it, on one body (Chen & Chao, ICLR 2022, arXiv 2107.00778).

    Body and generic head G learn by balanced softmax, ``logit_y + log n_y`` with n_y the device's examples of label y,
    and are averaged as FedAvg does it. The personal head P adds its logits to G's and learns by the job's loss, with
    body and G at rest (equations 5 and 6); a device is judged with body and G + P. Here P learns before the body, on
    the features of the model received; the paper takes turns batch by batch. The head is the last layer that trains,
    and linear. For labels that are classes. Twice FedAvg's steps; a last layer more on each device.
    """

    columnwise: ClassVar[bool] = True

    def looks_at_examples(self) -> bool:
        return True

    def work(self, plan: Plan, device: RoundContext) -> Plan:
        return plan.replace(steps=2 * plan.steps)

    def own(self, device: DeviceContext) -> Vector:
        model, head = device.model.copy(), device.spec.places(device.spec.last_layer)
        model[head] += device.local.get("head", 0.0)
        return model

    def phases(self, device: DeviceContext) -> Phases:
        steps, names = max(1, device.plan.steps // 2), device.spec.last_layer
        head = device.spec.places(names)
        counts = label_counts(device.examples.y, _classes(device.spec), "FedRoD")
        personal = yield TrainingPhase(self.own(device), steps, only=names, local={})
        prior = np.log(np.maximum(counts, SELDOM)).astype(device.start.dtype)
        yield TrainingPhase(device.start, steps, local={"prior": prior})
        return {"head": personal[head] - device.model[head]}

    def adjust_outputs(self, outputs: Array, batch: LocalBatch, device: DeviceContext) -> Array:
        return outputs + device.local["prior"] if "prior" in device.local else outputs


def _classes(spec: Spec) -> int:
    return next(entry.shape[0] for entry in spec.entries if entry.name in spec.last_layer)
