"""Models that call known layers, run by kernels without autograd."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fogline.randomness import seeded
from fogline.training.torch.checking.side_effects import watched
from fogline.training.torch.failure import attempt
from fogline.training.torch.kernels.base import KERNELS, Context, Kernel
from fogline.training.torch.kernels.dense import Addend, Dropout, Linear, Sum
from fogline.training.torch.kernels.trace import LayerCall, calls_of
from fogline.training.torch.steps.optimizers import Sink
from fogline.training.torch.steps.program import DrawingProgram
from fogline.training.torch.task import TorchTask


class KernelStep(NamedTuple):
    """A kernel and the slots between which it works."""

    kernel: Kernel
    source: int
    target: int
    overwrite: bool
    """Whether the output may be made in the memory of the input."""
    wanted: bool
    """Whether the input's gradient is: the input depends on weights."""
    adds: bool
    """Whether it joins what a later step has given: the input has more readers."""


class Graph(DrawingProgram):
    """Forward and backward through a list of kernels, for K devices at once.

    Values and their gradients lie in slots, which are used again once the last reader of a value is done: a plain
    chain has one. All that depends on the model alone is settled here, as a small model's steps take no longer
    than a few of Python's.
    """

    def __init__(self, kernels: Sequence[Kernel], calls: Sequence[LayerCall], context: Context) -> None:
        steps = _plan(kernels, calls)
        linear = {i: k for i, k in enumerate(kernels) if isinstance(k, Linear)}
        head = max(linear, default=-1)
        backward = [i for i in reversed(range(len(steps))) if steps[i].wanted or kernels[i].places]
        self._context = context
        self.draws = any(isinstance(k, Dropout) for k in kernels)
        self.by_example = all(k.by_example for k in kernels)
        self._head = linear.get(head)
        self._head_slot = steps[head].source
        self._forward = [step[:4] for step in steps]
        # The gradient of the features joins in below the head.
        self._above = [steps[i] for i in backward if i >= head]
        self._below = [steps[i] for i in backward if i < head]
        context.values = [None] * (1 + max(step.target for step in steps))
        context.gradients = context.values.copy()
        self._weights: list[Tensor] = []

    @classmethod
    def of(cls, task: TorchTask, single: bool) -> Graph | None:
        """The task's model as a graph; None if it has layers without a kernel."""
        module = task.untrained().train()
        calls = None if task.gives_several else calls_of(module)
        if calls is None or task.layout.buffers or task.layout.integers:
            return None
        places = {id(p): i for i, p in enumerate(_trainable(task, module))}
        context = Context(single)
        kernels: list[Kernel] = []
        for call in calls:
            kind = KERNELS.get(type(call.layer))
            known = kind is not None and kind.takes(call.layer) and call.layer.training
            if kind is None or not known or not all(id(p) in places for p in call.parameters.values()):
                return None
            own = {name: places[id(p)] for name, p in call.parameters.items()}
            kernels.append(kind(call.layer, own, context))
        used = sorted(place for k in kernels for place in k.places.values())
        if used != list(range(len(places))):  # A tensor that two layers share, or none uses, is for autograd.
            return None
        graph = cls(kernels, calls, context)
        return graph if graph._fits(task, module) else None

    def _fits(self, task: TorchTask, module: nn.Module) -> bool:
        """Whether an example's shapes are as the kernels take them, and nothing but calls is done to it.

        Where the module fails too, there is no telling.
        """
        weights = [p.detach().unsqueeze(0) for p in _trainable(task, module)]
        with torch.no_grad(), seeded(0):
            pair = attempt(task.pair)
            if not isinstance(pair, Tensor):
                return True
            x = pair[:1]
            with watched(module) as seen:
                theirs = attempt(lambda: module(x))
            if seen.looks or seen.changes:
                return False
            self.begin([0], weights, {})
            ours = attempt(lambda: self.forward(weights, x.unsqueeze(0))[0])
        return not isinstance(theirs, Tensor) or (isinstance(ours, Tensor) and ours.shape[1:] == theirs.shape)

    def begin(self, seeds: Sequence[int], weights: list[Tensor], buffers: dict[str, Tensor]) -> None:
        """Every device has its own generator, so that its dropout does not depend on its company."""
        self.draw_from(seeds, weights[0].device, by_example=False)

    def draw_from(self, seeds: Sequence[int], device: torch.device, by_example: bool = True) -> None:
        """What dropout draws from in the steps to come: a seed for each device, or for each example of each."""
        if self.draws:
            self._context.by_example = by_example
            self._context.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def buffers(self) -> dict[str, Tensor]:
        """None: no kernel has any."""
        return {}

    def forward(
        self, weights: list[Tensor], x: Tensor, counts: list[int] | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Step by step; the features are the input of the last linear layer."""
        self._weights, values = weights, self._context.values
        self._context.counts = counts
        values[0] = x
        for kernel, source, target, overwrite in self._forward:
            value = values[source]
            assert value is not None
            x = values[target] = kernel.forward(value, weights, overwrite)
        return x, self._head.x if self._head else None

    def backward(self, outputs: Tensor, features: Tensor | None, sink: Sink) -> None:
        """Step by step, down to the first that have weights."""
        gradients = self._context.gradients
        gradients[self._forward[-1][2]] = outputs
        self._descend(self._above, sink)
        joined = gradients[self._head_slot]
        if features is not None and joined is not None:
            gradients[self._head_slot] = joined + features
        self._descend(self._below, sink)

    def _descend(self, steps: Sequence[KernelStep], sink: Sink) -> None:
        gradients, weights = self._context.gradients, self._weights
        for kernel, source, target, _, wanted, adds in steps:
            so_far, gradient = gradients[source], gradients[target]
            assert gradient is not None
            gradient = kernel.backward(gradient, weights, sink, wanted)
            gradients[source] = so_far + gradient if adds else gradient  # pyright: ignore[reportOperatorIssue]


def _plan(kernels: Sequence[Kernel], calls: Sequence[LayerCall]) -> list[KernelStep]:
    """Gives every value a slot, and every gradient the one of its value."""
    last = {value: i for i, call in enumerate(calls) for value in call.reads}
    uses = Counter(value for call in calls for value in call.reads)
    slots, fresh, moves = [0], [False], [False]  # By value.
    free: list[int] = []
    steps: list[KernelStep] = []
    for i, (kernel, call) in enumerate(zip(kernels, calls, strict=True)):
        source, *others = sorted(call.reads, reverse=True)  # The youngest may be overwritten.
        if last[source] == i:
            target = slots[source]
        else:
            target = free.pop() if free else max(slots) + 1
        overwrite = fresh[source] and uses[source] == 1
        wanted = moves[source]
        steps.append(KernelStep(kernel, slots[source], target, overwrite, wanted, wanted and last[source] > i))
        for other in others:
            assert isinstance(kernel, Sum)
            kernel.other = Addend(slots[other], moves[other], last[other] > i)
            free += [slots[other]] if last[other] == i else []
        slots.append(target)
        fresh.append(kernel.fresh)
        moves.append(bool(kernel.places) or any(moves[value] for value in call.reads))
    return steps


def _trainable(task: TorchTask, module: nn.Module) -> list[Tensor]:
    tensors = dict(module.named_parameters())
    return [tensors[entry.name] for entry in task.layout.trainable]
