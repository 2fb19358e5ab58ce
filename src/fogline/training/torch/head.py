"""From a model's outputs to the loss of every device and its gradient by the outputs.

The one place where losses are differentiated for the engines that train several devices at once: by formula
where the loss is known and no hook bends it, else by autograd over the outputs alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fogline.training.method import Arrays, LocalMethod, overrides
from fogline.training.torch.cohort import Batch
from fogline.training.torch.losses import IGNORED
from fogline.training.torch.task import TorchTask

FeaturesOf = Callable[[int, Tensor], Tensor]
"""(client, weights (P,)) to that client's features of the current batch (B, d)."""


@dataclass(slots=True)
class Gradient:
    """Of the losses by outputs and features; ``losses`` (k,) are those before ``bend_loss``."""

    losses: Tensor
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

    def of(self, client: int) -> tuple[Tensor, Arrays]:
        """One device's start and state."""
        local = {name: rows[client] if rows.ndim == 2 else rows for name, rows in self.local.items()}
        return self.start[client] if self.start.ndim == 2 else self.start, local


def _first(rows: Tensor, clients: int) -> Tensor:
    return rows[:clients] if rows.ndim == 2 else rows


class Head:
    """Losses and hooks on outputs."""

    def __init__(self, task: TorchTask, method: LocalMethod) -> None:
        self._task = task
        self._method = method
        self._bends_outputs = overrides(method, "bend_outputs")
        self.bends_loss = overrides(method, "bend_loss")
        self._rows = {"cross_entropy": _entropies, "mse": _squares, "l1": _distances}.get(str(task.loss))
        self._by_formula = not self._bends_outputs and not self.bends_loss and task.loss == "cross_entropy"
        self._minus_one = torch.tensor(-1.0, dtype=task.dtype, device=task.device)

    def __call__(
        self,
        outputs: Tensor,
        batch: Batch,
        vectors: Vectors,
        features: Tensor | None = None,
        features_of: FeaturesOf | None = None,
    ) -> Gradient:
        """Losses and their gradient; outputs (k, B, ...) carry no graph."""
        if self._by_formula and outputs.ndim == batch.y.ndim + 1 and outputs.ndim < 5:
            return self._entropy_gradient(outputs, batch)
        return self._autograd(outputs, batch, vectors, features, features_of)

    def _entropy_gradient(self, outputs: Tensor, batch: Batch) -> Gradient:
        share, y = _shares(batch, outputs.dtype)
        chosen = y.unsqueeze(-1)
        logarithms = torch.log_softmax(outputs, -1)
        losses = logarithms.gather(-1, chosen).view(y.shape)
        gradient = logarithms.exp_().scatter_add_(-1, chosen, self._minus_one.expand(chosen.shape))
        sums = (losses * share).flatten(1).sum(1).neg_()
        return Gradient(sums, gradient.mul_(share.unsqueeze(-1) if isinstance(share, Tensor) else share))

    def _autograd(
        self,
        outputs: Tensor,
        batch: Batch,
        vectors: Vectors,
        features: Tensor | None,
        features_of: FeaturesOf | None,
    ) -> Gradient:
        leaf = outputs.detach().requires_grad_()
        leaves = [leaf]
        with torch.enable_grad():
            losses = self._losses(self._bend_outputs(leaf, vectors), batch)
            objective = losses
            if self.bends_loss:
                assert features is not None
                assert features_of is not None
                leaves.append(features.detach().requires_grad_())
                objective = self._bend_losses(losses, leaves[1], batch, vectors, features_of)
            total = objective.sum()
        gradients = torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)
        return Gradient(losses.detach(), *gradients)

    def _bend_outputs(self, outputs: Tensor, vectors: Vectors) -> Tensor:
        if not self._bends_outputs:
            return outputs
        bent = [self._method.bend_outputs(outputs[i], vectors.of(i)[1]) for i in range(outputs.shape[0])]
        return torch.stack(bent)

    def _losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        if self._rows is None or outputs.ndim == 5:
            counts = batch.counts or [batch.y.shape[1]] * batch.y.shape[0]
            return torch.stack(
                [self._task.loss_function(o[:n], y[:n]) for o, y, n in zip(outputs, batch.y, counts, strict=True)]
            )
        share, y = _shares(batch, outputs.dtype)
        return (self._rows(outputs, y) * share).flatten(1).sum(1)

    def _bend_losses(
        self, losses: Tensor, features: Tensor, batch: Batch, vectors: Vectors, features_of: FeaturesOf
    ) -> Tensor:
        bent: list[Tensor] = []
        for i, loss in enumerate(losses):
            count = batch.counts[i] if batch.counts else batch.y.shape[1]
            start, local = vectors.of(i)

            def under(weights: Tensor, i: int = i, count: int = count) -> Tensor:
                return features_of(i, weights)[:count]

            bent.append(self._method.bend_loss(loss, features[i, :count], under, start, local))
        return torch.stack(bent)


def _shares(batch: Batch, dtype: torch.dtype) -> tuple[Tensor | float, Tensor]:
    """What each target's loss counts in its device's mean, (k, B, ...) or one number, and usable targets.

    A share is rounded to the model's type in the end only, so that one number and a tensor of it agree.
    """
    y = batch.y
    per_example = math.prod(y.shape[2:])
    if batch.ignores:
        known = (y != IGNORED).double()
        if batch.weights is not None:
            known *= (batch.weights > 0).view(*batch.weights.shape, *([1] * (y.ndim - 2)))
        share = known / known.flatten(1).sum(1).view(-1, *([1] * (y.ndim - 1)))
        return share.to(dtype), y.clamp_min(0)
    if batch.weights is None:
        return 1.0 / (y.shape[1] * per_example), y
    weights = batch.weights.view(*batch.weights.shape, *([1] * (y.ndim - 2))).expand(y.shape)
    return (weights / per_example).to(dtype), y


def _entropies(outputs: Tensor, y: Tensor) -> Tensor:
    entropies = F.cross_entropy(outputs.reshape(-1, outputs.shape[-1]), y.reshape(-1), reduction="none")
    return entropies.view(y.shape)


def _squares(outputs: Tensor, y: Tensor) -> Tensor:
    return (outputs.reshape(y.shape) - y).square()


def _distances(outputs: Tensor, y: Tensor) -> Tensor:
    return (outputs.reshape(y.shape) - y).abs()
