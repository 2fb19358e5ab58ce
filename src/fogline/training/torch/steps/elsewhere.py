"""The model under other weights than those that train: what the hooks of a step may ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from fogline.data.inputs import arrays_of
from fogline.training.torch.features import Features, features_of
from fogline.training.torch.outputs.answers import answer_of
from fogline.training.torch.task import TorchTask

Buffers = Callable[[], dict[str, Tensor]]
"""The device's buffers and frozen weights as they are now, by name."""


class Elsewhere:
    """Calls a module under weights that are not its own.

    Args:
        task: model and loss.
        module: in training mode; its own weights stay as they are.
        features: catches what goes into its last linear layer.
    """

    def __init__(self, task: TorchTask, module: nn.Module, features: Features) -> None:
        self._task, self._module, self._features = task, module, features

    def run(self, weights: Tensor, buffers: dict[str, Tensor], x: Any) -> tuple[Tensor, Tensor | None]:
        """Outputs, with the classes last, and features of x under weights (P,), without gradient."""
        with torch.no_grad():
            outputs = answer_of(self._called(weights, buffers, x, {}))
        return self._task.classes_last(outputs), self._features.taken()

    def loss(self, weights: Tensor, buffers: dict[str, Tensor], x: Any, y: Tensor) -> tuple[Tensor, Tensor]:
        """The mean loss under weights (P,), and its gradient (P,)."""
        leaf = weights.detach().clone().requires_grad_()
        labels = {"labels": y} if self._task.loss == "model" else {}
        with torch.enable_grad():
            loss = self._task.loss_function(self._called(leaf, buffers, x, labels), y)
            (gradient,) = torch.autograd.grad(loss, leaf)
        return loss.detach(), gradient

    def _called(self, weights: Tensor, buffers: dict[str, Tensor], x: Any, more: dict[str, Tensor]) -> Any:
        """Buffers are read from a copy, so that running means do not move."""
        task = self._task
        named = {e.name: weights[task.spec.slices[e.name]].view(e.shape).to(task.dtype) for e in task.layout.trainable}
        kept = {name: buffer.clone() for name, buffer in buffers.items()}
        arguments = () if isinstance(x, dict) else x if isinstance(x, tuple) else (x,)
        keywords = {**x, **more} if isinstance(x, dict) else more
        return functional_call(self._module, {**kept, **named}, arguments, keywords)


class DeviceElsewhere:
    """The same for one device, as its context calls it (see ``ModelFunctions``)."""

    def __init__(self, task: TorchTask, elsewhere: Elsewhere, buffers: Buffers) -> None:
        self._task, self._elsewhere, self._buffers = task, elsewhere, buffers

    def outputs(self, weights: Tensor, x: Any) -> Tensor:
        """Outputs (n, ...), the classes last."""
        return self._elsewhere.run(weights, self._buffers(), self._taken(x))[0]

    def features(self, weights: Tensor, x: Any) -> Tensor:
        """The input (n, d) of the last linear layer.

        Raises:
            ValueError: the model has none.
        """
        return features_of(self._elsewhere.run(weights, self._buffers(), self._taken(x))[1])

    def loss(self, weights: Tensor, x: Any, y: Any, gradient: bool) -> tuple[float, Tensor | None]:
        """The mean loss and its gradient (P,)."""
        targets = y if isinstance(y, Tensor) else self._task.targets(y)
        loss, slope = self._elsewhere.loss(weights, self._buffers(), self._taken(x), targets)
        return loss.item(), slope if gradient else None

    def _taken(self, x: Any) -> Any:
        """Inputs as the model takes them: those of examples are numpy arrays."""
        return self._task.arguments(x) if isinstance(arrays_of(x)[0], np.ndarray) else x
