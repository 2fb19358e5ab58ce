"""Embeddings, positions and layer normalisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fogline.training.torch.kernels.base import Context, Kernel, kernel
from fogline.training.torch.models import Positions
from fogline.training.torch.steps.optimizers import ByExample, Sink


@kernel(nn.Embedding)
class Embedding(Kernel):
    """Rows of a table, one for each token."""

    def __init__(self, module: nn.Module, places: Mapping[str, int], context: Context) -> None:
        super().__init__(module, places, context)
        self.weight = places["weight"]

    @classmethod
    def takes(cls, module: nn.Module) -> bool:
        """Whether the layer is one that this kernel computes: a plain table."""
        assert isinstance(module, nn.Embedding)
        plain = module.max_norm is None and module.padding_idx is None
        return plain and not module.scale_grad_by_freq and not module.sparse

    def forward(self, x: Tensor, weights: Sequence[Tensor], overwrite: bool) -> Tensor:
        """Tokens (k, B, T) to (k, B, T, d)."""
        table = weights[self.weight]
        clients, count = table.shape[:2]
        self._tokens = x
        offsets = torch.arange(0, clients * count, count, device=x.device)
        self._rows = (x + offsets.view(-1, *([1] * (x.ndim - 1)))).view(-1)
        return table.reshape(clients * count, -1).index_select(0, self._rows).view(*x.shape, -1)

    def backward(self, gradient: Tensor, weights: Sequence[Tensor], sink: Sink, wanted: bool) -> Tensor | None:
        """Sums the gradients of each token's row."""
        if isinstance(sink, ByExample):
            shape = gradient.shape[:2]
            sink.lookup(self.weight, self._tokens.reshape(*shape, -1), gradient.reshape(*shape, -1, gradient.shape[-1]))
            return None
        table = gradient.new_zeros(weights[self.weight].shape)
        width = table.shape[-1]
        table.view(-1, width).index_add_(0, self._rows, gradient.reshape(-1, width))
        sink.put(self.weight, table)
        return None


@kernel(Positions)
class PositionsKernel(Kernel):
    """x plus a row for each place, from a table that it is handed."""

    def __init__(self, module: nn.Module, places: Mapping[str, int], context: Context) -> None:
        super().__init__(module, places, context)
        self.table = places["1"]

    def forward(self, x: Tensor, weights: Sequence[Tensor], overwrite: bool) -> Tensor:
        """(k, B, T, d), T at most the table's length."""
        rows = weights[self.table][:, : x.shape[2]].unsqueeze(1)
        return x.add_(rows) if overwrite else x + rows

    def backward(self, gradient: Tensor, weights: Sequence[Tensor], sink: Sink, wanted: bool) -> Tensor | None:
        """Sums over the batch; zero beyond T."""
        unused = weights[self.table].shape[1] - gradient.shape[2]
        if isinstance(sink, ByExample):
            sink.rows(self.table, F.pad(gradient, (0, 0, 0, unused)))
            return gradient
        rows = gradient.sum(1)
        sink.put(self.table, F.pad(rows, (0, 0, 0, unused)) if unused else rows)
        return gradient


@kernel(nn.LayerNorm)
class LayerNorm(Kernel):
    """Mean zero and variance one on the last axis, then a factor and a shift, where the module has them.

    PyTorch's kernels do all of it for one device; several are normalised together and get their own factors after.
    """

    def __init__(self, module: nn.Module, places: Mapping[str, int], context: Context) -> None:
        super().__init__(module, places, context)
        assert isinstance(module, nn.LayerNorm)
        self.width = list(module.normalized_shape)
        self.epsilon = module.eps
        self.factor = places.get("weight")
        self.shift = places.get("bias")
        # PyTorch's kernel is vectorised only with a factor and a shift.
        like = module.weight if self.factor is not None else None
        self.neutral = (None, None) if like is None else (torch.ones_like(like), torch.zeros_like(like))

    @classmethod
    def takes(cls, module: nn.Module) -> bool:
        """Whether the layer is one that this kernel computes: it normalises one axis."""
        return isinstance(module, nn.LayerNorm) and len(module.normalized_shape) == 1

    def forward(self, x: Tensor, weights: Sequence[Tensor], overwrite: bool) -> Tensor:
        """Over devices and examples at once."""
        self._x = x
        own = self._own(weights)
        y, self._mean, self._scale = torch.ops.aten.native_layer_norm(
            x, self.width, *(own or self.neutral), self.epsilon
        )
        if own or self.factor is None:
            return y
        self._y = y
        factor = _along(weights[self.factor], y)
        return y * factor if self.shift is None else torch.addcmul(_along(weights[self.shift], y), y, factor)

    def backward(self, gradient: Tensor, weights: Sequence[Tensor], sink: Sink, wanted: bool) -> Tensor | None:
        """The gradient, by PyTorch's own kernel."""
        if isinstance(sink, ByExample):
            return self._by_example(gradient, weights, sink, wanted)
        own = self._own(weights)
        inner, factor, shift = gradient, None, None
        if not own and self.factor is not None:
            inner = gradient * _along(weights[self.factor], gradient)
            factor, shift = (gradient * self._y).flatten(1, -2).sum(1), gradient.flatten(1, -2).sum(1)
        inputs, *parts = torch.ops.aten.native_layer_norm_backward(
            inner, self._x, self.width, self._mean, self._scale, *(own or self.neutral), [wanted, bool(own), bool(own)]
        )
        if own:
            factor, shift = (part.unsqueeze(0) for part in parts)
        if self.factor is not None and factor is not None:
            sink.put(self.factor, factor)
        if self.shift is not None and shift is not None:
            sink.put(self.shift, shift)
        return inputs

    def _by_example(self, gradient: Tensor, weights: Sequence[Tensor], sink: ByExample, wanted: bool) -> Tensor | None:
        inner = gradient
        if self.factor is not None:
            inner = gradient * _along(weights[self.factor], gradient)
            sink.rows(self.factor, (gradient * (self._x - self._mean) * self._scale).flatten(1, -2))
        if self.shift is not None:
            sink.rows(self.shift, gradient.flatten(1, -2))
        inputs, *_ = torch.ops.aten.native_layer_norm_backward(
            inner, self._x, self.width, self._mean, self._scale, *self.neutral, [wanted, False, False]
        )
        return inputs

    def _own(self, weights: Sequence[Tensor]) -> tuple[Tensor, Tensor] | None:
        """Factor and shift of a device that trains alone."""
        if not self.context.single or self.factor is None or self.shift is None:
            return None
        return weights[self.factor][0], weights[self.shift][0]


def _along(rows: Tensor, x: Tensor) -> Tensor:
    """Rows (k, d) as they meet x (k, ..., d)."""
    return rows.view(rows.shape[0], *([1] * (x.ndim - 2)), -1)
