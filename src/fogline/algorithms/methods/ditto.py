"""Ditto."""

from __future__ import annotations

from typing import ClassVar

from fogline.algorithms.own_models import MODEL, PersonalModels
from fogline.algorithms.registry import METHODS
from fogline.parameters import bounded
from fogline.training.context import DeviceContext, RoundContext
from fogline.training.method import Array, Arrays
from fogline.training.phase import Phases, TrainingPhase
from fogline.training.plan import Plan


@METHODS.add("ditto")
class Ditto(PersonalModels):
    """A model of each device's own beside the common one, pulled to it (Li et al., ICML 2021, arXiv 2012.04221).

    The common model x is FedAvg's. A device's own minimises ``F_i(v) + lam/2 ||v - x||^2``: as many steps again,
    ``v -= eta (grad F_i(v) + lam (v - x))``, from where its last round left v (algorithm 1). The paper tries lam in
    {0.05, 0.1, 1, 2}. Running means of v are the common model's. Twice FedAvg's steps; a model more on each device.
    """

    lam: float = bounded(1.0, ge=0)

    affine: ClassVar[bool] = True

    def work(self, plan: Plan, device: RoundContext) -> Plan:
        return plan.replace(steps=2 * plan.steps)

    def phases(self, device: DeviceContext) -> Phases:
        steps = max(1, device.plan.steps // 2)
        own = yield TrainingPhase(self.own(device), steps, local={"pull": device.model})
        yield TrainingPhase(device.start, steps, local={})
        return {MODEL: own}

    def adjust_gradient(self, gradient: Array, weights: Array, start: Array, local: Arrays, received: Arrays) -> Array:
        return gradient + self.lam * (weights - local["pull"]) if "pull" in local else gradient
