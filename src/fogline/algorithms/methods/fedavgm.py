"""FedAvgM."""

from __future__ import annotations

from typing import ClassVar

from fogline.aggregation import Folded
from fogline.algorithms.base import AggregatorContext
from fogline.algorithms.methods.fedavg import FedAvg
from fogline.algorithms.registry import METHODS
from fogline.parameters import bounded
from fogline.params import State, Vector


@METHODS.add("fedavgm")
class FedAvgM(FedAvg):
    """FedAvg with momentum at the server (Hsu et al., 2019, arXiv 1909.06335).

    ``v = momentum v + D``, ``x += server_rate v``, with D the mean update. Memory: one model at the server.
    """

    columnwise: ClassVar[bool] = True
    linear: ClassVar[bool] = True

    server_rate: float = bounded(1.0, gt=0)
    momentum: float = bounded(0.9, ge=0, lt=1)

    def server_update(
        self, model: Vector, folded: Folded, state: State, group: AggregatorContext
    ) -> tuple[Vector, State]:
        velocity = self.momentum * state.get("velocity", 0.0) + folded.mean("delta")
        return model + self.server_rate * velocity, {"velocity": velocity}
