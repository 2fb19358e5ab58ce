"""FedDistill."""

from __future__ import annotations

from fogline.algorithms.class_means import ClassMeans
from fogline.algorithms.registry import METHODS
from fogline.parameters import bounded
from fogline.params import Vector
from fogline.training.context import DeviceContext, LocalBatch
from fogline.training.method import Array


@METHODS.add("feddistill")
class FedDistill(ClassMeans):
    """Devices share the mean outputs of each class instead of weights (Jeong et al., 2018, arXiv 1811.11479, FD).

    Adds ``lam`` times the cross-entropy of a batch's outputs with the softmax of the mean outputs of their classes to
    the loss; a class's mean is over the devices that have it, each weighs the same (algorithm 1; the paper averages
    after the softmax, and leaves the device's own out). For labels that are classes.

    A fog has no rounds of its own. A device sends a row of outputs for each class that it has.
    """

    lam: float = bounded(1.0, ge=0)

    def told(self, device: DeviceContext) -> Array:
        return device.outputs_at(device.end, device.examples)

    def weight(self, some: Vector) -> float:
        return 1.0

    def adjust_loss(self, loss: Array, batch: LocalBatch, device: DeviceContext) -> Array:
        found = self.of_targets(batch, device)
        if found is None:
            return loss
        taught, known = found
        crossed = -(taught.softmax(-1) * batch.outputs.log_softmax(-1)).sum(-1)
        return loss + self.lam * (known * crossed).mean()
