"""HetLoRA."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import numpy as np

from fogline.aggregation import Folded
from fogline.algorithms.base import AggregatorContext, ClientUpdate, Moved, Weighted
from fogline.algorithms.low_rank import LowRankMethod, smaller_ranks
from fogline.algorithms.registry import METHODS
from fogline.params import Spec, State, Vector
from fogline.params.low_rank import low_rank_of
from fogline.training.context import DeviceContext
from fogline.training.sub_models import ModelCutter, SubModel


@METHODS.add("hetlora")
class HetLoRA(LowRankMethod):
    """Devices have the first rows of A and columns of B that their share has room for (Cho et al., EMNLP 2024,
    arXiv 2401.06432).

    Down go factors cut to a device's rank; what comes up is padded with zeros: ``B = sum_i p_i [B_i 0]``, and A alike.
    ``p_i`` goes by ``||B_i A_i||`` (Frobenius, over all layers), so that a device that has learned more counts more.
    A rank is what a device's share says; with the paper's pruning of ranks, the method is ``hetlora_pruned``.

    Args:
        ranks: of smaller models; empty: a half, a quarter, … of the model's own.
    """

    ranks: tuple[int, ...] = ()

    alike: ClassVar[bool] = False
    inner_rounds: ClassVar[bool] = False

    def sub_models(self, model: ModelCutter) -> Iterable[SubModel]:
        return smaller_ranks(model, self.ranks)

    def report(self, device: DeviceContext) -> ClientUpdate:
        return ClientUpdate(
            {"delta": Weighted(device.end - device.start, learned(device.spec, device.end))}, device.local
        )

    def server_update(self, model: Vector, folded: Folded, state: State, group: AggregatorContext) -> Moved:
        weights = np.asarray(folded.weights["delta"], np.float64)
        total = weights.max()  # The first row and column, which everybody has.
        if not total:
            return model, state
        return (folded.total("delta") + weights * model) / total, state


def learned(spec: Spec, model: Vector) -> float:
    """``||B A||`` of a model (P,): the Frobenius norm over all layers."""
    squares = 0.0
    for layer in low_rank_of(spec):
        a, b = (model[spec.slices[entry.name]] for entry in (layer.a, layer.b))
        product = b.reshape(-1, layer.rank) @ a.reshape(layer.rank, -1)
        squares += float(np.vdot(product, product))
    return squares**0.5
