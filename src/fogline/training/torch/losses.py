"""Losses by name, and what evaluation sums up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from fogline.training.task import Sums

LossName = Literal["cross_entropy", "mse", "l1"]
LossFunction = Callable[[Tensor, Tensor], Tensor]
"""(outputs, targets) of one batch to the mean loss, a scalar."""

IGNORED = -100
"""A class label that marks a target without a truth (padding of sequences), as in PyTorch."""


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean softmax cross-entropy: outputs (B, C) with targets (B,), or (B, T, C) with (B, T)."""
    if outputs.ndim == 3 and targets.ndim == 2:
        outputs, targets = outputs.flatten(0, 1), targets.flatten()
    return F.cross_entropy(outputs, targets)


def mse(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error; outputs (B, 1) fit targets (B,)."""
    return F.mse_loss(_fit(outputs, targets), targets)


def l1(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean absolute error."""
    return F.l1_loss(_fit(outputs, targets), targets)


LOSSES: dict[str, LossFunction] = {"cross_entropy": cross_entropy, "mse": mse, "l1": l1}


def over_all(loss: LossFunction) -> LossFunction:
    """The mean of a loss over a module's outputs, if it gives several: early exits are trained together."""

    def mean(outputs: Tensor | Sequence[Tensor] | Mapping[str, Tensor], targets: Tensor) -> Tensor:
        if isinstance(outputs, Tensor):
            return loss(outputs, targets)
        every = outputs.values() if isinstance(outputs, Mapping) else outputs
        return torch.stack([loss(one, targets) for one in every]).mean()

    return mean


def loss_function(loss: LossName | LossFunction) -> LossFunction:
    """The function behind a loss given by name or as itself.

    Raises:
        ValueError: an unknown name.
    """
    if callable(loss):
        return loss
    if loss not in LOSSES:
        raise ValueError(f"There is no loss '{loss}'; choose {', '.join(LOSSES)}, or give a function.")
    return over_all(LOSSES[loss])


def judge_classes(outputs: Tensor, targets: Tensor, loss: LossFunction) -> Sums:
    """Sums over targets with a truth: ``count``, ``loss``, ``correct``. Of several outputs, the last is the answer."""
    answer = last_of(outputs)
    axis = 1 if answer.ndim == 4 else -1  # Images are labelled (B, C, H, W), sequences (B, T, C).
    known = targets != IGNORED
    count = float(known.sum())
    if count == 0:
        return {"count": 0.0, "loss": 0.0, "correct": 0.0}
    correct = (answer.argmax(axis) == targets) & known
    return {"count": count, "loss": float(loss(outputs, targets)) * count, "correct": float(correct.sum())}


def judge_numbers(outputs: Tensor, targets: Tensor, loss: LossFunction) -> Sums:
    """Sums over targets: ``count``, ``loss``, ``squared_error``, ``absolute_error``."""
    error = _fit(last_of(outputs), targets).double() - targets.double()
    count = float(targets.numel())
    return {
        "count": count,
        "loss": float(loss(outputs, targets)) * count,
        "squared_error": float(error.square().sum()),
        "absolute_error": float(error.abs().sum()),
    }


def last_of(outputs: Tensor | Sequence[Tensor] | Mapping[str, Tensor]) -> Tensor:
    """The last output of a module that gives several (early exit), or the only one."""
    if isinstance(outputs, Tensor):
        return outputs
    return list(outputs.values() if isinstance(outputs, Mapping) else outputs)[-1]


def _fit(outputs: Tensor, targets: Tensor) -> Tensor:
    """Outputs in the shape of the targets, where only axes of one differ."""
    return outputs.reshape(targets.shape) if outputs.numel() == targets.numel() else outputs


def targets_type(targets: Tensor, floats: torch.dtype) -> Tensor:
    """Class labels as int64, numbers in the model's type."""
    return targets.to(floats) if targets.is_floating_point() else targets.long()
