"""MOON."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from fogline.algorithms.base import ClientUpdate
from fogline.algorithms.methods.fedavg import FedAvg
from fogline.algorithms.registry import METHODS
from fogline.parameters import bounded
from fogline.params import State
from fogline.training.context import DeviceContext, LocalBatch
from fogline.training.method import Array


@METHODS.add("moon")
class Moon(FedAvg):
    """Pulls features to the global model's, away from the device's last ones (Li et al., 2021).

    Adds ``-mu log(e^(s(z, zg)/T) / (e^(s(z, zg)/T) + e^(s(z, zp)/T)))`` to the loss: z, zg and zp are a batch's
    features under the current, the received and the device's previous model, s is the cosine (arXiv 2103.16257).
    The paper tries mu in {0.1, 1, 5, 10}. In a device's first round zp is zg, and the term is a constant.

    Memory: one model per device. Two more forward passes a step.
    """

    movement_only: ClassVar[bool] = True
    mu: float = bounded(1.0, ge=0)
    temperature: float = bounded(0.5, gt=0)

    def prepare(self, device: DeviceContext) -> State:
        return device.local if "previous" in device.local else {"previous": device.start}

    def adjust_loss(self, loss: Array, batch: LocalBatch, device: DeviceContext) -> Array:
        near = cosine(batch.features, device.features_at(device.start, batch))
        far = cosine(batch.features, device.features_at(device.local["previous"], batch))
        contrast = _log(1.0 + math.e ** ((far - near) / self.temperature))
        return loss + self.mu * contrast.mean()

    def report(self, device: DeviceContext) -> ClientUpdate:
        return super().report(device)._replace(local={"previous": device.end})


def cosine(a: Array, b: Array) -> Array:
    """Cosine of the rows of two arrays (B, d), as (B,)."""
    return (a * b).sum(-1) / (((a * a).sum(-1) * (b * b).sum(-1)) ** 0.5 + 1e-8)


def _log(x: Array) -> Array:
    return np.log(x) if isinstance(x, np.ndarray) else x.log()
