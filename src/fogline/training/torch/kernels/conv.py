"""Convolutions over images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fogline.training.torch.kernels.base import Context, Kernel, kernel, stack
from fogline.training.torch.steps.optimizers import ByExample, Sink


@kernel(nn.Conv2d)
class Conv2d(Kernel):
    """Convolution: device by device in channels-last memory; on a GPU, several as groups of one."""

    def __init__(self, module: nn.Module, places: Mapping[str, int], context: Context) -> None:
        super().__init__(module, places, context)
        assert isinstance(module, nn.Conv2d)
        self.conv = module
        self.weight = places["weight"]
        self.bias = places.get("bias")

    @classmethod
    def takes(cls, module: nn.Module) -> bool:
        """Zero padding, given as numbers."""
        assert isinstance(module, nn.Conv2d)
        return module.padding_mode == "zeros" and not isinstance(module.padding, str)

    def forward(self, x: Tensor, weights: Sequence[Tensor], overwrite: bool) -> Tensor:
        """(k, B, C, H, W) to (k, B, C', H', W')."""
        weight = weights[self.weight]
        bias = None if self.bias is None else weights[self.bias]
        self._x = x
        if x.is_cuda and not self.context.single:
            self._kept = [(merge_clients(x), weight.flatten(0, 1))]
            flat = None if bias is None else bias.reshape(-1)
            return split_clients(self._convolve(*self._kept[0], flat, x.shape[0]), x.shape[0])
        # As groups, a device's numbers would depend on their number, and take longer.
        self._kept = [(_last(x[i]), _last(weight[i])) for i in range(x.shape[0])]
        outputs = [self._convolve(x, w, None if bias is None else bias[i], 1) for i, (x, w) in enumerate(self._kept)]
        return stack(outputs)

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None, clients: int) -> Tensor:
        conv = self.conv
        groups = conv.groups * clients
        return F.conv2d(x, weight, bias, conv.stride, conv.padding, conv.dilation, groups)

    def backward(self, gradient: Tensor, weights: Sequence[Tensor], sink: Sink, wanted: bool) -> Tensor | None:
        """By PyTorch's own backward kernel."""
        if isinstance(sink, ByExample):
            self._hand_in(gradient, sink)
            return self._parts(gradient, wanted, False)[0] if wanted else None
        inputs, weight, bias = self._parts(gradient, wanted, True)
        assert weight is not None
        sink.put(self.weight, weight)
        if self.bias is not None:
            assert bias is not None
            sink.put(self.bias, bias)
        return inputs

    def _hand_in(self, gradient: Tensor, sink: ByExample) -> None:
        """An example's gradient by a kernel is the product of the output's gradient and the windows of the input."""
        shape, slopes = gradient.shape[:2], gradient.flatten(3)
        windows = self._windows(self._x.flatten(0, 1), gradient.shape[3:])
        left, right = (part.reshape(*shape, self.conv.groups, -1, slopes.shape[-1]) for part in (slopes, windows))
        sink.windows(self.weight, left, right)
        if self.bias is not None:
            sink.rows(self.bias, slopes.sum(3))

    def _windows(self, x: Tensor, outputs: torch.Size) -> Tensor:
        """What the kernel meets at every place of the output: (B, C, H, W) to (B, C, height, width, H', W').

        PyTorch's own (``unfold``) goes number by number, and takes several times as long as to copy a view.
        """
        (top, left), (down, right), (tall, wide) = map(_pair, (self.conv.padding, self.conv.stride, self.conv.dilation))
        x = F.pad(x, (left, left, top, top)).contiguous()
        batch, channel, row, column = x.stride()
        height, width = _pair(self.conv.kernel_size)
        strides = batch, channel, row * tall, column * wide, row * down, column * right
        return x.as_strided((*x.shape[:2], height, width, *outputs), strides).contiguous()

    def _parts(self, gradient: Tensor, wanted: bool, weighed: bool) -> tuple[Tensor | None, ...]:
        """Gradients by inputs, if they are wanted, and by kernels and biases, where those are."""
        clients = gradient.shape[0]
        if len(self._kept) < clients:
            inputs, weight, bias = self._backward(merge_clients(gradient), *self._kept[0], wanted, weighed, clients)
            inputs = split_clients(inputs, clients) if wanted else None
            weight = weight.unflatten(0, (clients, -1)) if weighed else None
            bias = bias.view(clients, -1) if weighed and self.bias is not None else None
            return inputs, weight, bias
        parts = [self._backward(gradient[i], *kept, wanted, weighed, 1) for i, kept in enumerate(self._kept)]
        return tuple(stack(p) if p[0] is not None else None for p in zip(*parts, strict=True))

    def _backward(
        self, gradient: Tensor, x: Tensor, weight: Tensor, wanted: bool, weighed: bool, clients: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        conv = self.conv
        return torch.ops.aten.convolution_backward.default(
            gradient,
            x,
            weight,
            None if self.bias is None else [weight.shape[0]],
            conv.stride,
            conv.padding,
            conv.dilation,
            False,
            [0, 0],
            conv.groups * clients,
            [wanted, weighed, weighed and self.bias is not None],
        )


def _last(x: Tensor) -> Tensor:
    """The same numbers, channels last in memory."""
    if x.shape[1] != 1:
        return x.contiguous(memory_format=torch.channels_last)
    # With one channel both formats are the same memory, and PyTorch takes the first: its convolution is then several
    # times slower, and so are its outputs' users. Strides tell it what is meant.
    _, _, height, width = x.shape
    return x.contiguous().as_strided(x.shape, (height * width, 1, width, 1))


def _pair(numbers: int | str | tuple[int, ...]) -> tuple[int, int]:
    """Two numbers, as modules keep them."""
    assert isinstance(numbers, tuple)
    return numbers[0], numbers[1]


def merge_clients(x: Tensor) -> Tensor:
    """(k, B, C, H, W) to (B, k C, H, W)."""
    return x.transpose(0, 1).flatten(1, 2)


def split_clients(x: Tensor, clients: int) -> Tensor:
    """(B, k C, H, W) to (k, B, C, H, W); a view."""
    return x.unflatten(1, (clients, -1)).transpose(0, 1)
