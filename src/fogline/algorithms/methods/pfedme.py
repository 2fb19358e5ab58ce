"""pFedMe."""

from __future__ import annotations

from typing import ClassVar

from fogline.aggregation import Folded
from fogline.algorithms.base import AggregatorContext, ClientUpdate, Moved, Weighted
from fogline.algorithms.own_models import MODEL, PersonalModels
from fogline.algorithms.registry import METHODS
from fogline.parameters import bounded
from fogline.training.context import DeviceContext, RoundContext
from fogline.training.method import Array, Arrays
from fogline.training.phase import Phases, TrainingPhase
from fogline.training.plan import Plan


@METHODS.add("pfedme")
class PFedMe(PersonalModels):
    """Personal models by Moreau envelopes (Dinh et al., NeurIPS 2020, arXiv 2006.08848, algorithm 1).

    Each local step finds ``theta = argmin f_i(theta) + lam/2 ||theta - w_i||^2`` roughly, by ``inner_steps`` of the
    job's local training from w_i, then ``w_i -= rate lam (w_i - theta)``. The server takes
    ``(1 - beta) w + beta mean w_i`` over devices; a device is judged with its last theta. The paper's inner steps are
    on one minibatch, here each is on the next. ``inner_steps`` times FedAvg's steps; a model more on each device.
    """

    lam: float = bounded(15.0, gt=0)
    inner_steps: int = bounded(5, ge=1)
    rate: float = bounded(0.005, gt=0)
    beta: float = bounded(1.0, gt=0)

    affine: ClassVar[bool] = True
    columnwise: ClassVar[bool] = True
    linear: ClassVar[bool] = True
    movement_only: ClassVar[bool] = True

    def work(self, plan: Plan, device: RoundContext) -> Plan:
        return plan.replace(steps=self.inner_steps * plan.steps)

    def phases(self, device: DeviceContext) -> Phases:
        w = theta = device.start
        for _ in range(max(1, device.plan.steps // self.inner_steps)):
            theta = yield TrainingPhase(w, self.inner_steps)
            w = w - self.rate * self.lam * (w - theta)
        return {MODEL: theta, "w": w}

    def adjust_gradient(self, gradient: Array, weights: Array, start: Array, local: Arrays, received: Arrays) -> Array:
        return gradient + self.lam * (weights - start)

    def report(self, device: DeviceContext) -> ClientUpdate:
        kept = device.local
        return ClientUpdate({"delta": Weighted(kept["w"] - device.start, 1.0)}, {MODEL: kept[MODEL]})

    def server_update(self, model: Array, folded: Folded, state: Arrays, group: AggregatorContext) -> Moved:
        return model + self.beta * folded.mean("delta"), state
