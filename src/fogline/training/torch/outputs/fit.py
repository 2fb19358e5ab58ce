"""How a model's outputs and the targets go together: where the classes are, and what a loss of one's own makes of them.

All of it is found on two examples, before anything is trained.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from fogline.training.torch.outputs.answers import answer_of
from fogline.training.torch.outputs.losses import IGNORED, LossFunction, LossName, same_numbers, shape_of
from fogline.user_code.bugs import attempt

Kind = Literal["classes", "binary", "numbers", "unknown"]


@dataclass(frozen=True, slots=True)
class Fit:
    """What outputs are to targets.

    ``classes``: one output per class, on an axis of their own. ``binary``: one output per target, which decides
    between class 0 and 1. ``numbers``: one output per target, a number. ``unknown``: only the loss knows.
    """

    kind: Kind
    axis: int = 1
    """Of the outputs, that of the classes: 1 or -1."""
    squeezes: bool = False
    """Whether targets (n, 1, ...) are labels (n, ...)."""
    threshold: float = 0.0
    """Above it, an output says class 1."""
    floats: bool = False
    """Whether the loss wants labels as numbers shaped like the outputs."""
    ignored: tuple[int, ...] = ()
    """Labels that the loss takes for no truth."""
    problem: str = ""
    """Why outputs and targets cannot be used together, as a sentence."""


def fit_of(
    outputs: Tensor,
    targets: Tensor,
    loss: LossName | LossFunction,
    classifies: bool,
    axis: int | None,
    probe: Callable[[], int | None],
) -> Fit:
    """See :class:`Fit`.

    Args:
        outputs: the model's answer for a few examples, without a graph.
        targets: theirs, as in the data set.
        loss: by name or as itself.
        classifies: whether targets are classes.
        axis: of the classes, if it was said.
        probe: finds it by trial, where shapes leave it open; None if it cannot.
    """
    if not classifies:
        return _numbers(outputs, targets, loss)
    fit = _classes(outputs, targets, axis, probe)
    if callable(loss):
        return _as_the_loss_decides(fit, outputs, targets, loss)
    if loss == "cross_entropy" and fit.kind != "classes" and not fit.problem:
        fit = replace(
            fit,
            problem=f"cross_entropy wants one output for each class; the model's outputs are {shape_of(outputs)} and "
            f"the targets {shape_of(targets)}. One-hot labels must be floats; for one output per label give "
            "loss=nn.BCEWithLogitsLoss().",
        )
    return replace(fit, ignored=(IGNORED,))


def _numbers(outputs: Tensor, targets: Tensor, loss: LossName | LossFunction) -> Fit:
    fits = same_numbers(outputs.shape, targets.shape)
    if callable(loss):
        problem = _broadcast(outputs, targets, loss) if outputs.shape != targets.shape else ""
        return Fit("numbers" if fits else "unknown", problem=problem)
    if fits or loss == "model":
        return Fit("numbers" if fits else "unknown")
    return Fit(
        "unknown",
        problem=f"Outputs {shape_of(outputs)} do not fit targets {shape_of(targets)}: {loss} would compare each with "
        "all. Give the model as many outputs as an example has targets.",
    )


def _classes(outputs: Tensor, targets: Tensor, axis: int | None, probe: Callable[[], int | None]) -> Fit:
    if targets.is_floating_point() and targets.shape == outputs.shape and outputs.ndim > 1 and outputs.shape[1] > 1:
        sums = targets.sum(1)
        return Fit("classes", axis or (1 if torch.allclose(sums, torch.ones_like(sums), atol=1e-3) else -1))
    if targets.is_floating_point() and bool((targets != targets.round()).any()):
        return Fit(
            "unknown",
            problem=f"The targets {shape_of(targets)} are neither whole numbers nor soft labels for outputs "
            f"{shape_of(outputs)}; give labels 0 to classes - 1 and classes=..., or train with loss='mse'.",
        )
    if same_numbers(outputs.shape, targets.shape):
        return Fit("binary")
    squeezes = targets.ndim > 1 and targets.shape[1] == 1
    for squeezed in (False, True) if squeezes else (False,):
        labels = targets.squeeze(1) if squeezed else targets
        places = [place for place in (1, -1) if _without(outputs, place) == list(labels.shape)]
        if not places:
            continue
        if axis is not None or len(places) == 1 or outputs.ndim == 2:
            return Fit("classes", axis or places[0], squeezed)
        found = probe()
        problem = (
            ""
            if found
            else (
                f"The classes of outputs {shape_of(outputs)} with targets {shape_of(targets)} may be on axis 1, where "
                "PyTorch has them, or on the last; say Task(..., class_axis=1) or class_axis=-1."
            )
        )
        return Fit("classes", found or 1, squeezed, problem=problem)
    return Fit(
        "unknown",
        problem=f"Outputs {shape_of(outputs)} do not fit labels {shape_of(targets)}: classes are on axis 1, as in "
        "PyTorch: (n, classes) for labels (n,), (n, classes, ...) for labels (n, ...); or on the last axis. One-hot "
        "labels must be floats.",
    )


def _without(outputs: Tensor, axis: int) -> list[int]:
    shape = list(outputs.shape)
    if len(shape) > 1:
        del shape[axis]
    return shape if outputs.ndim > 1 else []


def _as_the_loss_decides(fit: Fit, outputs: Tensor, targets: Tensor, loss: LossFunction) -> Fit:
    """What a loss of one's own takes for granted, seen in what it does."""
    fit = replace(fit, problem="") if fit.kind == "unknown" else fit
    outputs, targets = torch.cat([outputs[:1]] * 2), torch.cat([targets[:1]] * 2)
    labels = targets.squeeze(1) if fit.squeezes else targets
    labels = labels if labels.is_floating_point() and fit.kind == "classes" else labels.long()
    if fit.kind == "binary":
        plain = _value(loss, outputs, labels) is not None
        floats = not plain and _value(loss, outputs, labels.reshape(outputs.shape).to(outputs.dtype)) is not None
        fit = replace(fit, floats=floats, threshold=_threshold(loss, outputs, labels, floats))
    stated = getattr(loss, "ignore_index", None)
    if isinstance(stated, int):
        return replace(fit, ignored=(stated,))
    return replace(fit, ignored=tuple(m for m in (IGNORED, 255) if _ignores(loss, fit, outputs, labels, m)))


def _value(loss: LossFunction, outputs: Tensor, targets: Tensor) -> float | None:
    value = attempt(lambda: float(loss(outputs, targets)))
    return None if isinstance(value, Exception) else value


def _threshold(loss: LossFunction, outputs: Tensor, labels: Tensor, floats: bool) -> float:
    """0 where outputs are logits; 1/2 where they are probabilities, or numbers drawn to 0 and 1: then the loss of class
    1 is least at 1, or there is none beyond."""
    ones = torch.ones_like(labels)
    ones = ones.reshape(outputs.shape).to(outputs.dtype) if floats else ones
    at, beyond = (_value(loss, torch.full_like(outputs, number), ones) for number in (0.99, 1.5))
    return 0.5 if at is not None and (beyond is None or beyond > at) else 0.0


def decides(loss: LossFunction, outputs: Tensor) -> bool:
    """Whether a loss takes targets 0 and 1 for two classes, and not for numbers to be met: the further an output is on
    the right side, the better, or there are none beyond 0 and 1.

    Args:
        loss: one's own.
        outputs: the model's, for a few examples, one for each target.
    """

    def at(output: float, target: float) -> float | None:
        return _value(loss, torch.full_like(outputs, output), torch.full_like(outputs, target))

    sides = [(at(0.99, 1.0), at(1.5, 1.0)), (at(0.01, 0.0), at(-0.5, 0.0))]
    return all(there is not None and (beyond is None or beyond < there) for there, beyond in sides)


def _ignores(loss: LossFunction, fit: Fit, outputs: Tensor, labels: Tensor, marker: int) -> bool:
    """Whether nothing is learned from an example with that label."""
    if labels.is_floating_point():
        return False
    marked = labels.clamp_min(0).clone()
    marked[marked == marker] = 0
    marked[0] = marker
    leaf = outputs.clone().requires_grad_()

    def slope() -> Tensor:
        with torch.enable_grad():
            value = loss(leaf, marked.reshape(outputs.shape).to(outputs.dtype) if fit.floats else marked)
        return torch.autograd.grad(value, leaf)[0]

    found = attempt(slope)
    return isinstance(found, Tensor) and not bool(found[0].any()) and bool(torch.isfinite(found).all())


def _broadcast(outputs: Tensor, targets: Tensor, loss: LossFunction) -> str:
    """Says so where a loss takes differences of all outputs and all targets."""
    outputs = torch.cat([outputs[:1]] * 2)
    targets = torch.cat([targets[:1]] * 2)
    told: list[Any] = []

    def slope(last: Tensor) -> Tensor:
        leaf = outputs.clone().requires_grad_()
        with torch.enable_grad(), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            value = loss(leaf, last)
        told.extend(str(one.message) for one in caught if "target size" in str(one.message))
        return torch.autograd.grad(value, leaf)[0]

    changed = targets.clone()
    changed[-1] += 1
    slopes = [attempt(lambda t=t: slope(t)) for t in (targets, changed)]
    one, other = slopes
    alike = isinstance(one, Tensor) and isinstance(other, Tensor) and torch.equal(one[0], other[0])
    mixes = not alike and isinstance(one, Tensor) and same_numbers(outputs.shape, targets.shape)
    if not told and not mixes:
        return ""
    return (
        f"The loss would compare each of the outputs {shape_of(outputs)} with each of the targets {shape_of(targets)}; "
        "give them the same shape, as with y[:, None] in the data or .squeeze(1) in the model."
    )


def loss_problem(loss: LossFunction, outputs: Any, targets: Tensor) -> str:
    """What is wrong with that which a loss gives, as a sentence; empty if nothing, or if it raises.

    Args:
        loss: as it is trained on.
        outputs: the model's, for a few examples.
        targets: theirs, as the loss takes them.
    """
    value: Any = attempt(lambda: loss(outputs, targets))
    if isinstance(value, Exception) or (isinstance(value, Tensor) and value.numel() == 1):
        return ""
    gives = f"a tensor {shape_of(value)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
    return f"The loss gives {gives}; it must give the mean over the batch, as a tensor of one number."


def fitted_loss(loss: LossFunction, fit: Fit) -> LossFunction:
    """A loss that is a function, as the labels are: those that it wants as numbers, and batches without a truth."""

    def fitted(outputs: Any, targets: Tensor) -> Tensor:
        if fit.ignored and not targets.is_floating_point():
            known = torch.ones_like(targets, dtype=torch.bool)
            for label in fit.ignored:
                known &= targets != label
            if not bool(known.any()):
                return answer_of(outputs).sum() * 0.0
        if fit.floats:
            answer = answer_of(outputs)
            targets = targets.reshape(answer.shape).to(answer.dtype)
        return loss(outputs, targets)

    return fitted
