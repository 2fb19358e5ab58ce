"""Convolutions and pooling over images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fogline.training.torch.kernels.base import Context, Kernel, kernel
from fogline.training.torch.updates import Sink


@kernel(nn.Conv2d)
class Conv2d(Kernel):
    """Convolution: one device in channels-last memory, several as groups of one."""

    def __init__(self, module: nn.Module, places: Mapping[str, int], context: Context) -> None:
        super().__init__(module, places, context)
        assert isinstance(module, nn.Conv2d)
        self.conv = module
        self.weight = places["weight"]
        self.bias = places.get("bias")

    @classmethod
    def takes(cls, module: nn.Module) -> bool:
        """Zero padding, given as numbers."""
        return isinstance(module, nn.Conv2d) and module.padding_mode == "zeros" and module.padding in _numbers(module)

    def forward(self, x: Tensor, weights: Sequence[Tensor], overwrite: bool) -> Tensor:
        """(k, B, C, H, W) to (k, B, C', H', W')."""
        conv = self.conv
        self._x, self._w, groups = self._merged(x, weights[self.weight])
        bias = None if self.bias is None else weights[self.bias].reshape(-1)
        outputs = F.conv2d(self._x, self._w, bias, conv.stride, conv.padding, conv.dilation, groups)
        return split_clients(outputs, x.shape[0])

    def _merged(self, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, int]:
        if self.context.single:
            return (
                x[0].contiguous(memory_format=torch.channels_last),
                weight[0].contiguous(memory_format=torch.channels_last),
                self.conv.groups,
            )
        return merge_clients(x), weight.flatten(0, 1), self.conv.groups * x.shape[0]

    def backward(self, gradient: Tensor, weights: Sequence[Tensor], sink: Sink, wanted: bool) -> Tensor | None:
        """By PyTorch's own backward kernel."""
        conv, clients = self.conv, gradient.shape[0]
        merged = gradient[0] if self.context.single else merge_clients(gradient)
        inputs, weight, bias = torch.ops.aten.convolution_backward(
            merged,
            self._x,
            self._w,
            None if self.bias is None else [self._w.shape[0]],
            conv.stride,
            conv.padding,
            conv.dilation,
            False,
            [0, 0],
            conv.groups if self.context.single else conv.groups * clients,
            [wanted, True, self.bias is not None],
        )
        sink.put(self.weight, weight.view(clients, -1, *weight.shape[1:]))
        if self.bias is not None:
            sink.put(self.bias, bias.view(clients, -1))
        return split_clients(inputs, clients) if wanted else None


def _numbers(module: nn.Conv2d) -> list[object]:
    return [module.padding] if not isinstance(module.padding, str) else []


def merge_clients(x: Tensor) -> Tensor:
    """(k, B, C, H, W) to (B, k C, H, W)."""
    return x.transpose(0, 1).flatten(1, 2)


def split_clients(x: Tensor, clients: int) -> Tensor:
    """(B, k C, H, W) to (k, B, C, H, W); a view."""
    if clients == 1:
        return x.unsqueeze(0)
    return x.unflatten(1, (clients, -1)).transpose(0, 1)


@kernel(nn.MaxPool2d)
class MaxPool2d(Kernel):
    """Maxima of windows."""

    @classmethod
    def takes(cls, module: nn.Module) -> bool:
        """Without indices."""
        return isinstance(module, nn.MaxPool2d) and not module.return_indices

    def forward(self, x: Tensor, weights: Sequence[Tensor], overwrite: bool) -> Tensor:
        """Keeps where each maximum was."""
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
        merged = gradient[0] if self.context.single else gradient.flatten(0, 1)
        inputs = torch.ops.aten.max_pool2d_with_indices_backward(merged, self._x, *self._window(), self._indices)
        return inputs.unsqueeze(0) if self.context.single else inputs.unflatten(0, gradient.shape[:2])


@kernel(nn.AvgPool2d)
class AvgPool2d(Kernel):
    """Means of windows."""

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
        """Evenly over the window."""
        merged = gradient[0] if self.context.single else gradient.flatten(0, 1)
        inputs = torch.ops.aten.avg_pool2d_backward(merged, self._x, *self._window())
        return inputs.unsqueeze(0) if self.context.single else inputs.unflatten(0, gradient.shape[:2])


def _pair(size: int | tuple[int, ...]) -> list[int]:
    return [size, size] if isinstance(size, int) else list(size)
