"""APFL."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fogline.algorithms.own_models import MODEL, PersonalModels
from fogline.algorithms.registry import METHODS
from fogline.parameters import bounded
from fogline.params import Vector
from fogline.training.context import DeviceContext, RoundContext
from fogline.training.phase import Phases, TrainingPhase
from fogline.training.plan import Plan

LEAST = 0.05
"""A learned alpha stays at least that: below it the device's model would hardly learn."""


@METHODS.add("apfl")
class APFL(PersonalModels):
    """A device is judged with a mixture of its own model and the common one (Deng et al., 2020, arXiv 2003.13461).

    The common model w is FedAvg's. Beside the w received a device's own learns so that the mixture
    ``m = alpha v + (1 - alpha) w`` does well: ``v -= eta alpha grad F_i(m)``, as many steps again (algorithm 1; there
    both take turns step by step, so that w in m has moved). ``learns_alpha``: before a round's steps
    ``alpha -= eta <v - w, grad F_i(m)>`` over all examples, within [0.05, 1]. The paper tries alpha 0.25, 0.5, 0.75.
    Twice FedAvg's steps; a model more on each device.
    """

    alpha: float = bounded(0.25, gt=0, le=1)
    learns_alpha: bool = False

    columnwise: ClassVar[bool] = True

    def looks_at_examples(self) -> bool:
        return self.learns_alpha

    def work(self, plan: Plan, device: RoundContext) -> Plan:
        return plan.replace(steps=2 * plan.steps)

    def own(self, device: DeviceContext) -> Vector:
        return self._mixture(device, self._alpha(device))

    def phases(self, device: DeviceContext) -> Phases:
        steps, rate, w = max(1, device.plan.steps // 2), device.plan.learning_rate, device.start
        v, alpha = super().own(device), self._alpha(device)
        if self.learns_alpha:
            slope = device.gradient_at(self._mixture(device, alpha), device.examples) @ (v - w)
            alpha = float(np.clip(alpha - rate * slope, LEAST, 1.0))
        mixture = self._mixture(device, alpha)
        # v moves by alpha times the gradient, so the mixture by alpha squared times it.
        end = yield TrainingPhase(mixture, steps, learning_rate=alpha**2 * rate)
        yield TrainingPhase(w, steps)
        return {MODEL: v + (end - mixture) / alpha, "alpha": np.array([alpha], np.float64)}

    def _alpha(self, device: DeviceContext) -> float:
        return float(device.local["alpha"][0]) if self.learns_alpha and "alpha" in device.local else self.alpha

    def _mixture(self, device: DeviceContext, alpha: float) -> Vector:
        return device.model + alpha * (super().own(device) - device.model)
