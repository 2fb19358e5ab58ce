"""What evaluation sums up."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fogline.training.task import Sums
from fogline.training.torch.outputs.fit import Fit
from fogline.training.torch.outputs.losses import LossFunction, like


def judge_classes(outputs: Any, answer: Tensor, targets: Tensor, loss: LossFunction, fit: Fit) -> Sums:
    """Sums over targets with a truth: ``count``, ``loss`` (of all outputs), ``correct`` (of the answer)."""
    truth = targets.argmax(fit.axis) if targets.is_floating_point() and fit.kind == "classes" else targets
    known = is_known(truth, fit.ignored)
    count = float(known.sum())
    if count == 0:
        return {"count": 0.0, "loss": 0.0, "correct": 0.0}
    sums = {"count": count, "loss": float(loss(outputs, targets)) * count}
    if fit.kind == "unknown":
        return sums
    found = decided(answer, truth, fit)
    return sums | {"correct": float(((found == truth) & known).sum())}


def judge_numbers(outputs: Any, answer: Tensor, targets: Tensor, loss: LossFunction, fit: Fit) -> Sums:
    """Sums over targets: ``count``, ``loss`` (of all outputs); of the answer ``squared_error``, ``absolute_error``."""
    count = float(targets.numel())
    sums = {"count": count, "loss": float(loss(outputs, targets)) * count}
    if fit.kind == "unknown":
        return sums
    error = like(answer, targets).double() - targets.double()
    return sums | {"squared_error": float(error.square().sum()), "absolute_error": float(error.abs().sum())}


def decided(answer: Tensor, truth: Tensor, fit: Fit) -> Tensor:
    """The classes that an answer names, shaped like the truth."""
    if fit.kind == "binary":
        return (answer > fit.threshold).long().reshape(truth.shape)
    return answer.argmax(fit.axis)


def is_known(truth: Tensor, ignored: tuple[int, ...]) -> Tensor:
    """Where there is a truth."""
    known = torch.ones_like(truth, dtype=torch.bool)
    for label in ignored:
        known &= truth != label
    return known
