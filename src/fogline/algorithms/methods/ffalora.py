"""FFA-LoRA."""

from __future__ import annotations

from collections.abc import Collection

from fogline.algorithms.low_rank import LowRankMethod
from fogline.algorithms.registry import METHODS
from fogline.params import Spec
from fogline.params.low_rank import low_rank_of


@METHODS.add("ffalora")
class FFALoRA(LowRankMethod):
    """Of the adapters B alone trains, and A stays as it was drawn (Sun et al., ICLR 2024, arXiv 2403.12313).

    ``sum_i p_i B_i A`` is ``(sum_i p_i B_i) A``: the mean of the factors is that of the products. What goes up is
    linear in what was learned, so noise, clipping and masks do to it what they do to any update; and about half of the
    adapters' numbers is frozen, and travels once.
    """

    def trained_of(self, spec: Spec) -> Collection[str]:
        still = {layer.a.name for layer in low_rank_of(spec)}
        return [name for name in super().trained_of(spec) if name not in still]
