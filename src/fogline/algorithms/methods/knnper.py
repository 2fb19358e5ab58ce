"""kNN-Per."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fogline.algorithms.own_models import PersonalModels
from fogline.algorithms.registry import METHODS
from fogline.data import Examples
from fogline.parameters import bounded
from fogline.params import Vector
from fogline.training.context import DeviceContext
from fogline.training.method import Array

BLOCK = 256
"""Examples whose distances are looked at together."""


@METHODS.add("knnper")
class KNNPer(PersonalModels):
    """The common model, and what the device remembers of its examples (Marfoq et al., ICML 2022, arXiv 2111.09360).

    The model is FedAvg's. To be judged, a device keeps its training examples' features under it, and of an example
    takes the ``neighbours`` nearest by Euclidean distance d: ``lam sum_k e^-d_k [y_k = y] / sum_k e^-d_k +
    (1 - lam) softmax(outputs)_y`` (equations 7 and 8); of numbers, the same mixture of the neighbours' targets and the
    output. The paper takes 10 neighbours, and lam by what the device holds out. Nothing more is trained or sent.
    """

    lam: float = bounded(0.5, ge=0, le=1)
    neighbours: int = bounded(10, ge=1)

    columnwise: ClassVar[bool] = True

    def looks_at_examples(self) -> bool:
        return True

    def own(self, device: DeviceContext) -> Vector:
        return device.model

    def judged_outputs(self, outputs: Array, examples: Examples, device: DeviceContext) -> Array:
        y = device.examples.y
        if y.size != len(y) or (y.dtype.kind in "iu" and outputs.size < 2 * len(outputs)):
            raise ValueError("KNNPer wants one target for each example, and outputs for each class of labels")
        known, asked = (device.features_at(device.model, some) for some in (device.examples, examples))
        classes = y.dtype.kind in "iu"
        values = np.eye(outputs.shape[-1])[y.reshape(len(y))] if classes else y.reshape(len(y), *outputs.shape[1:])
        near = np.concatenate([self._nearest(known, asked[i : i + BLOCK], values) for i in range(0, len(asked), BLOCK)])
        if not classes:
            return self.lam * near + (1.0 - self.lam) * outputs
        shares = np.exp(outputs - outputs.max(-1, keepdims=True))
        return np.log(self.lam * near + (1.0 - self.lam) * shares / shares.sum(-1, keepdims=True) + 1e-12)

    def _nearest(self, known: Array, asked: Array, values: Array) -> Array:
        """The neighbours' values (b, ...), weighted by distance."""
        squares = np.square(asked).sum(1)[:, None] + np.square(known).sum(1) - 2.0 * asked @ known.T
        least = np.argpartition(squares, min(self.neighbours, len(known)) - 1)[:, : self.neighbours]
        distances = np.sqrt(np.maximum(np.take_along_axis(squares, least, 1), 0.0))
        weights = np.exp(distances.min(1, keepdims=True) - distances)
        return np.einsum("bk,bk...->b...", weights / weights.sum(1, keepdims=True), values[least])
