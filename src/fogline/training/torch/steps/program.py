"""A model as something that runs forward and backward for K devices at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from fogline.training.torch.features import Features
from fogline.training.torch.layout import named_tensors
from fogline.training.torch.steps.optimizers import Sink
from fogline.training.torch.task import TorchTask


class Program(ABC):
    """Forward and backward of a model under stacked weights."""

    @abstractmethod
    def begin(self, seeds: Sequence[int], weights: list[Tensor], buffers: dict[str, Tensor]) -> None:
        """A new cohort: its seeds, its weights (K, *shape) and buffers (K, *shape), both changed in place."""

    @abstractmethod
    def buffers(self) -> dict[str, Tensor]:
        """The cohort's buffers (K, *shape) as they are now."""

    @abstractmethod
    def forward(
        self, weights: list[Tensor], x: Tensor, counts: list[int] | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Outputs (k, B, ...) of inputs (k, B, ...), and the features, if they were asked for.

        Of a model that gives several answers they stand side by side: (k, B, heads, ..., classes).

        ``counts``: how many of each device's B examples count, the others being filling; None if all do.
        """

    @abstractmethod
    def backward(self, outputs: Tensor, features: Tensor | None, sink: Sink) -> None:
        """From the loss's gradients by outputs and features to those by the weights."""


class DrawingProgram(Program):
    """A program whose layers may draw random numbers, from generators of its own."""

    draws: bool
    """Whether there are such layers."""

    @abstractmethod
    def draw_from(self, seeds: Sequence[int], device: torch.device, by_example: bool = True) -> None:
        """What is drawn from in the steps to come: a seed for each device, or for each example of each."""


class TracedProgram(Program):
    """Any module, by autograd: a plain call for one device, ``vmap`` for more.

    Args:
        single: every cohort is one device.
        features: whether the features are wanted.
    """

    def __init__(self, task: TorchTask, single: bool, features: bool) -> None:
        self._task, self._single, self._wants_features = task, single, features
        self._keeps = single and task.keeps
        self._make()
        self._names = [entry.name for entry in task.layout.trainable]
        self._buffers: dict[str, Tensor] = {}
        self._leaves: list[Tensor] = []
        self._results: list[Tensor] = []

    def _make(self) -> None:
        self.module = self._task.untrained().train()
        self._features = Features(self.module) if self._wants_features else None

    def begin(self, seeds: Sequence[int], weights: list[Tensor], buffers: dict[str, Tensor]) -> None:
        """Whoever calls seeds the generators that the module draws from."""
        self._buffers = buffers
        if self._keeps:
            self._make()
        if self._single:
            bind(self.module, dict(zip(self._names, (w[0] for w in weights), strict=True)), self._buffers)

    def buffers(self) -> dict[str, Tensor]:
        """A module may replace its buffers instead of writing into them: so they are asked of the module."""
        if not self._single:
            return self._buffers
        tensors = named_tensors(self.module)
        return {name: tensors[name].detach().unsqueeze(0) for name in self._buffers}

    def forward(
        self, weights: list[Tensor], x: Tensor, counts: list[int] | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Run the program under autograd."""
        with torch.enable_grad():
            if self._single:
                results = self._call_bound(x)
            else:
                results = self._call_stacked(weights, x)
        self._results = list(results)
        detached = [result.detach() for result in results]
        return detached[0], detached[1] if len(detached) > 1 else None

    def _call_bound(self, x: Tensor) -> tuple[Tensor, ...]:
        tensors = dict(self.module.named_parameters())
        self._leaves = [tensors[name] for name in self._names]
        outputs = self._task.side_by_side(self.module(x[0])).unsqueeze(0)
        features = self._features.taken() if self._features else None
        return (outputs,) if features is None else (outputs, features.unsqueeze(0))

    def _call_stacked(self, weights: list[Tensor], x: Tensor) -> tuple[Tensor, ...]:
        self._leaves = [w.detach().requires_grad_() for w in weights]
        buffers = {name: buffer[: x.shape[0]] for name, buffer in self._buffers.items()}

        def call(
            weights: list[Tensor], buffers: dict[str, Tensor], x: Tensor
        ) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
            state = {**dict(zip(self._names, weights, strict=True)), **buffers}
            given = functional_call(self.module, state, (x,))  # Enters into the state what the module replaces.
            outputs = self._task.side_by_side(given)
            features = self._features.taken() if self._features else None
            results = (outputs,) if features is None else (outputs, features)
            return results, {name: state[name] for name in buffers}

        results, after = torch.vmap(call, randomness="different")(self._leaves, buffers, x)
        for name, buffer in after.items():
            if buffer.data_ptr() != buffers[name].data_ptr():  # Not written over: autograd may need the one before.
                self._buffers[name] = torch.cat([buffer.detach(), self._buffers[name][x.shape[0] :]])
        return results

    def backward(self, outputs: Tensor, features: Tensor | None, sink: Sink) -> None:
        """By autograd; a parameter without a part in the outputs has gradient zero."""
        along = [outputs] if features is None else [outputs, features]
        gradients = torch.autograd.grad(
            self._results[: len(along)], self._leaves, along, allow_unused=True, materialize_grads=True
        )
        self._results, self._leaves = [], []
        for index, gradient in enumerate(gradients):
            sink.put(index, gradient.unsqueeze(0) if self._single else gradient)


def bind(module: nn.Module, weights: dict[str, Tensor], buffers: dict[str, Tensor]) -> None:
    """Let a module's parameters be views of given memory; its buffers (1, *shape) as well."""
    tensors = named_tensors(module)
    for name, weight in weights.items():
        tensors[name].data = weight
    for name, buffer in buffers.items():
        tensors[name].data = buffer[0]
