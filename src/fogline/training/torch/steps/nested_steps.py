"""Gradients of steps that train models within the devices' own, by what they have in common with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from fogline.training.context import STEPS, Draws
from fogline.training.local import ClientJob
from fogline.training.method import LocalMethod
from fogline.training.torch.steps.cohort import Batch
from fogline.training.torch.steps.loss_gradient import Gradient, Head, Terms, loss_of
from fogline.training.torch.steps.optimizers import Collect
from fogline.training.torch.steps.program import Program
from fogline.training.torch.steps.stacked_weights import Blocks, flat
from fogline.training.torch.sub_models.nested import NestedModel
from fogline.training.torch.task import TorchTask


@dataclass(slots=True)
class Part:
    """A model within the devices' own: a program, and where its tensors lie."""

    task: TorchTask
    program: Program
    places: list[tuple[int, Tensor]] | None
    """Of each of its tensors: which one of the devices' own it is part of, and the places there. None: it is all."""
    blocks: Blocks | None = None

    def begin(self, seeds: Sequence[int]) -> None:
        """A new cohort."""
        if self.places is not None:
            self.blocks = Blocks(self.task.layout.trainable, len(seeds), self.task.dtype, self.task.device)
            self.program.begin(seeds, self.blocks.tensors, {})

    def cut(self, weights: list[Tensor], members: Tensor | None) -> list[Tensor]:
        """Its weights of those devices, of all if None."""
        if members is not None:
            weights = [weight.index_select(0, members) for weight in weights]
        if self.places is None:
            return weights
        assert self.blocks is not None
        own = self.blocks.first(len(weights[0]))
        for room, (index, places) in zip(own, self.places, strict=True):
            room.copy_(flat(weights[index]).index_select(1, places).view_as(room))
        return own

    def add(self, gradients: Sequence[Tensor], members: Tensor | None, into: Sequence[Tensor]) -> None:
        """Add gradients of those devices to the whole ones (k, *shape)."""
        for place, gradient in enumerate(gradients):
            index, places = (place, None) if self.places is None else self.places[place]
            whole, own = flat(into[index]), flat(gradient)
            if places is not None:
                wide = whole.new_zeros(len(own), whole.shape[1])
                own = wide.index_copy_(1, places, own)
            if members is None:
                whole.add_(own)
            else:
                whole.index_add_(0, members, own)


class NestedSteps:
    """What a step's models come to, for devices that step together.

    Args:
        task: the devices' own model.
        program: it.
        method: names the models of each step.
        head: losses.
        models: the devices' own, and all within it.
        make: the program of a smaller model.
    """

    def __init__(
        self,
        task: TorchTask,
        program: Program,
        method: LocalMethod,
        head: Head,
        models: Sequence[NestedModel],
        make: Callable[[TorchTask], Program],
    ) -> None:
        self._method, self._head = method, head
        index = {entry.name: place for place, entry in enumerate(task.layout.trainable)}
        self._parts = [Part(task, program, None)]
        for model in models[1:]:
            assert model.part is not None
            own = cast("TorchTask", model.part.task)
            places = [(index[entry.name], model.places[entry.name][0]) for entry in own.layout.trainable]
            self._parts.append(Part(own, make(own), places))
        self._draws: list[Draws] = []

    def begin(self, jobs: Sequence[ClientJob]) -> None:
        """A new cohort."""
        self._draws = [Draws(job.seed, job.common_seed, STEPS) for job in jobs]
        for part in self._parts:
            part.begin([job.seed for job in jobs])

    def __call__(self, batch: Batch, weights: list[Tensor]) -> tuple[Terms, list[Tensor]]:
        """Losses (k,) and gradients (k, *shape) of the first k devices."""
        clients = len(batch.x)
        named = [tuple(self._method.step_models(len(self._parts), draws.own)) for draws in self._draws[:clients]]
        losses, gradients = batch.x.new_zeros(clients, dtype=weights[0].dtype), [torch.zeros_like(w) for w in weights]
        for models in sorted({*named}):
            members = [place for place, own in enumerate(named) if own == models]
            rows = None if len(members) == clients else torch.tensor(members, device=batch.x.device)
            own = batch if rows is None else batch.of(members, rows)
            told = self.step(models, own, weights, rows, gradients)
            losses = told if rows is None else losses.index_copy(0, rows, told)
        return losses, gradients

    def step(
        self, models: Sequence[int], batch: Batch, weights: list[Tensor], rows: Tensor | None, into: list[Tensor]
    ) -> Tensor:
        """The losses of the first of these models; gradients of all."""
        first, *others = models
        part = self._parts[first]
        outputs, _ = part.program.forward(part.cut(weights, rows), batch.x, batch.counts)
        gradient = self._head(outputs, batch)
        self._backward(part, gradient, rows, into)
        for place in others:
            part = self._parts[place]
            given, _ = part.program.forward(part.cut(weights, rows), batch.x, batch.counts)
            self._backward(part, self._head.taught(given, outputs, batch), rows, into)
        return loss_of(gradient.terms)

    @staticmethod
    def _backward(part: Part, gradient: Gradient, rows: Tensor | None, into: list[Tensor]) -> None:
        collect = Collect(len(into) if part.places is None else len(part.places))
        part.program.backward(gradient.outputs, None, collect)
        part.add(collect.taken(), rows, into)
