"""FedIT."""

from __future__ import annotations

from fogline.algorithms.low_rank import LowRankMethod
from fogline.algorithms.registry import METHODS


@METHODS.add("fedit")
class FedIT(LowRankMethod):
    """FedAvg of low-rank adapters, A and B each by itself (Zhang et al., ICASSP 2024, arXiv 2305.05644).

    ``A = sum_i p_i A_i`` and ``B = sum_i p_i B_i``. That is not the mean of what devices have learned:
    ``B A`` is not ``sum_i p_i B_i A_i``. FedEx-LoRA adds the difference, FFA-LoRA has none.
    """
