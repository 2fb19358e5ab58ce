"""One device as a method sees it that trains by itself, in plain PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from fogline.params import Vector
from fogline.training.context import STEPS, DeviceContext, Draws, LocalBatch
from fogline.training.hook_calls import a
from fogline.training.local import NO_METRICS, ClientJob, LocalResult
from fogline.training.torch.failure import results
from fogline.training.torch.task import TorchTask


class ModuleDevice(DeviceContext):
    """A device's whole round, for ``local_round``.

    Args:
        task: model and data.
        job: what the device was asked.
        batches: inputs and targets of its steps, as the job's plan has them.
        weight: what its update counts.
    """

    def __init__(self, task: TorchTask, job: ClientJob, batches: Iterator[tuple[Any, Tensor]], weight: int) -> None:
        super().__init__(task, job, Draws(job.seed, job.common_seed, STEPS))
        self._torch, self._batches, self._weight = task, batches, weight
        self._losses: list[float] = []
        self._steps = 0

    def module(self, weights: Vector) -> nn.Module:
        """A new module in training mode, with those trainable weights (P,) and the received buffers."""
        task, job, weights = self._torch, self._job, self._checked(weights)
        module = task.untrained().train()
        task.layout.load(module, np.concatenate([weights, job.start[len(weights) :]]), job.counters)
        return module

    def batches(self) -> Iterator[LocalBatch]:
        """The examples of each step, (B, ...); as many as the plan has steps."""
        for x, y in self._batches:
            self._steps += 1
            yield LocalBatch(x, y)

    def loss(self, outputs: Any, batch: LocalBatch) -> Tensor:
        """The task's mean loss of what a module gave for a batch; their mean is the device's training loss."""
        loss = self._torch.loss_function(outputs, batch.targets)
        self._losses.append(loss.item())
        return loss

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
        losses = torch.tensor(self._losses or [0.0], dtype=torch.float64)[:, None]
        (result,) = results(self._torch, [self._job], ends, counters, [self._weight], losses)
        if result.failure is None:
            result.steps, result.metrics = max(1, self._steps), dict(metrics)
            result.loss, result.loss_rms = float(losses.mean()), float(losses.square().mean().sqrt())
        return result
