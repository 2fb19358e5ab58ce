"""Losses by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from fogline.plugins import suggest
from fogline.training.torch.outputs.answers import own_loss, several_of

LossName = Literal["cross_entropy", "mse", "l1", "model"]
LossFunction = Callable[[Any, Tensor], Tensor]
"""(outputs, targets) of one batch to the mean loss, a scalar."""

NAMES = ("cross_entropy", "mse", "l1", "model")
IGNORED = -100
"""A class label that marks a target without a truth (padding of sequences), as in PyTorch."""


@dataclass(frozen=True, slots=True)
class CrossEntropy:
    """Mean softmax cross-entropy over the targets that have a truth; 0 where none has.

    Outputs (B, C, ...) with labels (B, ...), as in PyTorch; with ``axis`` -1 outputs (B, ..., C). Targets of a floating
    type are soft labels, shaped like the outputs.
    """

    axis: int = 1

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if targets.is_floating_point():
            return F.cross_entropy(outputs.movedim(self.axis, 1), targets.movedim(self.axis, 1))
        if outputs.ndim > 2 and self.axis == -1:
            outputs, targets = outputs.flatten(0, -2), targets.flatten()
        if targets.numel() and bool((targets == IGNORED).all()):
            return outputs.sum() * 0.0
        return F.cross_entropy(outputs, targets)


def mse(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error; outputs (B, 1) fit targets (B,)."""
    return F.mse_loss(like(outputs, targets), targets)


def l1(outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean absolute error."""
    return F.l1_loss(like(outputs, targets), targets)


def over_all(loss: LossFunction) -> LossFunction:
    """The mean of a loss over a module's answers: early exits are trained together."""

    def mean(outputs: Any, targets: Tensor) -> Tensor:
        if isinstance(outputs, Tensor):
            return loss(outputs, targets)
        losses = [loss(one, targets) for one in several_of(outputs)]
        return losses[0] if len(losses) == 1 else torch.stack(losses).mean()

    return mean


def loss_function(loss: LossName | LossFunction, axis: int = 1) -> LossFunction:
    """The function behind a loss given by name or as itself; ``axis`` is that of the classes.

    Raises:
        ValueError: an unknown name.
    """
    if callable(loss):
        return loss
    if loss not in NAMES:
        raise ValueError(f"There is no loss '{loss}' (one of your own is a function){suggest(str(loss), NAMES)}")
    named: dict[str, LossFunction] = {"cross_entropy": CrossEntropy(axis), "mse": mse, "l1": l1}
    return own_loss if loss == "model" else over_all(named[loss])


def like(outputs: Tensor, targets: Tensor) -> Tensor:
    """Outputs in the shape of the targets, where only axes of one differ.

    Raises:
        ValueError: others differ, so that the difference of the two would be taken between all of them.
    """
    if outputs.shape == targets.shape:
        return outputs
    if not same_numbers(outputs.shape, targets.shape):
        raise ValueError(f"outputs {shape_of(outputs)} do not fit targets {shape_of(targets)}")
    return outputs.reshape(targets.shape)


def same_numbers(one: torch.Size, other: torch.Size) -> bool:
    """Whether shapes differ, behind the axis of the examples, in axes of one only."""
    return one[:1] == other[:1] and [n for n in one[1:] if n != 1] == [n for n in other[1:] if n != 1]


def shape_of(tensor: Tensor) -> str:
    """A shape as people write it, with n examples: ``(n, 3)``."""
    inner = ", ".join(["n", *map(str, tensor.shape[1:])])
    return f"({inner})" if tensor.ndim > 1 else "(n,)"


def targets_type(targets: Tensor, floats: torch.dtype) -> Tensor:
    """Class labels as int64, numbers in the model's type."""
    return targets.to(floats) if targets.is_floating_point() else targets.long()
