"""FedAsync."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fogline.aggregation import Folded
from fogline.algorithms.base import Group, Mode, Report, Term
from fogline.algorithms.fedavg import FedAvg
from fogline.params import State, Vector
from fogline.training.method import Work


class FedAsync(FedAvg):
    """Mixes each model in as it arrives, the less the staler (Xie et al., 2019, arXiv 1903.03934).

    ``x = (1 - a) x + a x_i`` with ``a = alpha (1 + staleness)^(-exponent)``. A device sends the model where it
    ended, and a share of one that staleness scales with it. Several reports at once mix in by their mean,
    weighted by examples. A fog with rounds of its own mixes likewise, and sends the model where it ended.
    """

    columnwise: ClassVar[bool] = True

    alpha: float = 0.6
    exponent: float = 0.5

    mode: ClassVar[Mode] = "async"
    movement: ClassVar[str] = "model"

    def report(self, start: Vector, end: Vector, local: State, received: State, work: Work) -> Report:
        return Report(_ends(end, float(work.samples)), local)

    def move(self, model: Vector, folded: Folded, state: State, group: Group) -> tuple[Vector, State]:
        return model + self.alpha * (folded.mean("model") - folded.mean("share") * model), state

    def move_inside(self, model: Vector, folded: Folded, state: State, group: Group) -> tuple[Vector, State]:
        return self.move(model, folded, state, group)

    def lift(self, start: Vector, delta: Vector, weight: float, totals: dict[str, Term]) -> dict[str, Term]:
        return _ends(start + delta, weight)

    def staleness_weight(self, staleness: int) -> float:
        return (1.0 + staleness) ** -self.exponent


def _ends(end: Vector, weight: float) -> dict[str, Term]:
    return {"model": Term(end, weight), "share": Term(np.ones(1, end.dtype), weight)}
