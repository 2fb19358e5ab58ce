"""Adaptive optimisers at the server: the mean update is its gradient."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from fogline.aggregation import Folded
from fogline.algorithms.base import AggregatorContext
from fogline.algorithms.methods.fedavg import FedAvg
from fogline.algorithms.registry import METHODS
from fogline.parameters import bounded
from fogline.params import State, Vector


class FedOpt(FedAvg):
    """What the adaptive methods share (Reddi et al., 2021, arXiv 2003.00295, algorithm 2).

    ``m = beta1 m + (1 - beta1) D``, v by the method from ``v = tau^2``, ``x += server_rate m / (sqrt(v) + tau)``,
    with D the mean update and no correction of the start. Memory: two models at the server.
    """

    columnwise: ClassVar[bool] = True

    server_rate: float = bounded(0.1, gt=0)
    beta1: float = bounded(0.9, ge=0, lt=1)
    beta2: float = bounded(0.99, ge=0, lt=1)
    tau: float = bounded(1e-3, gt=0)

    @abstractmethod
    def second(self, v: Vector, square: Vector) -> Vector:
        """The next second moment, from the last one and the squared mean update, (P,)."""

    def server_update(
        self, model: Vector, folded: Folded, state: State, group: AggregatorContext
    ) -> tuple[Vector, State]:
        delta = folded.mean("delta")
        m = self.beta1 * state.get("m", 0.0) + (1.0 - self.beta1) * delta
        v = self.second(state.get("v", np.full_like(model, self.tau**2)), delta * delta)
        return model + self.server_rate * m / (np.sqrt(v) + self.tau), {"m": m, "v": v}


@METHODS.add("fedadagrad")
class FedAdagrad(FedOpt):
    """Adagrad at the server: ``v += D^2``, without momentum by default (Reddi et al., 2021)."""

    columnwise: ClassVar[bool] = True

    beta1 = 0.0

    def second(self, v: Vector, square: Vector) -> Vector:
        return v + square


@METHODS.add("fedadam")
class FedAdam(FedOpt):
    """Adam at the server: ``v = beta2 v + (1 - beta2) D^2`` (Reddi et al., 2021)."""

    columnwise: ClassVar[bool] = True

    def second(self, v: Vector, square: Vector) -> Vector:
        return self.beta2 * v + (1.0 - self.beta2) * square


@METHODS.add("fedyogi")
class FedYogi(FedOpt):
    """Yogi at the server: ``v -= (1 - beta2) D^2 sign(v - D^2)`` (Reddi et al., 2021)."""

    columnwise: ClassVar[bool] = True

    def second(self, v: Vector, square: Vector) -> Vector:
        return v - (1.0 - self.beta2) * square * np.sign(v - square)
