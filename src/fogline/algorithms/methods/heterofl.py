"""HeteroFL."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import numpy as np

from fogline.algorithms.base import ClientUpdate, Weighted
from fogline.algorithms.methods.fedavg import FedAvg
from fogline.algorithms.registry import METHODS
from fogline.params import State
from fogline.training.context import DeviceContext, LocalBatch
from fogline.training.method import Array
from fogline.training.sub_models import ModelCutter, SubModel


@METHODS.add("heterofl")
class HeteroFL(FedAvg):
    """Devices train narrower models, the first units of every layer (Diao, Ding & Tarokh, ICLR 2021, 2010.01264)."""

    widths: tuple[float, ...] = (0.5, 0.25, 0.125, 0.0625)

    def sub_models(self, model: ModelCutter) -> Iterable[SubModel]:
        return (model.narrow(width) for width in self.widths)
