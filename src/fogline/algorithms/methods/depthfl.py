"""DepthFL."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import permutations

from fogline.algorithms.distillation import divergence
from fogline.algorithms.methods.fedavg import FedAvg
from fogline.algorithms.registry import METHODS
from fogline.parameters import bounded
from fogline.training.context import DeviceContext, LocalBatch
from fogline.training.method import Array
from fogline.training.sub_models import ModelCutter, SubModel


@METHODS.add("depthfl")
class DepthFL(FedAvg):
    """Weaker devices train the first layers, with heads that teach each other (Kim et al., ICLR 2023).

    The model gives an output at each depth, from a head of its own, the deepest last. A device has the first d of them
    and what they rest on, and its loss is ``sum_i CE_i + beta / (d - 1) sum_i sum_{j != i} KL(head_i, head_j)``, with
    head j the teacher (equation 2; softened by tau, which the paper leaves at 1). Aggregation is over those who have a
    number. Heads of all depths stay in the model. The paper judges the mean of their outputs, as
    ``Task(..., answer="mean")`` does; else the deepest is judged. For classification.

    Heads that have learned nothing yet have nothing to teach: in round r, which the device's parent counts from 0, beta
    is ``beta exp(-5 (1 - r / ramp_up)^2)``, and from round ``ramp_up`` on all of it (the ramp-up of Laine & Aila, ICLR
    2017, arXiv 1610.02242; over 300 of 1000 rounds in the authors' code for Flower).

    Args:
        beta: weight of what heads teach each other.
        tau: temperature of it.
        ramp_up: rounds over which beta rises; 0: it is there from the first.
    """

    beta: float = bounded(1.0, ge=0)
    tau: float = bounded(1.0, gt=0)
    ramp_up: int = bounded(300, ge=0, le=10**6)

    def sub_models(self, model: ModelCutter) -> Iterable[SubModel]:
        return (model.shallow(exits) for exits in range(model.exits - 1, 0, -1))

    def adjust_loss(self, loss: Array, batch: LocalBatch, device: DeviceContext) -> Array:
        heads = batch.heads
        loss = len(heads) * loss  # The task's is the mean over the heads.
        weight = self.beta_in(device.round)
        for learner, teacher in permutations(heads, 2):
            loss = loss + weight / (len(heads) - 1) * divergence(learner, teacher, self.tau)
        return loss

    def beta_in(self, round: int) -> float:
        """Beta in a round, counted from 0."""
        left = 1.0 - round / self.ramp_up if round < self.ramp_up else 0.0
        return self.beta * math.exp(-5.0 * left**2)
