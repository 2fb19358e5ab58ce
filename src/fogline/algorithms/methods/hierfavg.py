"""HierFAVG."""

from __future__ import annotations

from fogline.algorithms.methods.fedavg import FedAvg
from fogline.algorithms.registry import METHODS


@METHODS.add("hierfavg")
class HierFAVG(FedAvg):
    """FedAvg on a tree: fogs average every k1 steps, the cloud every k1 k2 (Liu et al., 2020, arXiv 1905.06641).

    k1 is ``local.steps`` (or what the epochs make), k2 is ``rounds`` of the fog tier. The paper's MNIST runs
    take k1 k2 = 60: (60, 1), (30, 2), (15, 4), (6, 10).
    """
