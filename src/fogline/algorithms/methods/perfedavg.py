"""Per-FedAvg."""

from __future__ import annotations

from typing import ClassVar

from fogline.algorithms.own_models import PersonalModels
from fogline.algorithms.registry import METHODS
from fogline.parameters import bounded
from fogline.params import Vector
from fogline.training.context import DeviceContext
from fogline.training.method import Array


@METHODS.add("perfedavg")
class PerFedAvg(PersonalModels):
    """A model that is one gradient step away from each device's own (Fallah et al., 2020, arXiv 2002.07948, FO).

    Minimises the mean of ``f_i(w - alpha grad f_i(w))``: ``w -= eta grad f_i(w - alpha grad f_i(w))`` (equation 8,
    without the second derivative), averaged as FedAvg does it; a device is judged with ``w - alpha grad f_i(w)`` over
    its examples. The paper draws a batch for each of the gradients, here both are on one. It takes alpha 0.01. Two
    gradients a step.
    """

    alpha: float = bounded(0.01, gt=0)

    columnwise: ClassVar[bool] = True

    def looks_at_examples(self) -> bool:
        return True

    def own(self, device: DeviceContext) -> Vector:
        return device.model - self.alpha * device.gradient_at(device.model, device.examples)

    def perturb(self, weights: Array, gradient: Array) -> Array:
        return weights - self.alpha * gradient
