"""One device as a method sees it that trains by itself, in plain PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from fogline.params import Vector
from fogline.training.context import STEPS, DeviceContext, Draws, LocalBatch
from fogline.training.hook_calls import a
from fogline.training.local import NO_METRICS, ClientJob, LocalResult
from fogline.training.torch.failure import results
from fogline.training.torch.outputs.answers import several_of
from fogline.training.torch.sub_models.nested import NestedModel, nested_models
from fogline.training.torch.task import TorchTask

Passes = Callable[[int, int], Iterator[tuple[Any, Tensor]]]
"""(which one, how many steps) to the inputs and targets of the steps: each has an order of its own."""


class ModuleDevice(DeviceContext):
    """A device's whole round, for ``local_round``.

    Args:
        task: model and data.
        job: what the device was asked.
        passes: over its examples, in batches as the job's plan has them.
        weight: what its update counts.
    """

    def __init__(self, task: TorchTask, job: ClientJob, passes: Passes, weight: int) -> None:
        super().__init__(task, job, Draws(job.seed, job.common_seed, STEPS))
        self._torch, self._passes, self._weight = task, passes, weight
        self._losses: list[float] = []
        self._begun = self._steps = 0

    def module(self, weights: Vector) -> nn.Module:
        """A new module in training mode: the whole model, with those weights (P,) and the received buffers.

        What the method keeps on devices is in it as this device has it, and trains with the rest.
        """
        task, job, weights = self._torch, self._job, self._checked(weights)
        module = task.untrained().train()
        task.layout.load(module, np.concatenate([weights, job.start[len(weights) :]]), job.counters)
        return module

    def batches(self, steps: int | None = None) -> Iterator[LocalBatch]:
        """The examples of each of so many steps, (B, ...); None: of as many as the plan has.

        Every call begins anew, in another order. The virtual clock counts the steps of the plan, however many are
        taken: a method that takes more says so in ``work``.

        Raises:
            ValueError: it is no number of steps.
        """
        wanted = self.plan.steps if steps is None else self.plan.replace(steps=steps).steps
        place, self._begun = self._begun, self._begun + 1
        return self._taken(self._passes(place, wanted))

    def _taken(self, batches: Iterator[tuple[Any, Tensor]]) -> Iterator[LocalBatch]:
        for x, y in batches:
            self._steps += 1
            yield LocalBatch(x, y)

    def loss(self, outputs: Any, batch: LocalBatch) -> Tensor:
        """The task's mean loss of what a module gave for a batch; their mean is the device's training loss.

        Where it is never asked, the device tells none: it is NaN.
        """
        loss = self.measured(outputs, batch)
        self._losses.append(loss.item())
        return loss

    def sgd(self, module: nn.Module) -> torch.optim.SGD:
        """Plain SGD at the round's rate."""
        return torch.optim.SGD(module.parameters(), self.plan.learning_rate)

    def nested(self) -> list[NestedModel]:
        """The device's own model and every smaller one that the method has within it, the largest first.

        Each is called with a module of the device's own model and a batch, and gives what it gives for that.
        """
        return nested_models(self._torch)

    def answers(self, outputs: Any) -> list[Tensor]:
        """The complete answers (B, ..., classes) in what a module gave, the last one the model's."""
        return [self._torch.classes_last(output) for output in several_of(outputs)]

    def measured(self, outputs: Any, batch: LocalBatch) -> Tensor:
        """The task's mean loss of what a module gave, which is not told of."""
        return self._torch.loss_function(outputs, batch.targets)

    def trained(self, module: nn.Module, metrics: Mapping[str, float] = NO_METRICS) -> LocalResult:
        """What a local round gives: the module as it is now, and numbers about it for the history.

        Raises:
            TypeError: it is no module of the task's model.
        """
        wanted = "device.trained takes a module of the task's model, as device.module(weights) makes it"
        if not isinstance(cast("object", module), nn.Module):  # Of a hook that no type checker has seen.
            raise TypeError(f"{wanted}, and not {a(module)}")
        try:
            done = self._torch.layout.read(module)
        except KeyError as error:
            raise TypeError(f"{wanted}; this one has no {error}") from error
        ends, counters = torch.from_numpy(done.vector[None]), torch.from_numpy(done.counters[None])
        told = torch.tensor(self._losses, dtype=torch.float64)
        losses = told if self._losses else torch.zeros(1, dtype=torch.float64)
        asked = replace(self._job, steps=len(losses))
        (result,) = results(self._torch, [asked], ends, counters, [self._weight], losses[:, None])
        if result.failure is None:
            result.steps, result.metrics = max(1, self._steps), dict(metrics)
            result.loss, result.loss_rms = float(told.mean()), float(told.square().mean().sqrt())
        return result
