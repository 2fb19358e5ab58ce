"""Federated averaging, and the two methods that are it under another schedule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from fogline.algorithms.base import Algorithm


class FedAvg(Algorithm):
    """Average of the locally trained models, weighted by their number of examples (McMahan et al., 2017).

    ``x += sum_i n_i (x_i - x) / sum_i n_i``. On a tree with one round per tier the sums merge on their way up,
    and the result is that of a star.
    """


class FedSGD(FedAvg):
    """One full-batch gradient step per round (McMahan et al., 2017, section 2).

    ``x -= eta * sum_i n_i g_i / sum_i n_i``: FedAvg with one local step on all examples, which
    ``local_defaults`` set. A job that sets them otherwise gets FedAvg.
    """

    local_defaults: ClassVar[Mapping[str, Any]] = {"batch_size": None, "steps": 1}


class HierFAVG(FedAvg):
    """FedAvg on a tree: fogs average every k1 steps, the cloud every k1 k2 (Liu et al., 2020, arXiv 1905.06641).

    k1 is ``local.steps`` (or what the epochs make), k2 is ``rounds`` of the fog tier. The paper's MNIST runs
    take k1 k2 = 60: (60, 1), (30, 2), (15, 4), (6, 10).
    """
