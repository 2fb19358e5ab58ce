"""FedNova."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fogline.aggregation import Folded, Weight
from fogline.algorithms.base import AggregatorContext, ClientUpdate, Weighted
from fogline.algorithms.methods.fedavg import FedAvg
from fogline.algorithms.registry import METHODS
from fogline.parameters import bounded
from fogline.params import State, Vector
from fogline.settings import LocalSettings
from fogline.training.context import DeviceContext


@METHODS.add("fednova")
class FedNova(FedAvg):
    """Averages directions, so that a device with more steps does not adjust the objective (Wang et al., 2020).

    ``d_i = (x_i - x) / tau_i``, ``tau = sum_i p_i tau_i``, ``x += tau sum_i p_i d_i`` (arXiv 2007.07481,
    equation 5). tau_i is the device's number of steps; with local momentum rho it is what its gradients count
    for in all, ``(tau_i - rho (1 - rho^tau_i) / (1 - rho)) / (1 - rho)``. Set ``momentum`` to the local one.

    A fog with rounds of its own moves by the same rule, and reports its movement with the sum of its tau.
    """

    columnwise: ClassVar[bool] = True

    momentum: float = bounded(0.0, ge=0, lt=1)

    movement: ClassVar[str] = "direction"

    def check_local(self, local: LocalSettings) -> None:
        if local.optimizer != "sgd" or local.nesterov:
            has = "nesterov is true" if local.nesterov else f"optimizer is '{local.optimizer}'"
            raise ValueError(f"local.{has}, but what a step is worth is counted for SGD with plain momentum; take that")
        if local.momentum != self.momentum:
            raise ValueError(
                f"local.momentum is {local.momentum:g} and the method's own momentum {self.momentum:g}, by which it "
                "counts what steps are worth; make both the same"
            )

    def report(self, device: DeviceContext) -> ClientUpdate:
        rho, steps, delta = self.momentum, device.plan.steps, device.end - device.start
        tau = (steps - rho * (1.0 - rho**steps) / (1.0 - rho)) / (1.0 - rho)
        terms = _terms(delta, np.array([tau], delta.dtype), float(device.plan.samples))
        return ClientUpdate(terms, device.local)

    def server_update(
        self, model: Vector, folded: Folded, state: State, group: AggregatorContext
    ) -> tuple[Vector, State]:
        return model + folded.mean("tau") * folded.mean("direction"), state

    def inner_update(
        self, model: Vector, folded: Folded, state: State, group: AggregatorContext
    ) -> tuple[Vector, State]:
        return self.server_update(model, folded, state, group)

    def group_update(
        self, start: Vector, delta: Vector, weight: Weight, totals: dict[str, Weighted]
    ) -> dict[str, Weighted]:
        return _terms(delta, totals["tau"].vector, weight)


def _terms(delta: Vector, tau: Vector, weight: Weight) -> dict[str, Weighted]:
    return {"direction": Weighted(delta / tau, weight), "tau": Weighted(tau, weight)}
