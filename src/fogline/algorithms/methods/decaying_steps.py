"""FedAvg with fewer local steps as training goes on."""

from __future__ import annotations

import math

from fogline.algorithms.methods.fedavg import FedAvg
from fogline.algorithms.registry import METHODS
from fogline.parameters import bounded
from fogline.training.context import RoundContext
from fogline.training.plan import Plan


@METHODS.add("decayingsteps")
class DecayingSteps(FedAvg):
    """Local steps that become fewer from round to round (Mills et al., 2023, arXiv 2305.09628).

    ``K_r = ceil(K_0 r^(-1/3))`` in round r, counted from 1: many steps are fast at first, and hold the model away from
    the optimum later. K_0 is what the job asks for, in steps or epochs.
    """

    power: float = bounded(1.0 / 3.0, ge=0)

    def work(self, plan: Plan, device: RoundContext) -> Plan:
        return plan.replace(steps=max(1, math.ceil(plan.steps * (device.round + 1) ** -self.power)))
