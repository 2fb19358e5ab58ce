"""HeteroFL."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import numpy as np

from fogline.algorithms.base import ClientUpdate, Weighted
from fogline.algorithms.methods.fedavg import FedAvg
from fogline.algorithms.registry import METHODS
from fogline.algorithms.widths import check_widths
from fogline.parameters import bounded
from fogline.params import State
from fogline.training.context import DeviceContext, LocalBatch
from fogline.training.method import Array
from fogline.training.sub_models import ModelCutter, SubModel


@METHODS.add("heterofl")
class HeteroFL(FedAvg):
    """Weaker devices train the first units of every layer (Diao, Ding & Tarokh, ICLR 2021, arXiv 2010.01264).

    A device of width r has of every hidden layer the first r of its units. Number j of the model moves by
    ``sum_i n_i delta_ij / sum_i n_i`` over the devices i that have it (algorithm 1); one that nobody has stays. If all
    have the whole model it is FedAvg, to the bit.

    Masked cross entropy: outputs of classes that a device has no example of are set to zero, and their rows in the
    last layer weigh nothing; ``masked=False`` leaves that out. For labels that are classes.

    Batch normalisation is static: models normalise by their batches, and running statistics go nowhere. Those of a
    model that is judged or handed out come from a pass of all devices over their data, with the whole model: the mean
    over their batches, and over devices by their examples.

    Scaler: in training, what a linear layer or a convolution of a smaller model gives is divided by the share of its
    units that it has (r, up to whole units), so that the next layer gets as much as it does in the whole model, which
    is judged.

    Args:
        widths: of the smaller models, the widest first.
        masked: whether the cross entropy is masked.
        scaler: whether layers of a smaller model are scaled.
    """

    widths: tuple[float, ...] = bounded((0.5, 0.25, 0.125, 0.0625), gt=0, lt=1)
    masked: bool = True
    scaler: bool = True

    alike: ClassVar[bool] = False
    static_statistics: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_widths(self.widths)

    def looks_at_examples(self) -> bool:
        return self.masked

    def sub_models(self, model: ModelCutter) -> Iterable[SubModel]:
        return (model.narrow(width, self.scaler) for width in self.widths)

    def prepare(self, device: DeviceContext) -> State:
        return {"present": self._present(device)} if self.masked else device.local

    def adjust_outputs(self, outputs: Array, batch: LocalBatch, device: DeviceContext) -> Array:
        if not self.masked:
            return outputs
        present = device.local["present"]
        if outputs.shape[-1] != present.shape[-1]:
            raise ValueError(
                f"HeteroFL masks the {present.shape[-1]} outputs of the last layer, and the model gives "
                f"{outputs.shape[-1]}; set its 'masked' to false"
            )
        return outputs * present

    def report(self, device: DeviceContext) -> ClientUpdate:
        update = super().report(device)
        if not self.masked:
            return update
        absent = np.flatnonzero(device.local["present"] == 0)
        if not absent.size:
            return update._replace(local={})
        vector, samples = update.terms["delta"]
        weights = np.full(vector.size, samples, np.min_scalar_type(int(samples)))
        for name in device.spec.last_layer:
            shape = next(entry.shape for entry in device.spec.entries if entry.name == name)
            weights[device.spec.slices[name]].reshape(shape)[absent] = 0
        return ClientUpdate({"delta": Weighted(vector, weights)}, {})

    def _present(self, device: DeviceContext) -> Array:
        """(classes,) 1 for those of which the device has an example, and else 0."""
        last = device.spec.last_layer[-1]
        classes = next(entry.shape[0] for entry in device.spec.entries if entry.name == last)
        labels = device.examples.y
        if labels.dtype.kind not in "iu" or labels.max(initial=0) >= classes:
            raise ValueError(
                f"HeteroFL masks classes and wants labels from 0 to {classes - 1}; this device has labels of type "
                f"{labels.dtype} up to {labels.max(initial=0)}; set its 'masked' to false"
            )
        present = np.zeros(classes, device.start.dtype)
        present[labels[labels >= 0]] = 1
        return present
