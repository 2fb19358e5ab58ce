"""Embeddings and layer normalisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from fogline.training.torch.kernels.base import Context, Kernel, kernel
from fogline.training.torch.updates import Sink


@kernel(nn.Embedding)
class Embedding(Kernel):
    """Rows of a table."""

    def __init__(self, module: nn.Module, places: Mapping[str, int], context: Context) -> None:
        super().__init__(module, places, context)
        self.weight = places["weight"]

    @classmethod
    def takes(cls, module: nn.Module) -> bool:
        """Plain tables only."""
        assert isinstance(module, nn.Embedding)
        plain = module.max_norm is None and module.padding_idx is None
        return plain and not module.scale_grad_by_freq and not module.sparse

    def forward(self, x: Tensor, weights: Sequence[Tensor], overwrite: bool) -> Tensor:
        """Tokens (k, B, T) to (k, B, T, d)."""
        table = weights[self.weight]
        clients, count = table.shape[:2]
        offsets = torch.arange(0, clients * count, count, device=x.device)
        self._rows = (x + offsets.view(-1, *([1] * (x.ndim - 1)))).view(-1)
        return table.view(clients * count, -1).index_select(0, self._rows).view(*x.shape, -1)

    def backward(self, gradient: Tensor, weights: Sequence[Tensor], sink: Sink, wanted: bool) -> Tensor | None:
        """Sums per token."""
        table = torch.zeros_like(weights[self.weight])
        width = table.shape[-1]
        table.view(-1, width).index_add_(0, self._rows, gradient.reshape(-1, width))
        sink.put(self.weight, table)
        return None
