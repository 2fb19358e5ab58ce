"""What happens to a gradient: summed up into blocks, or applied to the weights where it is made.

Every optimizer's rule stands here once, for one device or many.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fogline.training.local import LocalTraining
from fogline.training.torch.steps.stacked_weights import flat

ADAM_BETAS = (0.9, 0.999)
ADAM_EPSILON = 1e-8
CLIP_EPSILON = 1e-6
"""These are PyTorch's, so that the engines agree with ``torch.optim`` and ``clip_grad_norm_``."""


class Sink(ABC):
    """Takes the gradient of each tensor of the model, once a step.

    A backward pass must be done with a tensor before it hands in that tensor's gradient.
    """

    @abstractmethod
    def put(self, index: int, gradient: Tensor) -> None:
        """The gradient (k, *shape) of a tensor."""

    @abstractmethod
    def product(self, index: int, left: Tensor, right: Tensor) -> None:
        """The gradient as a batched product: left (k, m, b) times right (k, b, n)."""

    def rows(self, index: int, rows: Tensor) -> None:
        """The gradient as the sum of rows (k, b, *shape) over b."""
        self.put(index, rows.sum(1))


class ByExample(Sink):
    """Looks at what each example adds to a gradient: b counts examples, or the same number of rows of each, one
    example after the other. A kernel hands it in nothing that is summed up."""

    def put(self, index: int, gradient: Tensor) -> None:
        """Nothing that is summed up: it would go past what looks at each example.

        Raises:
            TypeError: always.
        """
        raise TypeError("A kernel hands in a gradient that is summed up over examples, where each one's is wanted.")

    @abstractmethod
    def windows(self, index: int, left: Tensor, right: Tensor) -> None:
        """Each example's gradient as a product: left (k, B, g, m, t) times right (k, B, g, n, t), transposed."""

    @abstractmethod
    def lookup(self, index: int, places: Tensor, rows: Tensor) -> None:
        """Rows (k, B, t, d) that are added up at places (k, B, t) of a table."""


class Collect(Sink):
    """Keeps the gradients for what needs them whole: clipping, hooks, momentum."""

    def __init__(self, tensors: int) -> None:
        self._gradients: list[Tensor | None] = [None] * tensors

    def put(self, index: int, gradient: Tensor) -> None:
        """Keep a tensor's gradient."""
        self._gradients[index] = gradient

    def product(self, index: int, left: Tensor, right: Tensor) -> None:
        """Multiply the factors of a gradient, and keep it."""
        self._gradients[index] = torch.bmm(left, right)

    def taken(self) -> list[Tensor]:
        """The gradients of all tensors."""
        return [gradient for gradient in self._gradients if gradient is not None]


class Resting(Sink):
    """Hands on the gradients of some tensors; of those that do not train it makes nothing, or zero.

    Args:
        sink: what takes the others.
        resting: places of the tensors that do not train.
        zeros: what to hand on of those, by place (K, *shape); None: nothing.
    """

    def __init__(self, sink: Sink, resting: frozenset[int], zeros: Sequence[Tensor] | None = None) -> None:
        self._sink, self._resting, self._zeros = sink, resting, zeros

    def put(self, index: int, gradient: Tensor) -> None:
        """Hand a tensor's gradient on."""
        if index not in self._resting:
            self._sink.put(index, gradient)
        else:
            self._rest(index, len(gradient))

    def product(self, index: int, left: Tensor, right: Tensor) -> None:
        """Hand the factors of a gradient on."""
        if index not in self._resting:
            self._sink.product(index, left, right)
        else:
            self._rest(index, len(left))

    def _rest(self, index: int, clients: int) -> None:
        if self._zeros is not None:
            self._sink.put(index, torch.zeros_like(_first(self._zeros[index], clients)))


@dataclass(slots=True)
class Affine:
    """An adjustment ``gradient + a * weights + b``, tensor by tensor."""

    factor: float | list[Tensor]
    """a: one number, or (K or 1, *shape) each."""
    shift: list[Tensor] | None
    """b (K or 1, *shape) each; None where it is zero."""


class Fused(Sink):
    """Plain SGD, applied where the gradient is made: w <- (1 - lr (wd + a)) w - lr b - lr gradient."""

    def __init__(self, weights: list[Tensor], rate: float, decay: float, adjustment: Affine | None) -> None:
        self._weights = self._firsts = weights
        self._clients = weights[0].shape[0] if weights else 0
        self._rate = rate
        self._keep: float | list[Tensor]
        self._shift = adjustment.shift if adjustment else None
        factor = adjustment.factor if adjustment else 0.0
        if isinstance(factor, list):
            self._keep = [1.0 - rate * (decay + part) for part in factor]
        else:
            self._keep = 1.0 - rate * (decay + factor)

    def put(self, index: int, gradient: Tensor) -> None:
        """Step against a tensor's gradient."""
        weights = self._first(index, gradient)
        if isinstance(self._keep, list):
            weights.mul_(_first(self._keep[index], gradient.shape[0]))
        elif self._keep != 1.0:
            weights.mul_(self._keep)
        weights.add_(gradient, alpha=-self._rate)
        if self._shift is not None:
            weights.add_(_first(self._shift[index], weights.shape[0]), alpha=-self._rate)

    def product(self, index: int, left: Tensor, right: Tensor) -> None:
        """Multiply the factors of a gradient into the weights."""
        weights = self._first(index, left)
        keep = self._keep
        if isinstance(keep, list):
            weights.mul_(_first(keep[index], left.shape[0]))
            keep = 1.0
        weights.baddbmm_(left, right, beta=keep, alpha=-self._rate)
        if self._shift is not None:
            weights.add_(_first(self._shift[index], weights.shape[0]), alpha=-self._rate)

    def _first(self, index: int, like: Tensor) -> Tensor:
        clients = like.shape[0]
        if clients != self._clients:  # Views last as long as the memory: where models are small, each one costs.
            self._clients = clients
            self._firsts = [_first(weights, clients) for weights in self._weights]
        return self._firsts[index]


def _first(block: Tensor, clients: int) -> Tensor:
    """The first k devices of a block (K or 1, *shape)."""
    return block if block.shape[0] <= clients else block[:clients]


class Optimizer(ABC):
    """A rule with memory, on blocks (k, *shape); devices that end early leave the tail of the memory."""

    def __init__(self, weights: Sequence[Tensor], local: LocalTraining, rate: float) -> None:
        self.weights = weights
        self.local = local
        self.rate = rate
        self.steps = 0

    def step(self, gradients: Sequence[Tensor], resting: Collection[int] = ()) -> None:
        """Move the first k devices; tensors at the places ``resting`` stay."""
        self.steps += 1
        for index, gradient in enumerate(gradients):
            if index in resting:
                continue
            self.move(index, _first(self.weights[index], gradient.shape[0]), gradient)

    @abstractmethod
    def move(self, index: int, weights: Tensor, gradient: Tensor) -> None:
        """Move one tensor."""


class Sgd(Optimizer):
    """Stochastic gradient descent with momentum (dampening 0), Nesterov's form, and weight decay."""

    def __init__(self, weights: Sequence[Tensor], local: LocalTraining, rate: float) -> None:
        super().__init__(weights, local, rate)
        self._momenta = [torch.zeros_like(w) for w in weights] if local.momentum else []

    def move(self, index: int, weights: Tensor, gradient: Tensor) -> None:
        """w <- w - lr m, with m <- momentum m + gradient + decay w."""
        local = self.local
        if local.weight_decay:
            gradient = gradient.add(weights, alpha=local.weight_decay)
        if local.momentum:
            momentum = _first(self._momenta[index], gradient.shape[0])
            momentum.mul_(local.momentum).add_(gradient)
            gradient = gradient.add(momentum, alpha=local.momentum) if local.nesterov else momentum
        weights.add_(gradient, alpha=-self.rate)


class Adam(Optimizer):
    """Adam, with decay in the gradient, and AdamW, with decay of the weights."""

    def __init__(self, weights: Sequence[Tensor], local: LocalTraining, rate: float) -> None:
        super().__init__(weights, local, rate)
        self._means = [torch.zeros_like(w) for w in weights]
        self._squares = [torch.zeros_like(w) for w in weights]

    def move(self, index: int, weights: Tensor, gradient: Tensor) -> None:
        """Kingma and Ba (2015), algorithm 1; Loshchilov and Hutter (2019), algorithm 2."""
        decay, (beta1, beta2) = self.local.weight_decay, ADAM_BETAS
        if decay and self.local.optimizer == "adamw":
            weights.mul_(1.0 - self.rate * decay)
        elif decay:
            gradient = gradient.add(weights, alpha=decay)
        mean = _first(self._means[index], gradient.shape[0]).lerp_(gradient, 1.0 - beta1)
        square = _first(self._squares[index], gradient.shape[0])
        square.mul_(beta2).addcmul_(gradient, gradient, value=1.0 - beta2)
        root = square.sqrt().div_((1.0 - beta2**self.steps) ** 0.5).add_(ADAM_EPSILON)
        weights.addcdiv_(mean, root, value=-self.rate / (1.0 - beta1**self.steps))


def optimizer(weights: Sequence[Tensor], local: LocalTraining, rate: float) -> Optimizer:
    """The rule that a job asks for."""
    return Sgd(weights, local, rate) if local.optimizer == "sgd" else Adam(weights, local, rate)


def clip(gradients: Sequence[Tensor], norm: float) -> list[Tensor]:
    """Scale each device's whole gradient down to a norm."""
    squares = sum(flat(g).square().sum(1) for g in gradients)
    scale = (norm / (torch.as_tensor(squares).sqrt() + CLIP_EPSILON)).clamp_max(1.0)
    return [g * scale.view(-1, *([1] * (g.ndim - 1))) for g in gradients]
