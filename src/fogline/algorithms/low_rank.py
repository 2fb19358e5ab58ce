"""What methods on low-rank adapters share: which entries they train, and products that are added to the weights."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fogline.aggregation import Folded
from fogline.algorithms.base import Algorithm, ClientUpdate, Weighted
from fogline.params import Spec, Vector
from fogline.params.low_rank import LowRank, at_rank, held_names, low_rank_of
from fogline.params.shared_part import Pick
from fogline.settings import LocalSettings
from fogline.training.context import DeviceContext
from fogline.training.sub_models import ModelCutter, SubModel

FACTORS = "factors-"
"""Prefix of the names under which devices send their factors, each under one of its own."""


class LowRankMethod(Algorithm):
    """A method for models with low-rank adapters."""

    def trained_of(self, spec: Spec) -> Collection[str]:
        low_rank_of(spec)
        return super().trained_of(spec)


class MovingBase(LowRankMethod):
    """A method that adds products of factors to the weights under adapters.

    These weights are so part of the model that goes down in every round. Up go the factors alone: each device's under a
    random name of its own, so that a fog's partial result has the factors of all its devices, and no product is lost.
    """

    own_names: ClassVar[bool] = True
    alike: ClassVar[bool] = False
    inner_rounds: ClassVar[bool] = False
    movement: ClassVar[str] = ""

    def trained_of(self, spec: Spec) -> Collection[str]:
        trained, held = super().trained_of(spec), held_names(spec)
        for layer in low_rank_of(spec):
            if not {layer.weight, layer.scale} <= held:
                raise ValueError(
                    f"'{layer.a.name}' is not of an adapter of fogline.adapt, whose weight and scale the model has, "
                    "and the method adds to that weight; take 'fedit' or 'ffalora'"
                )
        return [*trained, *(held - set(trained))]

    def check_local(self, local: LocalSettings) -> None:
        if local.weight_decay:
            raise ValueError(
                f"local.weight_decay is {local.weight_decay:g}, which would shrink the weights under the adapters, and "
                "the method keeps them as they are received; leave it out"
            )

    def report(self, device: DeviceContext) -> ClientUpdate:
        moved = sent_part(device.spec).cut(device.end - device.start)
        name = f"{FACTORS}{device.rng.integers(2**63):016x}"
        return ClientUpdate({name: Weighted(moved, float(device.plan.samples))}, device.local)


def sent_entries(spec: Spec) -> Spec:
    """The layout of what devices send: all that trains but the weights under adapters, and the scales."""
    held = held_names(spec)
    return Spec(tuple(entry for entry in spec.entries if entry.trainable and entry.name not in held))


def sent_part(spec: Spec) -> Pick:
    """The numbers of the model (P,) that devices send."""
    return Pick.of((spec.slices[entry.name] for entry in sent_entries(spec).entries), spec.trainable)


@dataclass(frozen=True, slots=True)
class SentFactors:
    """What one device sent: how far its factors and the rest went, and its share in the round."""

    spec: Spec
    moved: Vector
    share: float

    def matrices(self, layer: LowRank) -> tuple[Vector, Vector]:
        """How far B (rows, r) and A (r, columns) of a layer went."""
        own = next(other for other in low_rank_of(self.spec) if other.a.name == layer.a.name)
        b, a = (self.moved[self.spec.slices[entry.name]].reshape(entry.shape[0], -1) for entry in (own.b, own.a))
        return b, a


def sent_in(folded: Folded, spec: Spec) -> list[SentFactors]:
    """What the devices of a round sent, in the order of their names. What has the length of no rank counts nothing.

    Args:
        folded: of the round.
        spec: of the whole model.
    """
    ranks = range(1, 1 + max(layer.rank for layer in low_rank_of(spec)))
    layouts = {layout.trainable: layout for layout in (sent_entries(at_rank(spec, rank)) for rank in ranks)}
    names = [name for name in sorted(folded.sums) if name.startswith(FACTORS) and folded.sums[name].size in layouts]
    weights = {name: float(np.max(folded.weights[name])) for name in names}
    total = sum(weights.values())
    return [
        SentFactors(layouts[folded.sums[name].size], folded.mean(name), weights[name] / total)
        for name in names
        if weights[name] > 0.0
    ]


def mean_product(sent: Iterable[tuple[float, Vector, Vector]]) -> Vector:
    """``sum_i p_i B_i A_i`` (rows, columns) of shares and factors: one product of the stacked ones."""
    listed = list(sent)
    return np.hstack([p * b for p, b, _ in listed]) @ np.vstack([a for _, _, a in listed])


def smaller_ranks(model: ModelCutter, ranks: tuple[int, ...]) -> Iterable[SubModel]:
    """The model with lower ranks, the highest first; where none are named, halves of halves of its own."""
    highest = max(layer.rank for layer in low_rank_of(model.spec))
    chosen = ranks or [highest >> k for k in range(1, highest.bit_length())]
    return (model.low_rank(rank) for rank in sorted(chosen, reverse=True) if rank < highest)
