"""HetLoRA whose devices prune their ranks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fogline.algorithms.base import ClientUpdate, Weighted
from fogline.algorithms.methods.hetlora import HetLoRA, learned
from fogline.algorithms.registry import METHODS
from fogline.parameters import bounded
from fogline.params import Spec, State, Vector
from fogline.params.low_rank import low_rank_of
from fogline.training.context import DeviceContext
from fogline.training.method import Array, Arrays

RANK, TAIL_A, TAIL_B = "rank", "tail_a", "tail_b"
Mask = npt.NDArray[np.bool_]


@METHODS.add("hetlora_pruned")
class HetLoRAPruned(HetLoRA):
    """HetLoRA with self-pruning of ranks (Cho et al., EMNLP 2024, arXiv 2401.06432).

    Of its rank r a device has a tail: the rows of A and columns of B behind the first ``floor(gamma r)``, at least one
    stays. It trains ``F_i + lambda ||B_tail|| ||A_tail||`` (Frobenius, over all layers together). If that product is
    smaller at the end of a round than it was at its start, the device prunes: its rank is ``floor(gamma r)`` from then
    on, and what it sends has zeros in the tail, of this round already. A rank that was pruned does not come back.

    A pruned rank is zero in A and in B, where no gradient moves it, so a device computes what it would with the lower
    rank. Messages stay as long as its share says. The defaults are our choice: up to a rank of 100, that ``decay``
    prunes one rank at a time.

    Args:
        decay: gamma, the part of its rank that a device keeps when it prunes.
        penalty: lambda, how much the tail is held down.
    """

    decay: float = bounded(0.99, gt=0, lt=1)
    penalty: float = bounded(0.01, ge=0)

    def prepare(self, device: DeviceContext) -> State:
        spec, kind, rank = device.spec, device.model.dtype, self._rank(device)
        a, b = masks(spec, self._kept(rank), rank)
        return {RANK: np.array([rank], kind), TAIL_A: a.astype(kind), TAIL_B: b.astype(kind)}

    def begin(self, device: DeviceContext) -> Vector:
        return without(device.model, device.spec, self._rank(device))

    def adjust_gradient(self, gradient: Array, weights: Array, start: Array, local: Arrays, received: Arrays) -> Array:
        a, b = weights * local[TAIL_A], weights * local[TAIL_B]
        norm_a, norm_b = norm(a), norm(b)
        # Where one factor is zero, so is the subgradient that is taken of its norm.
        pull = norm_b * a / (norm_a + (norm_a == 0)) + norm_a * b / (norm_b + (norm_b == 0))
        return gradient + self.penalty * pull

    def report(self, device: DeviceContext) -> ClientUpdate:
        rank, (a, b) = self._rank(device), (device.local[TAIL_A], device.local[TAIL_B])
        before, after = (float((norm(vector * a) * norm(vector * b)).item()) for vector in (device.start, device.end))
        rank = self._kept(rank) if after < before else rank
        end = without(device.end, device.spec, rank)
        # A rank that this device has pruned is zero to it: zeros are what its factors are padded with.
        moved = Weighted(end - device.model, learned(device.spec, end))
        return ClientUpdate({"delta": moved}, {RANK: np.array([rank], end.dtype)})

    def _rank(self, device: DeviceContext) -> int:
        highest = max(layer.rank for layer in low_rank_of(device.spec))
        return min(highest, int(device.local[RANK][0])) if RANK in device.local else highest

    def _kept(self, rank: int) -> int:
        return max(1, int(self.decay * rank))


def norm(vector: Array) -> Array:
    """Of vectors (..., P), (..., 1)."""
    return ((vector * vector).sum(-1) ** 0.5)[..., None]


def without(vector: Vector, spec: Spec, rank: int) -> Vector:
    """The vector (P,) with zeros in all ranks behind the first so many."""
    a, b = masks(spec, rank, None)
    return np.where(a | b, np.zeros_like(vector), vector)


def masks(spec: Spec, first: int, behind: int | None) -> tuple[Mask, Mask]:
    """Which numbers of a model (P,) are of A, and which of B, of the ranks from one to another; None: to the last."""
    a, b = np.zeros(spec.trainable, np.bool_), np.zeros(spec.trainable, np.bool_)
    for layer in low_rank_of(spec):
        a[spec.slices[layer.a.name]].reshape(layer.rank, -1)[first:behind] = True
        b[spec.slices[layer.b.name]].reshape(layer.b.shape[0], layer.rank, -1)[:, first:behind] = True
    return a, b
