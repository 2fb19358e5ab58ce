"""FedBN."""

from __future__ import annotations

from collections.abc import Collection

from fogline.algorithms.methods.fedavg import FedAvg
from fogline.algorithms.registry import METHODS
from fogline.params import Spec
from fogline.params.spec import layer_of


@METHODS.add("fedbn")
class FedBN(FedAvg):
    """Batch normalisation stays on each device, all else is averaged (Li et al., 2021, arXiv 2102.07623).

    For devices whose inputs differ: each keeps the scale, shift and running statistics of every layer that has running
    statistics. What ``private`` names is kept besides. A device that never trained has the first model's.
    """

    def private_of(self, spec: Spec) -> Collection[str]:
        layers = {layer_of(name) for name in spec.slices if name.endswith(".running_mean")}
        if not layers:
            raise ValueError("the model has no layer with running statistics (batch normalisation)")
        return [*(name for name in spec.slices if layer_of(name) in layers), *super().private_of(spec)]
