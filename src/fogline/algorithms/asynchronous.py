"""Methods whose aggregator does not wait for everybody."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fogline.aggregation import Folded
from fogline.algorithms.base import Group, Mode, Report, Term
from fogline.algorithms.fedavg import FedAvg
from fogline.params import State, Vector
from fogline.training.method import Work


class FedBuff(FedAvg):
    """Moves after every ``buffer`` updates, stale ones counting less (Nguyen et al., 2022, arXiv 2106.06639).

    ``x += server_rate / K sum_i (1 + staleness_i)^(-exponent) D_i``, every device with weight one, K reports.
    In synchronous mode it is FedAvg with equal weights.
    """

    server_rate: float = 1.0
    exponent: float = 0.5
    buffer: int = 10  # pyright: ignore[reportIncompatibleVariableOverride]

    mode: ClassVar[Mode] = "async"

    def report(self, start: Vector, end: Vector, local: State, received: State, work: Work) -> Report:
        return Report({"delta": Term(end - start, 1.0)}, local)

    def move(self, model: Vector, folded: Folded, state: State, group: Group) -> tuple[Vector, State]:
        return model + self.server_rate * folded.mean("delta"), state

    def staleness_weight(self, staleness: int) -> float:
        return (1.0 + staleness) ** -self.exponent


class FedAsync(FedAvg):
    """Mixes each model in as it arrives, the less the staler (Xie et al., 2019, arXiv 1903.03934).

    ``x = (1 - a) x + a x_i`` with ``a = alpha (1 + staleness)^(-exponent)``. A device sends the model where it
    ended, and a share of one that staleness scales with it. Several reports at once mix in by their mean,
    weighted by examples. A fog with rounds of its own mixes likewise, and sends the model where it ended.
    """

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


class FedAT(FedAvg):
    """Synchronous within speed classes, asynchronous across them (Chai et al., 2021, arXiv 2010.05958).

    The server keeps one model per class, the mean of what its devices last sent; all begin as the initial
    model. ``x = sum_m T_(M+1-m) / T w_m`` where T_m counts the reports of class m (1 the fastest) and T all:
    a class weighs as much as its mirror image reported, so that slow ones are heard.

    A report of any age replaces its class's model, so staleness does not scale it. A fog with rounds of its
    own averages plainly. Memory: one model per class at the server.
    """

    mode: ClassVar[Mode] = "semi-async"
    movement: ClassVar[str] = "model"

    def report(self, start: Vector, end: Vector, local: State, received: State, work: Work) -> Report:
        return Report({"model": Term(end, float(work.samples))}, local)

    def move(self, model: Vector, folded: Folded, state: State, group: Group) -> tuple[Vector, State]:
        lanes = {f"lane-{m}": state.get(f"lane-{m}", model) for m in range(group.lanes)}
        lanes[f"lane-{group.lane}"] = folded.mean("model")
        reports = state.get("reports", np.zeros(group.lanes)).copy()
        reports[group.lane] += 1.0
        weights = reports[::-1] / reports.sum()
        mixed = sum((float(w) * lanes[f"lane-{m}"] for m, w in enumerate(weights)), np.zeros_like(model))
        return mixed, lanes | {"reports": reports}

    def move_inside(self, model: Vector, folded: Folded, state: State, group: Group) -> tuple[Vector, State]:
        return folded.mean("model"), state

    def lift(self, start: Vector, delta: Vector, weight: float, totals: dict[str, Term]) -> dict[str, Term]:
        return {"model": Term(start + delta, weight)}

    def staleness_weight(self, staleness: int) -> float:
        return 1.0


def _ends(end: Vector, weight: float) -> dict[str, Term]:
    return {"model": Term(end, weight), "share": Term(np.ones(1, end.dtype), weight)}
