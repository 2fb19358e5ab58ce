"""FedEx-LoRA."""

from __future__ import annotations

import numpy as np

from fogline.aggregation import Folded
from fogline.algorithms.base import AggregatorContext, Moved
from fogline.algorithms.low_rank import MovingBase, mean_product, sent_in, sent_part
from fogline.algorithms.registry import METHODS
from fogline.params import State, Vector
from fogline.params.low_rank import low_rank_of


@METHODS.add("fedexlora")
class FedExLoRA(MovingBase):
    """Means of A and of B, and what they miss is added to the weight (Singhal et al., ACL 2025, arXiv 2410.09432).

    ``W += s (sum_i p_i B_i A_i - B A)`` with ``B = sum_i p_i B_i``, ``A = sum_i p_i A_i``, so that ``W + s B A`` is
    exactly the mean of the devices' ``W + s B_i A_i``. As all set out from the same factors, the bracket is
    ``sum_i p_i dB_i dA_i - dB dA`` of how far these went. The weights under adapters go down in every round, the
    factors alone go up; a fog hands on the factors of each of its devices.
    """

    def server_update(self, model: Vector, folded: Folded, state: State, group: AggregatorContext) -> Moved:
        spec, sent = group.spec, sent_in(folded, group.spec)
        whole = [one for one in sent if one.moved.size == sent_part(spec).count]
        if not whole:
            return model, state
        total = sum(one.share for one in whole)
        shares = [one.share / total for one in whole]
        moved, part = model.copy(), sent_part(spec)
        mean = np.sum([share * one.moved for share, one in zip(shares, whole, strict=True)], axis=0)
        part.lay(part.cut(model) + mean, moved)
        for layer in low_rank_of(spec):
            factors = [(share, *one.matrices(layer)) for share, one in zip(shares, whole, strict=True)]
            b = np.sum([share * db for share, db, _ in factors], axis=0)
            a = np.sum([share * da for share, _, da in factors], axis=0)
            missed = mean_product(factors) - b @ a
            moved[spec.slices[layer.weight]] += model[spec.slices[layer.scale]] * missed.ravel()
        return moved, state
