"""Gradients of single examples, clipped and summed up, without a gradient of each one's own where layers are known.

The norm of an example's gradient by a dense layer is the product of the norms of what goes in and of the gradient of
what comes out; over several rows it is a sum of products of inner products (Goodfellow 2015, arXiv 1510.01799; Li et
al. 2022, arXiv 2110.05679). So a backward pass gives all norms. The sum of the clipped gradients comes from what that
pass has at hand, without a second one (Bu et al. 2023, arXiv 2210.00038).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fogline.training.torch.steps.optimizers import ByExample
from fogline.training.torch.steps.stacked_weights import flat

WITHIN = 1.0 - 1e-5
"""Of the norm that gradients are scaled down to, so that rounding does not carry them over it."""
CANCELLED = 2.0**-20
"""Of what the terms of a norm could come to at most: added where they may cancel, so that it is not rounded down."""

Summed = Callable[[Tensor], Tensor]
"""From a factor (k, B) of each example to a gradient (k, *shape)."""


def clip_factors(squares: Tensor, norm: float) -> Tensor:
    """What gradients of those squared norms are multiplied by, to be no longer than ``norm``; any shape.

    Zero where a norm is not finite: such an example counts nothing.
    """
    factors = (WITHIN * norm) / squares.sqrt().clamp_min(WITHIN * norm)
    return torch.where(torch.isfinite(squares), factors, torch.zeros_like(factors))


class GhostNorms(ByExample):
    """Sums up the squared norms of examples' gradients, and keeps what their weighted sum is made of.

    Args:
        weights: (k, *shape) of each tensor of the model.
        examples: B, of each device.
    """

    def __init__(self, weights: Sequence[Tensor], examples: int) -> None:
        self._weights, self._examples = weights, examples
        self.squares = weights[0].new_zeros(len(weights[0]), examples)
        """(k, B)"""
        self._sums: list[Summed | None] = [None] * len(weights)

    def sums(self, factors: Tensor) -> list[Tensor]:
        """The gradients (k, *shape) of all tensors: of each example's, times its factor, the sum."""
        return [summed(factors) for summed in self._sums if summed is not None]

    def product(self, index: int, left: Tensor, right: Tensor) -> None:
        """Left (k, m, b) times right (k, b, n)."""
        if left.shape[2] != self._examples:
            parts = left.unflatten(2, (self._examples, -1)).transpose(1, 2), right.unflatten(1, (self._examples, -1))
            self.windows(index, parts[0].unsqueeze(2), parts[1].transpose(2, 3).unsqueeze(2))
            return
        self.squares.addcmul_(left.square().sum(1), right.square().sum(2))
        self._sums[index] = lambda factors: torch.bmm(left * factors.unsqueeze(1), right)

    def windows(self, index: int, left: Tensor, right: Tensor) -> None:
        """Left (k, B, g, m, t) times right (k, B, g, n, t), transposed."""
        m, t = left.shape[-2:]
        n = right.shape[-2]
        if t * (m + n) >= m * n:
            self._keep(index, left @ right.transpose(-1, -2))
            return
        norms = (left.transpose(-1, -2) @ left).mul_(right.transpose(-1, -2) @ right).sum((-1, -2))
        most = left.square().sum((-1, -2)) * right.square().sum((-1, -2))
        self.squares += norms.add_(most, alpha=CANCELLED).clamp_min_(0.0).sum(2)
        like = self._weights[index]

        def summed(factors: Tensor) -> Tensor:
            scaled = left * factors.view(*factors.shape, 1, 1, 1)
            wide, high = (part.permute(0, 2, 3, 1, 4).flatten(3) for part in (scaled, right))
            return (wide @ high.transpose(-1, -2)).view_as(like)

        self._sums[index] = summed

    def rows(self, index: int, rows: Tensor) -> None:
        """Rows (k, b, *shape)."""
        if rows.shape[1] != self._examples:
            rows = rows.unflatten(1, (self._examples, -1)).sum(2)
        self._keep(index, rows)

    def lookup(self, index: int, places: Tensor, rows: Tensor) -> None:
        """Rows (k, B, t, d) that are added up at places (k, B, t)."""
        same = places.unsqueeze(-1) == places.unsqueeze(-2)
        most = rows.square().sum((-1, -2)) * rows.shape[2]
        norms = (rows @ rows.transpose(-1, -2)).mul_(same).sum((-1, -2))
        self.squares += norms.add_(most, alpha=CANCELLED).clamp_min_(0.0)
        table = self._weights[index]

        def summed(factors: Tensor) -> Tensor:
            clients, count, width = table.shape
            offsets = torch.arange(0, clients * count, count, device=places.device).view(-1, 1, 1)
            scaled = (rows * factors.view(*factors.shape, 1, 1)).reshape(-1, width)
            gradient = table.new_zeros(clients * count, width)
            return gradient.index_add_(0, (places + offsets).view(-1), scaled).view_as(table)

        self._sums[index] = summed

    def _keep(self, index: int, each: Tensor) -> None:
        """Each example's gradient (k, B, ...), where that takes less than to do without."""
        each = each.flatten(2)
        self.squares += each.square().sum(2)
        like = self._weights[index]
        self._sums[index] = lambda factors: torch.bmm(factors.unsqueeze(1), each).view_as(like)


def squares_of(gradients: Sequence[Tensor]) -> Tensor:
    """Squared norms (B,) of examples' gradients, (B, *shape) each."""
    return torch.stack([flat(gradient).square().sum(1) for gradient in gradients]).sum(0)


def weighted_sum(gradients: Sequence[Tensor], factors: Tensor) -> list[Tensor]:
    """Examples' gradients (B, *shape), times their factors (B,), summed up to (1, *shape).

    What has factor zero is left out, whatever numbers it has.
    """
    if not bool(factors.all()):
        kept = factors.nonzero()[:, 0]
        gradients, factors = [gradient[kept] for gradient in gradients], factors[kept]
    return [(factors @ flat(gradient)).view(1, *gradient.shape[1:]) for gradient in gradients]
