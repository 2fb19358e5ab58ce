"""FedAvg."""

from __future__ import annotations

from typing import ClassVar

from fogline.algorithms.base import Algorithm


class FedAvg(Algorithm):
    """Average of the locally trained models, weighted by their number of examples (McMahan et al., 2017).

    ``x += sum_i n_i (x_i - x) / sum_i n_i``. On a tree with one round per tier the sums merge on their way up,
    and the result is that of a star.
    """

    columnwise: ClassVar[bool] = True
