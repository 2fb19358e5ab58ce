"""The model under other weights than those that train: what the hooks of a step may ask for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from fogline.data.inputs import arrays_of
from fogline.training.torch.features import Features, features_of
from fogline.training.torch.outputs.answers import answer_of
from fogline.training.torch.outputs.losses import LossFunction
from fogline.training.torch.steps.program import Program
from fogline.training.torch.task import TorchTask

Buffers = Callable[[], dict[str, Tensor]]
"""The device's buffers and frozen weights as they are now, by name."""


class Elsewhere:
    """Calls a module under weights that are not its own.

    Args:
        task: model and loss.
        module: in training mode; its own weights stay as they are.
        features: catches what goes into its last linear layer.
        kernels: the model as kernels, of its own for this; None where it has layers without one, or draws.
    """

    def __init__(self, task: TorchTask, module: nn.Module, features: Features, kernels: Program | None = None) -> None:
        self._task, self._module, self._features, self._kernels = task, module, features, kernels
        self._split: tuple[Tensor, list[Tensor]] | None = None

    def run(self, weights: Tensor, buffers: dict[str, Tensor], x: Any) -> tuple[Tensor, Tensor | None]:
        """Outputs, with the classes last, and features of x under weights (P,), without gradient."""
        with torch.no_grad():
            if self._kernels is not None:
                outputs, features = self._kernels.forward(self._blocks(weights), x.unsqueeze(0))
                return self._task.classes_last(outputs[0]), None if features is None else features[0]
            outputs = answer_of(self._called(weights, buffers, x, {}))
        return self._task.classes_last(outputs), self._features.taken()

    @property
    def stacks(self) -> bool:
        """Whether examples of several devices may be one batch: none depends on the others, or on buffers."""
        return self._kernels is not None

    def _blocks(self, weights: Tensor) -> list[Tensor]:
        """Parameter by parameter (1, *shape); mostly it is the same weights step after step."""
        if self._split is None or self._split[0] is not weights:
            slices, entries = self._task.spec.slices, self._task.layout.trainable
            self._split = weights, [weights[slices[e.name]].view(1, *e.shape) for e in entries]
        return self._split[1]

    def loss(
        self, weights: Tensor, buffers: dict[str, Tensor], x: Any, y: Tensor, own: LossFunction | None
    ) -> tuple[Tensor, Tensor]:
        """The mean loss under weights (P,), the task's or one's ``own``, and its gradient (P,)."""
        leaf = weights.detach().clone().requires_grad_()
        labels = {"labels": y} if self._task.loss == "model" else {}
        with torch.enable_grad():
            outputs = self._called(leaf, buffers, x, labels)
            if own is None:
                loss = self._task.loss_function(outputs, y)
            else:
                loss = own(self._task.classes_last(answer_of(outputs)), y)
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


class SharedElsewhere:
    """What all devices of a stack ask for at the same weights, made for all of them at once, step by step.

    Args:
        elsewhere: the model under other weights.
        shared: the weights that all devices are handed, such as the model received.
    """

    def __init__(self, elsewhere: Elsewhere, shared: Sequence[Tensor]) -> None:
        self._elsewhere = elsewhere
        self._shared = {id(weights) for weights in shared} if elsewhere.stacks else set[int]()
        self._x: Tensor | None = None
        self._made: dict[int, tuple[Tensor, Tensor | None]] = {}

    def step(self, x: Tensor) -> None:
        """A new step, with inputs (k, B, ...)."""
        self._x, self._made = x, {}

    def run(self, client: int, weights: Tensor, buffers: Buffers, x: Any) -> tuple[Tensor, Tensor | None]:
        """Outputs and features of one device's x under weights (P,), without gradient."""
        stack = self._x
        if stack is None or id(weights) not in self._shared or x.data_ptr() != stack[client].data_ptr():
            return self._elsewhere.run(weights, buffers(), x)
        if id(weights) not in self._made:
            made = self._elsewhere.run(weights, {}, stack.flatten(0, 1))
            outputs, features = (None if one is None else one.unflatten(0, stack.shape[:2]) for one in made)
            assert outputs is not None
            self._made[id(weights)] = outputs, features
        outputs, features = self._made[id(weights)]
        return outputs[client, : len(x)], None if features is None else features[client, : len(x)]


class DeviceElsewhere:
    """The same for one device, as its context calls it (see ``ModelFunctions``).

    Args:
        task: model and loss.
        elsewhere: the model under other weights.
        buffers: the device's.
        shared: what the devices of its stack make together; None for a device that trains alone.
        client: its place in the stack.
    """

    def __init__(
        self,
        task: TorchTask,
        elsewhere: Elsewhere,
        buffers: Buffers,
        shared: SharedElsewhere | None = None,
        client: int = 0,
    ) -> None:
        self._task, self._elsewhere, self._buffers = task, elsewhere, buffers
        self._shared, self._client = shared, client

    def _run(self, weights: Tensor, x: Any) -> tuple[Tensor, Tensor | None]:
        x = self._taken(x)
        if self._shared is not None:
            return self._shared.run(self._client, weights, self._buffers, x)
        return self._elsewhere.run(weights, self._buffers(), x)

    def outputs(self, weights: Tensor, x: Any) -> Tensor:
        """Outputs (n, ...), the classes last."""
        return self._run(weights, x)[0]

    def features(self, weights: Tensor, x: Any) -> Tensor:
        """The input (n, d) of the last linear layer.

        Raises:
            ValueError: the model has none.
        """
        return features_of(self._run(weights, x)[1])

    def loss(
        self, weights: Tensor, x: Any, y: Any, gradient: bool, own: LossFunction | None = None
    ) -> tuple[float, Tensor | None]:
        """The mean loss, the task's or one's ``own``, and its gradient (P,)."""
        read = self._task.targets if own is None else self._task.array
        targets = y if isinstance(y, Tensor) else read(y)
        loss, slope = self._elsewhere.loss(weights, self._buffers(), self._taken(x), targets, own)
        return loss.item(), slope if gradient else None

    def _taken(self, x: Any) -> Any:
        """Inputs as the model takes them: those of examples are numpy arrays."""
        return self._task.arguments(x) if isinstance(arrays_of(x)[0], np.ndarray) else x
