"""Pooling over images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from fogline.training.torch.kernels.base import Context, Kernel, kernel
from fogline.training.torch.steps.optimizers import Sink


@kernel(nn.MaxPool2d)
class MaxPool2d(Kernel):
    """Maxima of windows.

    Windows of two by two without overlap, the usual ones, are maxima of four strided views: several times
    faster on a CPU than the general kernel. As there, the first of equal maxima gets the gradient.
    """

    def __init__(self, module: nn.Module, places: Mapping[str, int], context: Context) -> None:
        super().__init__(module, places, context)
        size, stride, padding, dilation, ceil = self._window()
        self._halves = (size, stride, padding, dilation, ceil) == ([2, 2], [2, 2], [0, 0], [1, 1], False)

    @classmethod
    def takes(cls, module: nn.Module) -> bool:
        """Whether the layer is one that this kernel computes: without indices."""
        return isinstance(module, nn.MaxPool2d) and not module.return_indices

    def forward(self, x: Tensor, weights: Sequence[Tensor], overwrite: bool) -> Tensor:
        """Keeps where each maximum was."""
        if self._halves:
            return self._halve(x)
        self._x = x[0] if self.context.single else x.flatten(0, 1)
        outputs, self._indices = torch.ops.aten.max_pool2d_with_indices(self._x, *self._window())
        return outputs.unsqueeze(0) if self.context.single else outputs.unflatten(0, x.shape[:2])

    def _window(self) -> tuple[list[int], list[int], list[int], list[int], bool]:
        pool = self.module
        assert isinstance(pool, nn.MaxPool2d)
        size, stride, padding, dilation = map(_pair, (pool.kernel_size, pool.stride, pool.padding, pool.dilation))
        return size, stride, padding, dilation, pool.ceil_mode

    def backward(self, gradient: Tensor, weights: Sequence[Tensor], sink: Sink, wanted: bool) -> Tensor | None:
        """To where the maximum was."""
        if self._halves:
            return self._double(gradient)
        merged = gradient[0] if self.context.single else gradient.flatten(0, 1)
        inputs = torch.ops.aten.max_pool2d_with_indices_backward(merged, self._x, *self._window(), self._indices)
        return inputs.unsqueeze(0) if self.context.single else inputs.unflatten(0, gradient.shape[:2])

    def _halve(self, x: Tensor) -> Tensor:
        a, b, c, d = _corners(x)
        top, bottom = torch.maximum(a, b), torch.maximum(c, d)
        self._x = x
        self._choices = (top >= bottom, a >= b, c >= d)
        return torch.maximum(top, bottom)

    def _double(self, gradient: Tensor) -> Tensor:
        inputs = torch.zeros_like(self._x) if any(n % 2 for n in self._x.shape[-2:]) else torch.empty_like(self._x)
        a, b, c, d = _corners(inputs)
        up, left_above, left_below = self._choices
        top = gradient * up
        bottom = gradient - top
        torch.mul(top, left_above, out=a)
        torch.sub(top, a, out=b)
        torch.mul(bottom, left_below, out=c)
        torch.sub(bottom, c, out=d)
        return inputs


def _corners(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The four views of (..., H, W) that two-by-two windows are made of; an odd last row or column is left out."""
    x = x[..., : x.shape[-2] // 2 * 2, : x.shape[-1] // 2 * 2]
    return x[..., 0::2, 0::2], x[..., 0::2, 1::2], x[..., 1::2, 0::2], x[..., 1::2, 1::2]


@kernel(nn.AvgPool2d)
class AvgPool2d(Kernel):
    """The means of windows of pixels."""

    def forward(self, x: Tensor, weights: Sequence[Tensor], overwrite: bool) -> Tensor:
        """Over devices and examples at once."""
        self._x = x[0] if self.context.single else x.flatten(0, 1)
        outputs = torch.ops.aten.avg_pool2d(self._x, *self._window())
        return outputs.unsqueeze(0) if self.context.single else outputs.unflatten(0, x.shape[:2])

    def _window(self) -> tuple[list[int], list[int], list[int], bool, bool, int | None]:
        pool = self.module
        assert isinstance(pool, nn.AvgPool2d)
        size, stride, padding = _pair(pool.kernel_size), _pair(pool.stride), _pair(pool.padding)
        return size, stride, padding, pool.ceil_mode, pool.count_include_pad, pool.divisor_override

    def backward(self, gradient: Tensor, weights: Sequence[Tensor], sink: Sink, wanted: bool) -> Tensor | None:
        """The gradient, spread evenly over each window."""
        merged = gradient[0] if self.context.single else gradient.flatten(0, 1)
        inputs = torch.ops.aten.avg_pool2d_backward(merged, self._x, *self._window())
        return inputs.unsqueeze(0) if self.context.single else inputs.unflatten(0, gradient.shape[:2])


def _pair(size: int | tuple[int, ...]) -> list[int]:
    return [size, size] if isinstance(size, int) else list(size)
