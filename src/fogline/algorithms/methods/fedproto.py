"""FedProto."""

from __future__ import annotations

from fogline.algorithms.class_means import ClassMeans
from fogline.algorithms.registry import METHODS
from fogline.parameters import bounded
from fogline.training.context import DeviceContext, LocalBatch
from fogline.training.method import Array


@METHODS.add("fedproto")
class FedProto(ClassMeans):
    """Devices share the mean features of each class instead of weights (Tan et al., 2022, arXiv 2105.00243).

    Adds ``lam`` times the mean squared distance of a batch's features to the prototypes of their classes to the loss;
    a prototype is the mean of the features of all devices' examples of its class. The paper takes lam 1 for digits. For
    labels that are classes.

    A fog has no rounds of its own. A device sends the means of the classes that it has.
    """

    lam: float = bounded(1.0, ge=0)

    def told(self, device: DeviceContext) -> Array:
        return device.features_at(device.end, device.examples)

    def adjust_loss(self, loss: Array, batch: LocalBatch, device: DeviceContext) -> Array:
        found = self.of_targets(batch, device)
        if found is None:
            return loss
        prototypes, known = found
        return loss + self.lam * (known * ((batch.features - prototypes) ** 2).mean(-1)).mean()
