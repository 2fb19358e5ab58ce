"""Layers with a low-rank or a bottleneck adapter. They keep the names of the plain layer's parameters.

A layer becomes one by its class: what holds it, and hooks on it, stay as they are.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional


class LoraLayer(nn.Module):
    """A layer whose weight W counts as W + s B A (Hu et al., ICLR 2022, arXiv 2106.09685, equation 3).

    W is taken as a matrix (rows, columns): the first axis, and all others. ``lora_A`` is (r, columns), ``lora_B`` is
    (rows, r), ``lora_scale`` is s = alpha / r, (1,): part of the model, so that whoever has the model can merge it.
    No gradient goes to W, also where it counts among what trains.
    """

    plain: ClassVar[type[nn.Module]]
    """What the layer is when its adapter is merged."""
    weight: Tensor
    lora_A: nn.Parameter  # noqa: N815 - as the paper calls them
    lora_B: nn.Parameter  # noqa: N815
    lora_scale: nn.Parameter
    lora_dropout: float

    def insert(self, rank: int, alpha: float, dropout: float) -> None:
        """Put the adapter in: A is drawn, B is zero, so that the layer computes what it did.

        Raises:
            ValueError: a matrix of that size has no such rank.
        """
        weight = self.weight
        rows, columns = len(weight), weight[0].numel()
        if rank > min(rows, columns):
            raise ValueError(
                f"rank is {rank}, and its weight is {rows} by {columns}; take {min(rows, columns)} or less"
            )
        reach = columns**-0.5  # As PyTorch draws the weights of a linear layer.
        self.lora_A = nn.Parameter(weight.new_empty(rank, columns).uniform_(-reach, reach))
        self.lora_B = nn.Parameter(weight.new_zeros(rows, rank))
        self.lora_scale = nn.Parameter(weight.new_full((1,), alpha / rank), requires_grad=False)
        self.lora_dropout = dropout

    def merge(self) -> None:
        """Become the plain layer that computes the same."""
        with torch.no_grad():
            self.weight += (self.lora_scale * (self.lora_B @ self.lora_A)).view_as(self.weight)
        del self.lora_A, self.lora_B, self.lora_scale, self.lora_dropout
        self.__class__ = self.plain  # pyright: ignore[reportAttributeAccessIssue]

    def forward(self, input: Tensor) -> Tensor:
        return self._base(input) + self.lora_scale.detach() * self._low(self._dropped(input))

    def _dropped(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.lora_dropout, self.training) if self.lora_dropout else x

    @abstractmethod
    def _base(self, x: Tensor) -> Tensor:
        """What the plain layer gives; its weight does not learn of it."""

    @abstractmethod
    def _low(self, x: Tensor) -> Tensor:
        """What a layer with the weight B A would give."""


class LoraLinear(LoraLayer, nn.Linear):
    """A linear layer: y = x W' + b + s (x A') B'."""

    plain = nn.Linear

    def _base(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight.detach(), self.bias)

    def _low(self, x: Tensor) -> Tensor:
        return functional.linear(functional.linear(x, self.lora_A), self.lora_B)


class LoraEmbedding(LoraLayer, nn.Embedding):
    """An embedding: rows of W, and rows of B times A."""

    plain = nn.Embedding

    def _base(self, x: Tensor) -> Tensor:
        return functional.embedding(x, self.weight.detach(), self.padding_idx)

    def _low(self, x: Tensor) -> Tensor:
        return functional.embedding(x, self.lora_B, self.padding_idx) @ self.lora_A

    def _dropped(self, x: Tensor) -> Tensor:
        return x  # Codes of tokens.


class _LoraConv(LoraLayer):
    """A convolution: A's, as long as the layer's own, to r channels, and B's, of length 1, to all."""

    bias: Tensor | None
    kernel_size: tuple[int, ...]
    convolve: ClassVar[Any]
    _conv_forward: Any

    def _base(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight.detach(), self.bias)

    def _low(self, x: Tensor) -> Tensor:
        low = self._conv_forward(x, self.lora_A.view(-1, *self.weight.shape[1:]), None)
        ones = (1,) * len(self.kernel_size)
        return type(self).convolve(low, self.lora_B.view(*self.lora_B.shape, *ones))


class LoraConv1d(_LoraConv, nn.Conv1d):
    """A convolution over sequences."""

    plain = nn.Conv1d
    convolve = staticmethod(functional.conv1d)


class LoraConv2d(_LoraConv, nn.Conv2d):
    """A convolution over images."""

    plain = nn.Conv2d
    convolve = staticmethod(functional.conv2d)


class BottleneckLinear(nn.Linear):
    """A linear layer with a bottleneck behind it: z = y + U gelu(D y + d) + u (Houlsby et al., ICML 2019, arXiv
    1902.00751, figure 2). U and u begin at zero, so that the layer computes what it did. It cannot be merged."""

    def insert(self, width: int) -> None:
        """Put the bottleneck in."""
        size, weight = self.out_features, self.weight
        reach = size**-0.5
        self.adapter_down = nn.Parameter(weight.new_empty(width, size).uniform_(-reach, reach))
        self.adapter_down_bias = nn.Parameter(weight.new_zeros(width))
        self.adapter_up = nn.Parameter(weight.new_zeros(size, width))
        self.adapter_up_bias = nn.Parameter(weight.new_zeros(size))

    def forward(self, input: Tensor) -> Tensor:
        y = super().forward(input)
        narrow = functional.gelu(functional.linear(y, self.adapter_down, self.adapter_down_bias))
        return y + functional.linear(narrow, self.adapter_up, self.adapter_up_bias)
