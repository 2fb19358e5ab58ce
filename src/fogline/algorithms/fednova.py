"""FedNova."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fogline.aggregation import Folded
from fogline.algorithms.base import Group, Report, Term
from fogline.algorithms.fedavg import FedAvg
from fogline.params import State, Vector
from fogline.training.method import Work


class FedNova(FedAvg):
    """Averages directions, so that a device with more steps does not bend the objective (Wang et al., 2020).

    ``d_i = (x_i - x) / tau_i``, ``tau = sum_i p_i tau_i``, ``x += tau sum_i p_i d_i`` (arXiv 2007.07481,
    equation 5). tau_i is the device's number of steps; with local momentum rho it is what its gradients count
    for in all, ``(tau_i - rho (1 - rho^tau_i) / (1 - rho)) / (1 - rho)``. Set ``momentum`` to the local one.

    A fog with rounds of its own moves by the same rule, and reports its movement with the sum of its tau.
    """

    columnwise: ClassVar[bool] = True

    momentum: float = 0.0

    movement: ClassVar[str] = "direction"

    def report(self, start: Vector, end: Vector, local: State, received: State, work: Work) -> Report:
        rho = self.momentum
        tau = (work.steps - rho * (1.0 - rho**work.steps) / (1.0 - rho)) / (1.0 - rho)
        samples = float(work.samples)
        return Report(_terms(end - start, np.array([tau], start.dtype), samples), local)

    def move(self, model: Vector, folded: Folded, state: State, group: Group) -> tuple[Vector, State]:
        return model + folded.mean("tau") * folded.mean("direction"), state

    def move_inside(self, model: Vector, folded: Folded, state: State, group: Group) -> tuple[Vector, State]:
        return self.move(model, folded, state, group)

    def lift(self, start: Vector, delta: Vector, weight: float, totals: dict[str, Term]) -> dict[str, Term]:
        return _terms(delta, totals["tau"].vector, weight)


def _terms(delta: Vector, tau: Vector, weight: float) -> dict[str, Term]:
    return {"direction": Term(delta / tau, weight), "tau": Term(tau, weight)}
