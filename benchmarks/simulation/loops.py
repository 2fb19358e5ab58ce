"""The loops behind the hand-made rounds: stacked devices, a tape of layers, autograd on one flat vector."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.simulation.work import Loop, Making, Work

_threshold_backward = torch.ops.aten.threshold_backward.default
_convolution_backward = torch.ops.aten.convolution_backward.default
_log_softmax_backward = torch.ops.aten._log_softmax_backward_data.default


def makings(work: Work) -> dict[str, Making]:
    """The loops that suit a model, by name."""
    layers = list(work.module().children())
    dense = all(isinstance(layer, nn.Flatten | nn.Linear | nn.ReLU) for layer in layers)
    known = all(isinstance(layer, nn.Flatten | nn.Linear | nn.ReLU | nn.Conv2d | nn.MaxPool2d) for layer in layers)
    found: dict[str, Making] = {}
    if dense:
        found |= {f"stacked {size}": partial(Stacked, size=size) for size in (5, 10, 20)}
    if known:
        found["tape"] = Tape
    if not dense:
        found["flat autograd"] = Lean
    return found


class Lean(Loop):
    """Autograd as usual, but weights and gradients are one flat vector each: copied, stepped and added whole."""

    def __init__(self, work: Work, clients: Sequence[int]) -> None:
        super().__init__(work, clients)
        self.module = work.module()
        parameters = list(self.module.parameters())
        self.weights = torch.empty(sum(p.numel() for p in parameters))
        self.gradient = torch.zeros_like(self.weights)
        sizes = [p.numel() for p in parameters]
        views = zip(parameters, self.weights.split(sizes), self.gradient.split(sizes), strict=True)
        for parameter, weight, gradient in views:
            parameter.data, parameter.grad = weight.view_as(parameter), gradient.view_as(parameter)

    def train(self, start: Tensor, order: Tensor, total: Tensor) -> None:
        """Device by device."""
        work = self.work
        for client in self.clients:
            x, y = work.x[client][order[client]], work.y[client][order[client]]
            self.weights.copy_(start)
            for inputs, labels in zip(x.split(work.batch), y.split(work.batch), strict=True):
                self.gradient.zero_()
                outputs = self.module(inputs)
                F.cross_entropy(outputs.flatten(0, -2), labels.flatten()).backward()
                self.weights.add_(self.gradient, alpha=-work.rate)
            total += self.weights


class Stacked(Loop):
    """Linear layers and ReLU for several devices at once: batched products, into which the update is fused."""

    def __init__(self, work: Work, clients: Sequence[int], size: int) -> None:
        super().__init__(work, clients)
        self.size = min(size, len(clients))
        linear = [layer for layer in work.module().children() if isinstance(layer, nn.Linear)]
        self.shapes = [(layer.out_features, layer.in_features) for layer in linear]
        self.weights = [torch.empty(self.size, *shape) for shape in self.shapes]
        self.biases = [torch.empty(self.size, 1, shape[0]) for shape in self.shapes]
        self.transposed = [weight.transpose(1, 2) for weight in self.weights]
        self.x = work.x.flatten(2)
        self.hot = F.one_hot(work.y, self.shapes[-1][0]).float()

    @torch.no_grad()
    def train(self, start: Tensor, order: Tensor, total: Tensor) -> None:
        """Some devices at a time."""
        blocks = [block for pair in zip(self.weights, self.biases, strict=True) for block in pair]
        sizes = [block[0].numel() for block in blocks]
        for first in range(0, len(self.clients), self.size):
            some = torch.tensor(self.clients[first : first + self.size])
            for block, part in zip(blocks, start.split(sizes), strict=True):
                block.copy_(part.view(block.shape[1:]))
            self._epoch(some, order[some])
            for block, part in zip(blocks, total.split(sizes), strict=True):
                part += block.sum(0).view(-1)

    def _epoch(self, clients: Tensor, order: Tensor) -> None:
        """All examples are gathered at once, batch by batch."""
        rows = order + clients.unsqueeze(1) * self.work.examples
        batches = [part.reshape(-1) for part in rows.split(self.work.batch, 1)]
        sizes, every = [len(part) for part in batches], torch.cat(batches)
        x = self.x.flatten(0, 1).index_select(0, every).split(sizes)
        hot = self.hot.flatten(0, 1).index_select(0, every).split(sizes)
        for inputs, labels in zip(x, hot, strict=True):
            self._step(inputs.view(len(clients), -1, inputs.shape[-1]), labels.view(len(clients), -1, labels.shape[-1]))

    def _step(self, x: Tensor, hot: Tensor) -> None:
        rate, last = self.work.rate / x.shape[1], len(self.weights) - 1
        values = [x]
        for i in range(last):
            values.append(torch.baddbmm(self.biases[i], values[i], self.transposed[i]).relu_())
        outputs = torch.baddbmm(self.biases[last], values[last], self.transposed[last])
        # PyTorch's softmax takes twice as long over an axis as short as ten.
        powers = outputs.sub_(outputs.amax(-1, keepdim=True)).exp_()
        slope = powers.div_(powers.sum(-1, keepdim=True)).sub_(hot)
        for i in range(last, -1, -1):
            below = _threshold_backward(torch.bmm(slope, self.weights[i]), values[i], 0) if i else slope
            self.weights[i].baddbmm_(slope.transpose(1, 2), values[i], alpha=-rate)
            self.biases[i].sub_(slope.sum(1, keepdim=True), alpha=rate)
            slope = below


class Tape(Loop):
    """One device at a time through a list of layers that know their own backward pass and step in it."""

    def __init__(self, work: Work, clients: Sequence[int]) -> None:
        super().__init__(work, clients)
        layers = list(work.module().children())
        self.weights = torch.empty(work.task.spec.trainable)
        self.layers: list[_Layer] = []
        offset = 0
        for layer in layers:
            parts: list[Tensor] = []
            for parameter in layer.parameters():
                parts.append(self.weights[offset : offset + parameter.numel()].view_as(parameter))
                offset += parameter.numel()
            if isinstance(layer, nn.Conv2d):
                self.layers.append(_Conv(parts, layer, work.rate, not self.layers))
            elif isinstance(layer, nn.Linear):
                trained = any(isinstance(one, _Conv | _Linear) for one in self.layers)
                self.layers.append(_Linear(parts, work.rate, not trained))
            elif isinstance(layer, nn.MaxPool2d):
                # The maximum of rectified numbers is the rectified maximum.
                swap = self.layers.pop() if isinstance(self.layers[-1], _Relu) else None
                self.layers.append(_Pool())
                self.layers += [swap] if swap else []
            else:
                self.layers.append(_Relu() if isinstance(layer, nn.ReLU) else _Flatten())

    @torch.no_grad()
    def train(self, start: Tensor, order: Tensor, total: Tensor) -> None:
        """Device by device."""
        work = self.work
        for client in self.clients:
            x, y = work.x[client][order[client]], work.y[client][order[client]]
            self.weights.copy_(start)
            for inputs, labels in zip(x.split(work.batch), y.split(work.batch), strict=True):
                self._step(inputs, labels)
            total += self.weights

    def _step(self, x: Tensor, y: Tensor) -> None:
        for layer in self.layers:
            x = layer.forward(x)
        slope: Tensor | None = x.softmax(-1)
        slope[torch.arange(len(y)), y] -= 1.0
        slope /= len(y)
        for layer in reversed(self.layers):
            if slope is not None:
                slope = layer.backward(slope)


class _Layer:
    """Forward, and backward with the step; None below the first layer that has weights."""

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def backward(self, slope: Tensor) -> Tensor | None:
        raise NotImplementedError


class _Linear(_Layer):
    def __init__(self, parts: Sequence[Tensor], rate: float, first: bool) -> None:
        self.weight, self.bias = parts
        self.rate, self.first = rate, first

    def forward(self, x: Tensor) -> Tensor:
        self.x = x
        return torch.addmm(self.bias, x, self.weight.t())

    def backward(self, slope: Tensor) -> Tensor | None:
        below = None if self.first else slope @ self.weight
        self.weight.addmm_(slope.t(), self.x, alpha=-self.rate)
        self.bias.sub_(slope.sum(0), alpha=self.rate)
        return below


class _Conv(_Layer):
    """Channels last, in oneDNN; a single channel's patches by one product."""

    def __init__(self, parts: Sequence[Tensor], layer: nn.Conv2d, rate: float, first: bool) -> None:
        self.weight, self.bias = parts
        self.padding, self.size = layer.padding, layer.kernel_size
        self.rate, self.first = rate, first
        self.patches = first and layer.in_channels == 1

    def forward(self, x: Tensor) -> Tensor:
        if self.patches:
            return self._by_patches(x)
        self.x = x.contiguous(memory_format=torch.channels_last)
        self.kernel = self.weight.contiguous(memory_format=torch.channels_last)
        return F.conv2d(self.x, self.kernel, self.bias, padding=self.padding)

    def _by_patches(self, x: Tensor) -> Tensor:
        (down, across), (high, wide) = self.padding, self.size
        x = F.pad(x[:, 0], (across, across, down, down))
        windows = x.unfold(1, high, 1).unfold(2, wide, 1)
        self.rows = windows.reshape(-1, high * wide)
        outputs = torch.addmm(self.bias, self.rows, self.weight.flatten(1).t())
        return outputs.view(*windows.shape[:3], -1).permute(0, 3, 1, 2)

    def backward(self, slope: Tensor) -> Tensor | None:
        if self.patches:
            rows = slope.permute(0, 2, 3, 1).reshape(len(self.rows), -1)
            self.weight.flatten(1).addmm_(rows.t(), self.rows, alpha=-self.rate)
            self.bias.sub_(rows.sum(0), alpha=self.rate)
            return None
        below, weight, bias = _convolution_backward(
            slope, self.x, self.kernel, [len(self.bias)], [1, 1], self.padding, [1, 1], False, [0, 0], 1,
            [not self.first, True, True],
        )  # fmt: skip
        self.weight.sub_(weight, alpha=self.rate)
        self.bias.sub_(bias, alpha=self.rate)
        return below


class _Pool(_Layer):
    """Maxima of two by two, as maxima of four views: the first of equal ones gets the gradient."""

    def forward(self, x: Tensor) -> Tensor:
        self.x = x
        a, b, c, d = _corners(x)
        top, bottom = torch.maximum(a, b), torch.maximum(c, d)
        self.choices = (top >= bottom, a >= b, c >= d)
        return torch.maximum(top, bottom)

    def backward(self, slope: Tensor) -> Tensor:
        below = torch.empty_like(self.x)
        a, b, c, d = _corners(below)
        up, left_above, left_below = self.choices
        top = slope * up
        bottom = slope - top
        torch.mul(top, left_above, out=a)
        torch.sub(top, a, out=b)
        torch.mul(bottom, left_below, out=c)
        torch.sub(bottom, c, out=d)
        return below


def _corners(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return x[..., 0::2, 0::2], x[..., 0::2, 1::2], x[..., 1::2, 0::2], x[..., 1::2, 1::2]


class _Relu(_Layer):
    def forward(self, x: Tensor) -> Tensor:
        self.y = x.relu_()
        return self.y

    def backward(self, slope: Tensor) -> Tensor:
        return _threshold_backward(slope, self.y, 0)


class _Flatten(_Layer):
    def forward(self, x: Tensor) -> Tensor:
        self.shape = x.shape
        return x.flatten(1)

    def backward(self, slope: Tensor) -> Tensor:
        return slope.view(self.shape)
