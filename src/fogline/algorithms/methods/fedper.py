"""FedPer."""

from __future__ import annotations

from collections.abc import Collection

from fogline.algorithms.methods.fedavg import FedAvg
from fogline.algorithms.registry import METHODS
from fogline.params import Spec


@METHODS.add("fedper")
class FedPer(FedAvg):
    """The body is shared, the last layers are each device's own (Arivazhagan et al., 2019, arXiv 1912.00818).

    Devices train base and personal layers together, and the base is averaged as FedAvg does it. ``private`` names the
    personal layers (``["head.*"]``); if it is empty, it is the last layer that trains, the classifier.
    """

    def private_of(self, spec: Spec) -> Collection[str]:
        return super().private_of(spec) if self.private else spec.last_layer
