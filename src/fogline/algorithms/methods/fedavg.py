"""FedAvg."""

from __future__ import annotations

from fogline.algorithms.base import Algorithm
from fogline.algorithms.registry import METHODS


@METHODS.add("fedavg")
class FedAvg(Algorithm):
    """Average of the locally trained models, weighted by their number of examples (McMahan et al., 2017).

    ``x += sum_i n_i (x_i - x) / sum_i n_i``. On a tree with one round per tier the sums merge on their way up,
    and the result is that of a star.
    """
