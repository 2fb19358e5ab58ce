"""Causal self-attention."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from fogline.training.torch.kernels.base import Context, Kernel, kernel
from fogline.training.torch.models import CausalAttention
from fogline.training.torch.steps.optimizers import Sink


@kernel(CausalAttention)
class Attention(Kernel):
    """Softmax of q k^T over the places up to one's own, times v, in every head.

    Written out: at the lengths that devices train on, batched products and one softmax take two thirds of the
    time of PyTorch's fused kernel on a CPU.
    """

    def __init__(self, module: nn.Module, places: Mapping[str, int], context: Context) -> None:
        super().__init__(module, places, context)
        assert isinstance(module, CausalAttention)
        self.heads = module.heads
        self._mask = torch.empty(0, 0)  # Made for the first input.

    def forward(self, x: Tensor, weights: Sequence[Tensor], overwrite: bool) -> Tensor:
        """(k, B, T, 3D) to (k, B, T, D)."""
        self._q, self._k, self._v = self._split(x, 3)
        self._scale = 1.0 / math.sqrt(self._q.shape[-1])
        scores = torch.baddbmm(self._causal(x), self._q, self._k.transpose(1, 2), alpha=self._scale)
        self._shares = torch.softmax(scores, -1)
        return self._join(torch.bmm(self._shares, self._v).unsqueeze(0), x.shape)

    def backward(self, gradient: Tensor, weights: Sequence[Tensor], sink: Sink, wanted: bool) -> Tensor | None:
        """dv = P^T dy; dP = dy v^T; dS = P (dP - sum of P dP); dq = dS k; dk = dS^T q."""
        (dy,) = self._split(gradient, 1)
        inputs = dy.new_empty(3, *dy.shape)
        dq, dk, dv = inputs
        torch.bmm(self._shares.transpose(1, 2), dy, out=dv)
        shares = torch.bmm(dy, self._v.transpose(1, 2))
        scores = torch.ops.aten._softmax_backward_data(shares, self._shares, -1, shares.dtype)
        torch.baddbmm(dq, scores, self._k, beta=0, alpha=self._scale, out=dq)
        torch.baddbmm(dk, scores.transpose(1, 2), self._q, beta=0, alpha=self._scale, out=dk)
        return self._join(inputs, gradient.shape)

    def _causal(self, x: Tensor) -> Tensor:
        """(T, T): zero up to one's own place, minus infinity after."""
        length = x.shape[2]
        if self._mask.shape[0] != length:
            self._mask = x.new_full((length, length), -math.inf).triu(1)
        return self._mask

    def _split(self, x: Tensor, parts: int) -> Tensor:
        """(k, B, T, parts D) to (parts, k B heads, T, d), contiguous."""
        split = x.reshape(-1, x.shape[2], parts, self.heads, x.shape[3] // (parts * self.heads))
        return split.permute(2, 0, 3, 1, 4).reshape(parts, -1, x.shape[2], split.shape[-1])

    def _join(self, x: Tensor, shape: torch.Size) -> Tensor:
        """The inverse, for inputs or outputs of (k, B, T, ...)."""
        split = x.view(x.shape[0], -1, self.heads, *x.shape[2:])
        return split.permute(1, 3, 0, 2, 4).reshape(*shape[:3], -1)
