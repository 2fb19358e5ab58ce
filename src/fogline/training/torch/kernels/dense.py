"""Linear layers, sums, activations, shapes and dropout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fogline.training.torch.kernels.base import Context, Kernel, kernel
from fogline.training.torch.steps.optimizers import Sink


@kernel(nn.Linear)
class Linear(Kernel):
    """y = x W^T + b, on the last axis."""

    def __init__(self, module: nn.Module, places: Mapping[str, int], context: Context) -> None:
        super().__init__(module, places, context)
        self.weight = places["weight"]
        self.bias = places.get("bias")
        self._seen: Sequence[Tensor] = []

    def forward(self, x: Tensor, weights: Sequence[Tensor], overwrite: bool) -> Tensor:
        """(k, B, ..., in) to (k, B, ..., out)."""
        if weights is not self._seen:  # Views last as long as the memory: where models are small, each one costs.
            self._seen = weights
            self._transposed = weights[self.weight].transpose(1, 2)
            self._offset = None if self.bias is None else weights[self.bias].unsqueeze(1)
        self.x = x
        self._rows = rows = _rows(x)
        if self._offset is None:
            outputs = torch.bmm(rows, self._transposed)
        else:
            outputs = torch.baddbmm(self._offset, rows, self._transposed)
        return outputs if x.ndim == 3 else outputs.view(*x.shape[:-1], -1)

    def backward(self, gradient: Tensor, weights: Sequence[Tensor], sink: Sink, wanted: bool) -> Tensor | None:
        """dx = dy W; dW = dy^T x; db = sum of dy."""
        rows = _rows(gradient)
        inputs = torch.bmm(rows, weights[self.weight]) if wanted else None
        sink.product(self.weight, rows.transpose(1, 2), self._rows)
        if self.bias is not None:
            sink.rows(self.bias, rows)
        return inputs if inputs is None or self.x.ndim == 3 else inputs.view(self.x.shape)


def _rows(x: Tensor) -> Tensor:
    """(k, B, ..., n) to (k, m, n)."""
    return x if x.ndim == 3 else x.reshape(x.shape[0], -1, x.shape[-1])


class Add(nn.Module):
    """The layer that a sum of two values stands for."""


class Addend(NamedTuple):
    """A sum's second operand: where it lies, and what ``Step`` says of the first."""

    slot: int
    wanted: bool
    adds: bool


@kernel(Add)
class Sum(Kernel):
    """x + y, as where a residual path ends; y lies in another slot."""

    other: Addend

    def forward(self, x: Tensor, weights: Sequence[Tensor], overwrite: bool) -> Tensor:
        """x plus the other input, written into x where that is allowed."""
        y = self.context.values[self.other.slot]
        if y is None or x.shape != y.shape:
            raise ValueError("The operands of a sum differ in shape.")
        return x.add_(y) if overwrite else x + y

    def backward(self, gradient: Tensor, weights: Sequence[Tensor], sink: Sink, wanted: bool) -> Tensor | None:
        """The gradient, which is the same for both inputs."""
        slot, other_wanted, adds = self.other
        if other_wanted:
            gradients = self.context.gradients
            so_far = gradients[slot]
            gradients[slot] = so_far + gradient if adds and so_far is not None else gradient
        return gradient


@kernel(nn.Flatten)
class Flatten(Kernel):
    """(k, B, ...) to (k, B, n)."""

    fresh = False

    @classmethod
    def takes(cls, module: nn.Module) -> bool:
        """Only all axes after the batch's."""
        return isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) == (1, -1)

    def forward(self, x: Tensor, weights: Sequence[Tensor], overwrite: bool) -> Tensor:
        """A view, or a copy of channels-last memory."""
        self._shape = x.shape
        return x if x.ndim == 3 else x.reshape(*x.shape[:2], -1)

    def backward(self, gradient: Tensor, weights: Sequence[Tensor], sink: Sink, wanted: bool) -> Tensor | None:
        """The gradient in the input's shape."""
        return gradient if gradient.ndim == len(self._shape) else gradient.view(self._shape)


@kernel(nn.Identity)
class IdentityKernel(Kernel):
    """A layer that changes nothing."""

    fresh = False

    def forward(self, x: Tensor, weights: Sequence[Tensor], overwrite: bool) -> Tensor:
        """x, as it is."""
        return x

    def backward(self, gradient: Tensor, weights: Sequence[Tensor], sink: Sink, wanted: bool) -> Tensor | None:
        """The gradient, as it is."""
        return gradient


@kernel(nn.ReLU)
class Relu(Kernel):
    """The rectifier: max(x, 0)."""

    fresh = False  # Its backward needs its output.

    def forward(self, x: Tensor, weights: Sequence[Tensor], overwrite: bool) -> Tensor:
        """max(x, 0), in place where that is allowed."""
        self._y = x.relu_() if overwrite else x.relu()
        return self._y

    def backward(self, gradient: Tensor, weights: Sequence[Tensor], sink: Sink, wanted: bool) -> Tensor | None:
        """Where the output was positive."""
        return torch.ops.aten.threshold_backward.default(gradient, self._y, 0)


@kernel(nn.Tanh)
class Tanh(Kernel):
    """The hyperbolic tangent."""

    fresh = False  # Its backward needs its output.

    def forward(self, x: Tensor, weights: Sequence[Tensor], overwrite: bool) -> Tensor:
        """tanh x, in place where that is allowed."""
        self._y = x.tanh_() if overwrite else x.tanh()
        return self._y

    def backward(self, gradient: Tensor, weights: Sequence[Tensor], sink: Sink, wanted: bool) -> Tensor | None:
        """The gradient times 1 - y^2."""
        return torch.ops.aten.tanh_backward.default(gradient, self._y)


@kernel(nn.Sigmoid)
class Sigmoid(Kernel):
    """1 / (1 + exp(-x))."""

    fresh = False  # Its backward needs its output.

    def forward(self, x: Tensor, weights: Sequence[Tensor], overwrite: bool) -> Tensor:
        """The logistic function of x, in place where that is allowed."""
        # PyTorch's sigmoid rounds the tail of an array differently from its body, so that a device's numbers
        # would depend on its place in the stack. The hyperbolic tangent does not.
        half = x.mul_(0.5) if overwrite else x * 0.5
        self._y = half.tanh_().mul_(0.5).add_(0.5)
        return self._y

    def backward(self, gradient: Tensor, weights: Sequence[Tensor], sink: Sink, wanted: bool) -> Tensor | None:
        """The gradient times y (1 - y)."""
        return torch.ops.aten.sigmoid_backward.default(gradient, self._y)


@kernel(nn.GELU)
class Gelu(Kernel):
    """The Gaussian error linear unit."""

    def forward(self, x: Tensor, weights: Sequence[Tensor], overwrite: bool) -> Tensor:
        """Exact or by tanh, as the module says."""
        assert isinstance(self.module, nn.GELU)
        self._x = x
        return F.gelu(x, approximate=self.module.approximate)

    def backward(self, gradient: Tensor, weights: Sequence[Tensor], sink: Sink, wanted: bool) -> Tensor | None:
        """The gradient, by PyTorch's own kernel."""
        assert isinstance(self.module, nn.GELU)
        return torch.ops.aten.gelu_backward.default(gradient, self._x, approximate=self.module.approximate)


@kernel(nn.Dropout)
class Dropout(Kernel):
    """Zeroes elements at probability p and scales the others up; every device draws from its own seed.

    On a CPU it draws what PyTorch's own layer draws from that seed: so nothing is drawn for filling, and never in
    double precision, which takes more of the generator's bits.
    """

    def forward(self, x: Tensor, weights: Sequence[Tensor], overwrite: bool) -> Tensor:
        """Draws anew in each step."""
        assert isinstance(self.module, nn.Dropout)
        keep = 1.0 - self.module.p
        counts, kind = self.context.counts, torch.float32 if x.dtype == torch.float64 else x.dtype
        make = torch.empty if counts is None else torch.zeros
        mask = make(x.shape, dtype=kind, device=x.device)  # Not empty_like: strides depend on x.
        by_example = self.context.by_example
        for i, (row, generator) in enumerate(
            zip(mask.flatten(0, 1) if by_example else mask, self.context.generators, strict=False)
        ):
            (row if counts is None or by_example else row[: counts[i]]).bernoulli_(keep, generator=generator)
        self._mask = mask.to(x.dtype).div_(keep) if keep > 0 else mask.to(x.dtype)
        return x * self._mask

    def backward(self, gradient: Tensor, weights: Sequence[Tensor], sink: Sink, wanted: bool) -> Tensor | None:
        """The gradient under the mask of the forward pass."""
        return gradient * self._mask
