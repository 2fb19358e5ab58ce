"""FedLC."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fogline.algorithms.base import ClientUpdate
from fogline.algorithms.methods.fedavg import FedAvg
from fogline.algorithms.registry import METHODS
from fogline.data.meaning import UNTOLD
from fogline.parameters import bounded
from fogline.params import State
from fogline.training.context import DeviceContext, LocalBatch
from fogline.training.method import Array

SELDOM = 1e-8
"""For how many examples a label counts that there is none of."""


@METHODS.add("fedlc")
class FedLC(FedAvg):
    """Calibrates logits by how often a device sees each label (Zhang et al., 2022, arXiv 2209.00189).

    ``logit_y -= tau n_y^(-1/4)``, with n_y the device's examples of label y. A label that it never sees is
    taken as n_y = 1e-8, which all but leaves it out of the loss. For classification into at most ``classes``
    classes; more is an error, fewer costs nothing.
    """

    movement_only: ClassVar[bool] = True
    tau: float = bounded(1.0, ge=0)
    classes: int = bounded(1024, ge=1)

    def looks_at_examples(self) -> bool:
        return True

    def prepare(self, device: DeviceContext) -> State:
        counts = label_counts(device.examples.y, self.classes, "FedLC (with its parameter 'classes')")
        return {"margin": (self.tau * np.maximum(counts, SELDOM) ** -0.25).astype(device.start.dtype)}

    def adjust_outputs(self, outputs: Array, batch: LocalBatch, device: DeviceContext) -> Array:
        if outputs.shape[-1] > self.classes:
            raise ValueError(f"The model has {outputs.shape[-1]} classes; set FedLC's 'classes' to at least that.")
        return outputs - device.local["margin"][..., : outputs.shape[-1]]

    def report(self, device: DeviceContext) -> ClientUpdate:
        return super().report(device)._replace(local={})


def label_counts(targets: Array, classes: int, method: str) -> Array:
    """(classes,) examples of each label; those that mark what has no truth do not count.

    Raises:
        ValueError: targets are no labels below ``classes``.
    """
    if targets.dtype.kind in "iu":
        targets = targets[~((targets >= classes) | (targets < 0)) | ~np.isin(targets, UNTOLD)]
    if targets.dtype.kind not in "iu" or targets.min(initial=0) < 0 or targets.max(initial=0) >= classes:
        raise ValueError(
            f"{method} wants integer labels from 0 to {classes - 1}; this device has labels of type {targets.dtype} "
            f"up to {targets.max(initial=0)}."
        )
    return np.bincount(targets.ravel(), minlength=classes)
