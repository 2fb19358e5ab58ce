"""LG-FedAvg."""

from __future__ import annotations

from collections.abc import Collection

from fogline.algorithms.methods.fedavg import FedAvg
from fogline.algorithms.registry import METHODS
from fogline.params import Spec


@METHODS.add("lgfedavg")
class LGFedAvg(FedAvg):
    """The head is shared, the body is each device's own (Liang et al., 2020, arXiv 2001.01523, algorithm 1).

    Devices train both together, and heads are averaged as FedAvg does it: little travels where the last layer is
    small. ``private`` names the body; if it is empty, it is all that trains but the last layer.
    """

    def private_of(self, spec: Spec) -> Collection[str]:
        if self.private:
            return super().private_of(spec)
        head = spec.last_layer
        return [entry.name for entry in spec.entries if entry.role != "frozen" and entry.name not in head]
