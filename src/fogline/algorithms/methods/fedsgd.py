"""FedSGD."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from fogline.algorithms.methods.fedavg import FedAvg
from fogline.algorithms.registry import METHODS


@METHODS.add("fedsgd")
class FedSGD(FedAvg):
    """One full-batch gradient step per round (McMahan et al., 2017, section 2).

    ``x -= eta * sum_i n_i g_i / sum_i n_i``: FedAvg with one local step on all examples, which
    ``local_defaults`` set. A job that sets them otherwise gets FedAvg.
    """

    local_defaults: ClassVar[Mapping[str, Any]] = {"batch_size": None, "steps": 1}
