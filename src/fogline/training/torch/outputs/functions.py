"""The model as it is judged, as functions of numpy arrays: what the hooks between the steps may ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fogline.data.inputs import count, rows
from fogline.params import Vector
from fogline.training.local import ClientJob
from fogline.training.torch.features import Features, features_of
from fogline.training.torch.layout import TensorLayout
from fogline.training.torch.outputs.losses import LossFunction

EVALUATION_BATCH = 512


class JudgedTask(Protocol):
    """What is asked of a task."""

    def forward(self, module: nn.Module, x: Any, y: Tensor | None = None) -> Any: ...
    def arguments(self, x: Any) -> Any: ...
    def targets(self, y: Any) -> Tensor: ...
    def array(self, vector: Any) -> Tensor: ...
    def answer(self, outputs: Any) -> Tensor: ...
    def classes_last(self, outputs: Tensor) -> Tensor: ...
    def weight(self, y: Tensor) -> int: ...


class JudgedModel:
    """See ``ModelFunctions``. Examples are taken in batches; dropout is off, and running means do not move.

    Args:
        task: how it is called.
        layout: where its parameters lie in the vectors.
        loss: of outputs and targets.
        module: to load weights into.
        features: catches what goes into its last linear layer.
        job: whose buffers and counters the device has.
    """

    def __init__(
        self,
        task: JudgedTask,
        layout: TensorLayout,
        loss: LossFunction,
        module: nn.Module,
        features: Features,
        job: ClientJob,
    ) -> None:
        self._task, self._layout, self._loss = task, layout, loss
        self._module, self._features, self._job = module.eval(), features, job

    def outputs(self, weights: Vector, x: Any) -> npt.NDArray[Any]:
        """Outputs (n, ...), the classes last."""
        with torch.no_grad():
            parts = [self._task.classes_last(self._task.answer(outputs)) for outputs, _ in self._passes(weights, x)]
        return torch.cat(parts).cpu().numpy()

    def features(self, weights: Vector, x: Any) -> npt.NDArray[Any]:
        """The input (n, d) of the last linear layer.

        Raises:
            ValueError: the model has none.
        """
        with torch.no_grad():
            parts = [features_of(self._features.taken()) for _ in self._passes(weights, x)]
        return torch.cat(parts).cpu().numpy()

    def loss(
        self, weights: Vector, x: Any, y: Any, gradient: bool, own: LossFunction | None = None
    ) -> tuple[float, Vector | None]:
        """The mean loss over examples that have a truth, or one's ``own`` over all, and its gradient (P,)."""
        total, weight = 0.0, 0
        tensors = dict(self._module.named_parameters())
        parameters = [tensors[entry.name] for entry in self._layout.trainable]
        slope = np.zeros_like(weights)
        with torch.set_grad_enabled(gradient):
            read = self._task.targets if own is None else self._task.array
            for outputs, targets in self._passes(weights, x, y, read):
                loss, known = self._measured(outputs, targets, own)
                total, weight = total + loss.item() * known, weight + known
                if gradient:
                    parts = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
                    slope += known * torch.cat([part.reshape(-1) for part in parts]).cpu().numpy()
        return total / max(weight, 1), slope / max(weight, 1) if gradient else None

    def _measured(self, outputs: Any, targets: Tensor, own: LossFunction | None) -> tuple[Tensor, int]:
        """A batch's mean loss, and how many examples it is the mean of."""
        if own is None:
            return self._loss(outputs, targets), self._task.weight(targets)
        return own(self._task.classes_last(self._task.answer(outputs)), targets), len(targets)

    def _passes(
        self, weights: Vector, x: Any, y: Any = None, read: Callable[[Any], Tensor] | None = None
    ) -> Iterator[tuple[Any, Any]]:
        """Outputs and targets, batch by batch; ``read`` makes targets of ``y``."""
        task, job = self._task, self._job
        self._layout.load(self._module, np.concatenate([weights, job.start[len(weights) :]]), job.counters)
        for start in range(0, count(x), EVALUATION_BATCH):
            part = slice(start, start + EVALUATION_BATCH)
            targets = None if read is None else read(y[part])
            yield task.forward(self._module, task.arguments(rows(x, part)), targets), targets
