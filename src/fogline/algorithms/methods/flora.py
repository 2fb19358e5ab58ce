"""FLoRA."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from fogline.aggregation import Folded
from fogline.algorithms.base import AggregatorContext, Moved
from fogline.algorithms.low_rank import MovingBase, mean_product, sent_in, smaller_ranks
from fogline.algorithms.registry import METHODS
from fogline.params import State, Vector
from fogline.params.low_rank import low_rank_of
from fogline.training.sub_models import ModelCutter, SubModel


@METHODS.add("flora")
class FLoRA(MovingBase):
    """Factors are stacked and merged into the weight, of whatever ranks (Wang et al., NeurIPS 2024, arXiv 2409.05976).

    ``W += s sum_i p_i B_i A_i``, which is one product of the B side by side and the A one upon the other; then all
    begin anew: A is drawn, B is zero. A device of a smaller share has adapters of a lower rank. The paper sends the
    stacks down and lets devices merge them; here the merged weights go down, as good to a device that missed a round.
    What trains beside the adapters is averaged.

    Args:
        ranks: of smaller models; empty: a half, a quarter, … of the model's own.
    """

    ranks: tuple[int, ...] = ()

    def sub_models(self, model: ModelCutter) -> Iterable[SubModel]:
        return smaller_ranks(model, self.ranks)

    def server_update(self, model: Vector, folded: Folded, state: State, group: AggregatorContext) -> Moved:
        spec, sent, moved = group.spec, sent_in(folded, group.spec), model.copy()
        if not sent:
            return model, state
        factors = set[str]()
        rng = np.random.default_rng(group.job_round)
        for layer in low_rank_of(spec):
            at_a, at_b = spec.slices[layer.a.name], spec.slices[layer.b.name]
            factors |= {layer.a.name, layer.b.name}
            a = model[at_a].reshape(layer.rank, -1)
            b = model[at_b].reshape(-1, layer.rank)
            went = [(one.share, *one.matrices(layer)) for one in sent]
            ends = [(p, b[:, : db.shape[1]] + db, a[: len(da)] + da) for p, db, da in went]
            moved[spec.slices[layer.weight]] += model[spec.slices[layer.scale]] * mean_product(ends).ravel()
            reach = a.shape[1] ** -0.5  # As adapters are drawn.
            moved[at_a] = rng.uniform(-reach, reach, a.size)
            moved[at_b] = 0.0
        for name in (entry.name for entry in sent[0].spec.entries if entry.name not in factors):
            moved[spec.slices[name]] += sum(one.share * one.moved[one.spec.slices[name]] for one in sent)
        return moved, state
