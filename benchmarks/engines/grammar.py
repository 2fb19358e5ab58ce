"""Modules, methods and settings made at random, for holding every engine against the reference.

A module is a chain of parts on vectors of WIDTH. Plain ones are what most models are made of. Odd ones do what a
forward pass in Python may do and an engine that runs it otherwise may get wrong.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fogline.algorithms import Algorithm, FedAvg, Moon, make
from fogline.data import from_arrays
from fogline.training import LocalTraining
from fogline.training.torch import TorchTask

WIDTH, CLASSES = 6, 3
SIZES = (9, 14, 9, 3, 12)
"""Examples of the devices: ragged and full last batches, one smaller than a batch, and two alike."""

_SHARED = np.random.default_rng(0)
"""A generator that no engine knows of."""


# Parts that keep the width.


class Residual(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


class Twice(Residual):
    """One layer, used twice."""

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(torch.tanh(self.inner(x)))


class NoGrad(Residual):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            hidden = torch.relu(self.inner(x))
        return x + hidden


class GradOff(Residual):
    def forward(self, x: Tensor) -> Tensor:
        with torch.set_grad_enabled(False):
            hidden = self.inner(x)
        return torch.tanh(hidden + x)


class Decorated(Residual):
    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        return torch.relu(self.inner(x))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.features(x)


class Detached(Residual):
    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x).detach()


class Standardised(nn.Module):
    """Statistics of the batch by hand."""

    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean(0)) / (x.var(0, unbiased=False) + 0.1).sqrt()


class BatchAttention(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.softmax(x @ x.T / WIDTH, -1) @ x


class FirstOfBatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 0.3 * x[:1]


class Gated(nn.Module):
    """Mixes examples only once its gate has opened."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.gate * x.mean(0)


class Running(nn.Module):
    """A running mean and a counter, written in one of many ways."""

    def __init__(self, how: str, width: int = WIDTH) -> None:
        super().__init__()
        self.how = how
        self.register_buffer("mean", torch.zeros(width), persistent=how != "unkept")
        self.register_buffer("seen", torch.tensor(0), persistent=how != "unkept")

    def forward(self, x: Tensor) -> Tensor:
        mean = 0.8 * self.mean + 0.2 * x.detach().mean(0)
        if self.how == "replaced":
            self.mean, self.seen = mean, self.seen + 1
        elif self.how == "data":
            self.mean.data, self.seen.data = mean, self.seen + 1  # pyright: ignore[reportAttributeAccessIssue]
        else:
            self.mean.copy_(mean)
            self.seen += 1
        return x - self.mean


class Functional(nn.Module):
    """Batch normalisation as a function with side effects."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(WIDTH))
        self.register_buffer("var", torch.ones(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.mean, self.var, training=self.training)


class ByTraining(Residual):
    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) * 1.3 if self.training else x


class ByData(Residual):
    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) if x.mean() > 0 else x


class ByWeights(Residual):
    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) if next(self.inner.parameters()).sum() > 0 else 0.5 * x


class ByType(Residual):
    """Takes another way when it is traced."""

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x) if isinstance(x, Tensor) else x


class ByError(Residual):
    def forward(self, x: Tensor) -> Tensor:
        try:
            scale = 1.0 + (float(x.detach().abs().mean()) > 0)
        except Exception:  # noqa: BLE001 - as people write it
            scale = 1.0
        return x + scale * self.inner(x)


class Skipping(Residual):
    """Leaves its layer out at random."""

    def __init__(self, inner: nn.Module, how: str) -> None:
        super().__init__(inner)
        self.how = how
        self.own = np.random.default_rng(1)

    def forward(self, x: Tensor) -> Tensor:
        draws: dict[str, Callable[[], float]] = {
            "torch": lambda: float(torch.rand(1)),
            "python": random.random,
            "numpy": np.random.rand,
            "own": self.own.random,
            "shared": _SHARED.random,
        }
        return x if draws[self.how]() < 0.4 else x + self.inner(x)


class Counting(Residual):
    """Takes another way at every third call."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x if self.calls % 3 == 0 else self.inner(x)


class Remembering(Residual):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__(inner)
        self.past: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.inner(x)
        if self.past:
            hidden = hidden + 0.1 * self.past[-1]
        self.past = [hidden.detach().mean(0)]
        return hidden


class Noisy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 0.1 * torch.randn_like(x)


class Dropping(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.3, self.training)


class Clamping(nn.Module):
    """Changes its weights while it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        self.linear.weight.data.clamp_(-0.3, 0.3)
        return self.linear(x)


class InPlace(Residual):
    def forward(self, x: Tensor) -> Tensor:
        hidden = self.inner(x)
        return F.relu(hidden, inplace=True).mul_(1.5) + 0.1


class Half(Residual):
    """A stretch in fewer bits."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            hidden = self.inner(x)
        return x + hidden.float()


class Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return -0.5 * gradients[0]


class GradientReversed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Reversed.apply(x)


class KeptInEvaluation(Residual):
    """Stays as it was judged: a frozen part."""

    def train(self, mode: bool = True) -> KeptInEvaluation:
        return super().train(False)


class Extra(Residual):
    """Parameters that are not used, one of them without elements."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__(inner)
        self.unused, self.none = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(0, 2))


def linear() -> nn.Module:
    return nn.Linear(WIDTH, WIDTH)


def dropout() -> nn.Module:
    return nn.Dropout(0.2)


def frozen() -> nn.Module:
    return linear().requires_grad_(False)


def hooked(how: str) -> nn.Module:
    layer = nn.Linear(WIDTH, WIDTH)
    if how == "after":
        layer.register_forward_hook(lambda module, inputs, output: 1.2 * output)
    elif how == "before":
        layer.register_forward_pre_hook(lambda module, inputs: (0.8 * inputs[0],))
    elif how == "backward":
        layer.register_full_backward_hook(
            lambda module, inputs, outputs: tuple(g if g is None else 0.5 * g for g in inputs)
        )
    elif how == "parameter":
        layer.weight.register_hook(lambda gradient: 0.5 * gradient)
    elif how == "summed":
        layer.weight.register_post_accumulate_grad_hook(lambda parameter: parameter.grad.mul_(0.5))
    else:
        plain = layer.forward
        layer.forward = lambda x: 0.7 * plain(x)  # pyright: ignore[reportAttributeAccessIssue]
    return layer


def weight_normed() -> nn.Module:
    return nn.utils.parametrizations.weight_norm(nn.Linear(WIDTH, WIDTH))


PLAIN: tuple[Callable[[], nn.Module], ...] = (
    linear, linear, nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, lambda: nn.LayerNorm(WIDTH), dropout,
    lambda: Residual(linear()), lambda: Residual(nn.Sequential(linear(), nn.ReLU(), linear())), nn.Identity,
)  # fmt: skip
ODD: tuple[Callable[[], nn.Module], ...] = (
    *(lambda kind=kind: kind(linear()) for kind in (
        Twice, NoGrad, GradOff, Decorated, Detached, ByTraining, ByData, ByWeights, ByType, ByError, Counting,
        Remembering, InPlace, Half, KeptInEvaluation, Extra,
    )),
    *(lambda how=how: Skipping(linear(), how) for how in ("torch", "python", "numpy", "own", "shared")),
    *(lambda how=how: Running(how) for how in ("replaced", "data", "in place", "unkept")),
    *(lambda how=how: hooked(how) for how in ("after", "before", "backward", "parameter", "summed", "replaced")),
    lambda: KeptInEvaluation(nn.Sequential(linear(), nn.Dropout(0.5))), lambda: nn.BatchNorm1d(WIDTH), Standardised,
    BatchAttention, FirstOfBatch, Gated, Functional, Noisy, Dropping, Clamping, GradientReversed, frozen, weight_normed,
    nn.Softplus, lambda: nn.PReLU(),
)  # fmt: skip


# Methods, beside those of the literature.


class Halved(FedAvg):
    """Not affine, and does not say so."""

    def adjust_gradient(self, gradient: Any, weights: Any, start: Any, local: Any, received: Any) -> Any:
        return 0.5 * gradient


class Pretender(Halved):
    """Not affine, and says so."""

    affine: ClassVar[bool] = True


class Centred(FedAvg):
    """Changes outputs by those of the whole batch."""

    def adjust_outputs(self, outputs: Any, batch: Any, device: Any) -> Any:
        return outputs - 0.5 * outputs.mean(0)


METHODS: tuple[Callable[[], Algorithm], ...] = (
    *(lambda name=name: make(name) for name in ("fedavg", "fedavg", "fedprox", "scaffold", "feddyn", "fedsam")),
    lambda: make("fedlc"), lambda: make("moon", mu=0.5), Halved, Centred,
)  # fmt: skip
SETTINGS = (
    LocalTraining(learning_rate=0.1, batch_size=4),
    LocalTraining(learning_rate=0.05, batch_size=4, momentum=0.9, weight_decay=0.01),
    LocalTraining(learning_rate=0.01, batch_size=4, optimizer="adam"),
    LocalTraining(learning_rate=0.2, batch_size=4, clip_norm=0.5),
    LocalTraining(learning_rate=0.2, batch_size=None, epochs=3),
)


def smoothed(outputs: Tensor, targets: Tensor) -> Tensor:
    """A loss of one's own."""
    return F.cross_entropy(outputs, targets, label_smoothing=0.1) + 0.01 * outputs.square().mean()


@dataclass(frozen=True, slots=True)
class Case:
    """What engines are held to."""

    task: TorchTask
    method: Algorithm
    local: LocalTraining
    ordinary: bool
    """Whether it is made of plain parts only, and of a method of the literature: engines should take it."""
    text: str


def case(seed: int, odd: float = 0.35) -> Case:
    """A module, a method and settings at random; ``odd``: the share of odd parts."""
    rng = random.Random(seed)
    parts = [rng.choice(ODD) if rng.random() < odd else rng.choice(PLAIN) for _ in range(rng.randint(2, 5))]
    method, local = rng.choice(METHODS)(), rng.choice(SETTINGS)
    loss: Any = smoothed if rng.random() < 0.2 else "cross_entropy"

    def model() -> nn.Module:
        return nn.Sequential(nn.Linear(WIDTH, WIDTH), *(part() for part in parts), nn.Linear(WIDTH, CLASSES))

    plain = all(part in PLAIN for part in parts) and type(method).__module__.startswith("fogline.")
    ordinary = plain and not (dropout in parts and isinstance(method, Moon))  # Its features would be drawn for all.
    data = np.random.default_rng(seed)
    x = data.normal(size=(sum(SIZES), WIDTH)).astype(np.float32) + 0.3
    y = data.integers(0, CLASSES, sum(SIZES))
    places = np.split(np.arange(sum(SIZES)), np.cumsum(SIZES)[:-1])
    task = TorchTask(model, from_arrays("random", x, y, places, classes=CLASSES), loss=loss)
    text = f"{seed}: {model()!r}, {method!r}, {local!r}, {loss!r}"
    return Case(task, method, local, ordinary, " ".join(text.split()))
