"""Scaffnew."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fogline.algorithms.base import ClientUpdate, Weighted
from fogline.algorithms.checks import check_plain_sgd
from fogline.algorithms.methods.fedavg import FedAvg
from fogline.algorithms.registry import METHODS
from fogline.parameters import bounded
from fogline.params import State
from fogline.settings import LocalSettings
from fogline.training.context import DeviceContext, RoundContext
from fogline.training.method import Array, Arrays
from fogline.training.plan import Plan


@METHODS.add("scaffnew")
class Scaffnew(FedAvg):
    """Communicates after a random number of steps, the same for all (Mishchenko et al., 2022, arXiv 2202.09357).

    Step ``x_i -= eta (g_i - h_i)``; after each step, with probability p, all take the mean of the x_i and
    ``h_i += p / eta (mean - x_i)`` (algorithm 2). So a round has a number of steps drawn from the geometric
    distribution, one draw for all its devices. Local training is plain SGD.

    A device sees the mean when it gets the next model, and corrects h_i then. The paper has all devices in every
    round; one that sat out corrects itself by the model it sees next. The mean is over devices, not examples. A fog
    has no rounds of its own: h_i adds up to zero over all devices only. Memory: two models per device.
    """

    p: float = bounded(0.1, gt=0, le=1)

    affine: ClassVar[bool] = True
    movement_only: ClassVar[bool] = True
    inner_rounds: ClassVar[bool] = False

    def check_local(self, local: LocalSettings) -> None:
        check_plain_sgd(local, "its corrections are what a device moved, divided by the rate")

    def work(self, plan: Plan, device: RoundContext) -> Plan:
        return plan.replace(steps=device.common_rng.geometric(self.p))

    def prepare(self, device: DeviceContext) -> State:
        local = device.local
        if "h" not in local:
            return {"h": np.zeros_like(device.start)}
        return {"h": local["h"] + (self.p / local["rate"]) * (device.start - local["end"])}

    def adjust_gradient(self, gradient: Array, weights: Array, start: Array, local: Arrays, received: Arrays) -> Array:
        return gradient - local["h"]

    def report(self, device: DeviceContext) -> ClientUpdate:
        rate = np.array([device.plan.learning_rate], device.end.dtype)
        kept = {"h": device.local["h"], "end": device.end, "rate": rate}
        return ClientUpdate({"delta": Weighted(device.end - device.start, 1.0)}, kept)
