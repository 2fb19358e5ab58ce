"""From a model's outputs to the loss of every device and its gradient by the outputs.

The one place where losses are differentiated for the engines that train several devices at once: by formula where the
loss is known and no hook adjusts the outputs, else by autograd over the outputs alone. What a hook makes of a loss is
differentiated by autograd along the loss and along what else the hook looks at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from fogline.training.context import LocalBatch
from fogline.training.method import Arrays, LocalMethod, overrides
from fogline.training.torch.outputs.losses import like
from fogline.training.torch.steps.cohort import Batch, Labels, Targets
from fogline.training.torch.steps.step_device import StepDevice
from fogline.training.torch.task import TorchTask

_log_softmax_backward = torch.ops.aten._log_softmax_backward_data.default

FEW_CLASSES = 16
"""PyTorch's softmax over an axis shorter than its vectors goes number by number: simple operations take a third."""


class Entropies(NamedTuple):
    """The cross-entropies of a step, as far as its gradient needs them: the rest is made for many steps at once."""

    logarithms: Tensor
    """(k, B, ..., C) those of the probabilities, but for one of ``sums``."""
    sums: Tensor
    """(k, B, ..., 1)"""
    labels: Labels


Terms = Tensor | Entropies
"""(k, ...), what adds up to each device's loss."""


@dataclass(slots=True)
class Gradient:
    """Of the losses by outputs and features; ``terms`` are those of the losses before ``adjust_loss``."""

    terms: Terms
    outputs: Tensor
    features: Tensor | None = None


@dataclass(slots=True)
class Vectors:
    """What hooks are handed: rows (k, n) per device, or (n,) where all devices share one."""

    start: Tensor
    local: Arrays
    received: Arrays
    clients: int

    def first(self, clients: int) -> Vectors:
        """Those of the first k devices."""
        if clients == self.clients:
            return self
        return Vectors(
            _first(self.start, clients),
            {name: _first(rows, clients) for name, rows in self.local.items()},
            {name: _first(rows, clients) for name, rows in self.received.items()},
            clients,
        )

    def of(self, client: int) -> tuple[Tensor, Arrays, Arrays]:
        """One device's start, its state, and what it has received; the same tensors where devices share one."""
        states = [{name: _row(rows, client) for name, rows in state.items()} for state in (self.local, self.received)]
        return _row(self.start, client), states[0], states[1]


def _row(rows: Tensor, client: int) -> Tensor:
    return rows[client] if rows.ndim == 2 else rows


def _first(rows: Tensor, clients: int) -> Tensor:
    return rows[:clients] if rows.ndim == 2 else rows


class Head:
    """Losses and hooks on outputs."""

    def __init__(self, task: TorchTask, method: LocalMethod, single: bool) -> None:
        self._task = task
        few = task.outputs is not None and task.outputs <= FEW_CLASSES
        by_parts = few and not single and task.device.type == "cpu"  # Not where one operation is dearer than its work.
        self._entropy_gradient = _few_classes_gradient if by_parts else _entropy_gradient
        self._method = method
        self._adjusts_outputs = overrides(method, "adjust_outputs")
        self.adjusts_loss = overrides(method, "adjust_loss")
        self._classes_first = task.class_axis == 1 if task.classifies else None
        self._several = task.gives_several
        self._rows = {"cross_entropy": _entropies, "mse": _squares, "l1": _distances}.get(str(task.loss))
        plain = not task.has_shares and not self._adjusts_outputs and not self._several
        self.by_example = self._rows is not None and plain
        """Whether each example's loss is known by itself, and not only a batch's."""

    def targets(self, ignores: bool) -> Targets:
        """What a cohort is to make ready of its targets; ``ignores``: some have no truth."""
        named = self._task.loss == "cross_entropy"  # A loss that is a function does as it likes.
        labelled = named and not self._adjusts_outputs and not self._task.has_shares and not self._several
        return Targets(self._task.dtype, ignores and named, self._task.outputs if labelled else None)

    def __call__(
        self, outputs: Tensor, batch: Batch, devices: Sequence[StepDevice] = (), features: Tensor | None = None
    ) -> Gradient:
        """Losses and their gradient; outputs (k, B, ...) and features carry no graph.

        Of a model that gives several answers, outputs are (k, B, heads, ..., classes), as programs give them.

        ``devices``: as the hooks see them, where there are hooks.
        """
        if self._several:
            return self._autograd(outputs, batch.for_heads(outputs.shape[2]), devices, features)
        if self._classes_first and outputs.ndim > 3:
            gradient = self._of(outputs.movedim(2, -1), batch, devices, features)
            return Gradient(gradient.terms, gradient.outputs.movedim(-1, 2), gradient.features)
        return self._of(outputs, batch, devices, features)

    def taught(self, outputs: Tensor, teacher: Tensor, batch: Batch) -> Gradient:
        """The same of outputs whose loss the method makes, of what a larger model gives for the batch."""
        first = self._classes_first and outputs.ndim > 3
        leaf = outputs.detach().requires_grad_()
        with torch.enable_grad():
            given, told = (rows.movedim(2, -1) if first else rows for rows in (leaf, teacher))
            losses = self._losses(given, batch)
            counts = batch.counts or [outputs.shape[1]] * len(outputs)
            each = zip(losses, given, told, counts, strict=True)
            taught = [self._method.taught_loss(loss, own[:n], other[:n]) for loss, own, other, n in each]
            (slope,) = torch.autograd.grad(torch.stack(taught).sum(), leaf)
        return Gradient(losses.detach(), slope)

    def _of(self, outputs: Tensor, batch: Batch, devices: Sequence[StepDevice], features: Tensor | None) -> Gradient:
        """Classes stand last, as methods and formulas take them."""
        labels = batch.labels
        if labels is not None and labels.slope.shape == outputs.shape and labels.slope.dtype == outputs.dtype:
            plain = self._entropy_gradient(outputs, labels)
            return self._adjusted(plain, outputs, batch, devices, features) if self.adjusts_loss else plain
        return self._autograd(outputs, batch, devices, features)

    def _adjusted(
        self, plain: Gradient, outputs: Tensor, batch: Batch, devices: Sequence[StepDevice], features: Tensor | None
    ) -> Gradient:
        """The gradient of what the hook makes of losses whose own gradient is known, by the chain rule."""
        given = [loss_of(plain.terms), outputs] if features is None else [loss_of(plain.terms), outputs, features]
        with torch.enable_grad():
            leaves, parts = zip(*map(_leaf, given), strict=True)
            adjusted = self._adjusted_losses(parts[0], self._seen(batch, parts[1:]), devices)
        slopes = cast("Sequence[Tensor | None]", torch.autograd.grad(adjusted, leaves, allow_unused=True))
        by_loss, by_outputs, *by_features = slopes
        slope = torch.zeros_like(outputs) if by_outputs is None else by_outputs.view_as(outputs)
        if by_loss is not None:
            share = by_loss.view(-1, *[1] * (outputs.ndim - 1))
            slope = plain.outputs * share if by_outputs is None else slope.addcmul(plain.outputs, share)
        found = by_features[0] if by_features else None
        return Gradient(plain.terms, slope, None if found is None or features is None else found.view_as(features))

    def _autograd(
        self, outputs: Tensor, batch: Batch, devices: Sequence[StepDevice], features: Tensor | None
    ) -> Gradient:
        leaves = [outputs.detach().requires_grad_()]
        if features is not None:
            leaves.append(features.detach().requires_grad_())
        with torch.enable_grad():
            seen = self._seen(batch, [leaf.unbind() for leaf in leaves]) if devices else []
            losses = self._losses(self._adjusted_outputs(leaves[0], seen, devices), batch)
            total = self._adjusted_losses(losses, seen, devices) if self.adjusts_loss else losses.sum()
        slopes = cast("Sequence[Tensor | None]", torch.autograd.grad(total, leaves, allow_unused=True))
        slope, *others = slopes
        slope = torch.zeros_like(outputs) if slope is None else slope
        return Gradient(losses.detach(), slope, others[0] if others else None)

    def _seen(self, batch: Batch, parts: Sequence[Sequence[Tensor]]) -> list[LocalBatch]:
        """The batch as each device's hooks see it, without what fills it up; ``parts``: outputs, and features if there
        are any, device by device."""
        each = zip(batch.x.unbind(), batch.truth.unbind(), *parts, strict=True)
        if batch.counts is not None:
            each = (tuple(rows[:n] for rows in own) for own, n in zip(each, batch.counts, strict=True))
        return [self._as_seen(*own) for own in each]

    def _as_seen(self, x: Tensor, y: Tensor, outputs: Tensor, features: Tensor | None = None) -> LocalBatch:
        heads = outputs.unbind(1) if self._several else (outputs,)
        return LocalBatch(x, y, heads[-1], features, heads)

    def _adjusted_outputs(self, outputs: Tensor, seen: list[LocalBatch], devices: Sequence[StepDevice]) -> Tensor:
        if not self._adjusts_outputs:
            return outputs
        adjusted: list[Tensor] = []
        for own, one, device in zip(outputs, seen, devices, strict=False):
            count = len(one.outputs)
            one.outputs = self._method.adjust_outputs(one.outputs, one, device)
            adjusted.append(torch.cat([one.outputs, own[count:]]) if count < len(own) else one.outputs)
        return torch.stack(adjusted)

    def _adjusted_losses(
        self, losses: Iterable[Tensor], seen: list[LocalBatch], devices: Sequence[StepDevice]
    ) -> Tensor:
        """The sum of what the hook makes of each device's loss."""
        adjusted = [self._method.adjust_loss(*each) for each in zip(losses, seen, devices, strict=False)]
        return adjusted[0] if len(adjusted) == 1 else torch.stack(adjusted).sum()

    def _losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        if self._rows is None or (self._classes_first is not None and batch.y.is_floating_point()):
            counts = batch.counts or [batch.y.shape[1]] * batch.y.shape[0]
            outputs = outputs.movedim(-1, 2) if self._classes_first and outputs.ndim > 3 else outputs
            return torch.stack(
                [self._task.loss_function(o[:n], y[:n]) for o, y, n in zip(outputs, batch.y, counts, strict=True)]
            )
        return (self._rows(outputs, batch.y) * batch.share).flatten(1).sum(1)


def _leaf(rows: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
    """What autograd differentiates along, and each device's part of it: of one device the same, which costs nothing."""
    if len(rows) == 1:
        leaf = rows[0].requires_grad_()
        return leaf, (leaf,)
    leaf = rows.detach().requires_grad_()
    return leaf, leaf.unbind()


def loss_of(terms: Terms) -> Tensor:
    """The losses (k,) of one step."""
    return terms.reshape(len(terms), -1).sum(1) if isinstance(terms, Tensor) else next(losses_of([terms]))[0]


def _entropy_gradient(outputs: Tensor, labels: Labels) -> Gradient:
    logarithms = torch.log_softmax(outputs, -1)
    terms = logarithms.gather(-1, labels.place) * labels.weight
    return Gradient(terms, _log_softmax_backward(labels.slope, logarithms, -1, outputs.dtype))


def _few_classes_gradient(outputs: Tensor, labels: Labels) -> Gradient:
    logarithms = outputs - outputs.amax(-1, keepdim=True)
    powers = logarithms.exp()
    sums = powers.sum(-1, keepdim=True)
    # The weight divides first and alone, so that one number and a tensor of it give the same bits.
    slope = torch.addcdiv(labels.slope, powers, sums / labels.weight, value=-1.0)
    return Gradient(Entropies(logarithms, sums, labels), slope)


def losses_of(steps: Sequence[Terms]) -> Iterator[Tensor]:
    """The losses (T, k) of steps one after the other, as many at once as are alike."""
    for _, alike in groupby(steps, lambda terms: (terms if isinstance(terms, Tensor) else terms.logarithms).shape):
        some = list(alike)
        left = [terms for terms in some if isinstance(terms, Entropies)]
        terms = _terms(left) if left else torch.stack([terms for terms in some if isinstance(terms, Tensor)])
        yield terms.view(*terms.shape[:2], -1).sum(2)


def _terms(steps: Sequence[Entropies]) -> Tensor:
    logarithms, sums, labels = zip(*steps, strict=True)
    places, weights, _ = zip(*labels, strict=True)
    weight = torch.stack(weights) if isinstance(weights[0], Tensor) else weights[0]
    return torch.stack(logarithms).gather(-1, torch.stack(places)).sub_(torch.stack(sums).log_()).mul_(weight)


def _entropies(outputs: Tensor, y: Tensor) -> Tensor:
    entropies = F.cross_entropy(outputs.flatten(0, -2), y.reshape(-1), reduction="none")
    return entropies.view(y.shape)


def _squares(outputs: Tensor, y: Tensor) -> Tensor:
    return (_like(outputs, y) - y).square()


def _distances(outputs: Tensor, y: Tensor) -> Tensor:
    return (_like(outputs, y) - y).abs()


def _like(outputs: Tensor, y: Tensor) -> Tensor:
    return like(outputs.flatten(0, 1), y.flatten(0, 1)).view(y.shape)
