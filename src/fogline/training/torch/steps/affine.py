"""Reads the coefficients of an affine adjustment off the hook itself, so that it can be fused into the update."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fogline.training.choosing.affinity import BROKEN
from fogline.training.hook_calls import Watched, wrong
from fogline.training.method import LocalMethod
from fogline.training.torch.steps.loss_gradient import Vectors
from fogline.training.torch.steps.optimizers import Affine
from fogline.training.torch.steps.stacked_weights import split_rows

TOLERANCE = 1e-5
ROUGHLY = 1e-3
"""Of a gradient's own size, beside the rounding of what is added to it."""
SMALLEST, LARGEST = -4.0, 4.0
"""Powers of ten, of the gradients that coefficients are tried on."""
SPREAD = 997.0
"""So often they go from the smallest to the largest."""


def affine(method: LocalMethod, vectors: Vectors, weights: Sequence[Tensor]) -> Affine:
    """``adjust_gradient`` as ``gradient + a * weights + b``: b at zero gradient and weights, a from weights of one.

    Where a is the same number for all parameters and devices, that number.

    Raises:
        CodeError: with the states that devices have now, it is no such adjustment.
    """
    shape = (1, vectors.start.shape[-1])
    zero, one = vectors.start.new_zeros(shape), vectors.start.new_ones(shape)
    adjustment = method.adjust_gradient
    shift = adjustment(zero, zero, vectors.start, vectors.local, vectors.received)
    factor = adjustment(zero, one, vectors.start, vectors.local, vectors.received) - shift
    _hold(method, vectors, factor, shift)
    number = _one_number(method, vectors, factor, shift, zero, one)
    return Affine(
        split_rows(_as_rows(factor), _shapes(weights, factor)) if number is None else number,
        split_rows(_as_rows(shift), _shapes(weights, shift)) if bool(shift.any()) else None,
    )


def _hold(method: LocalMethod, vectors: Vectors, factor: Tensor, shift: Tensor) -> None:
    """Tries the coefficients on gradients of all sizes: states differ between devices, and from round to round."""
    size = vectors.start.shape[-1]
    gradient = vectors.start.new_ones(size).cumsum(0) / size  # In (0, 1].
    weights = gradient - 0.5
    gradient = (10.0 ** (SMALLEST + (LARGEST - SMALLEST) * (gradient * SPREAD % 1.0)) * weights.sign()).unsqueeze(0)
    adjusted = method.adjust_gradient(gradient, weights.unsqueeze(0), vectors.start, vectors.local, vectors.received)
    pull = factor * weights
    apart = (adjusted - gradient - pull - shift).abs()
    terms = [pull, shift, vectors.start, *vectors.local.values(), *vectors.received.values()]
    rounding = TOLERANCE * torch.stack([term.abs().max() for term in terms if term.numel()]).max()
    if bool((apart > ROUGHLY * (gradient.abs() + pull.abs()) + rounding).any()):
        raise wrong(method.watched if isinstance(method, Watched) else method, "adjust_gradient", BROKEN)


def _one_number(
    method: LocalMethod, vectors: Vectors, factor: Tensor, shift: Tensor, zero: Tensor, one: Tensor
) -> float | None:
    """a, if it is one number: exact from zeroed vectors, and found again (to rounding) with the true ones."""
    nothing = (
        torch.zeros_like(vectors.start),
        {name: torch.zeros_like(rows) for name, rows in vectors.local.items()},
        {name: torch.zeros_like(rows) for name, rows in vectors.received.items()},
    )
    exact = method.adjust_gradient(zero, one, *nothing) - method.adjust_gradient(zero, zero, *nothing)
    low, high = exact.aminmax()
    scale = torch.maximum(shift.abs().max(), low.abs())
    same = (low == high) & ((factor - low).abs().max() <= TOLERANCE * scale)
    return float(low) if bool(same) else None


def _as_rows(rows: Tensor) -> Tensor:
    return rows if rows.ndim == 2 else rows.unsqueeze(0)


def _shapes(weights: Sequence[Tensor], rows: Tensor) -> list[Tensor]:
    """Blocks whose leading axis is that of ``rows`` and not K."""
    clients = len(_as_rows(rows))
    return [w[:clients] for w in weights]
