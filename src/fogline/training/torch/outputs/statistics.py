"""Running statistics of batch normalisation, measured by a pass over examples."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from fogline.data import Examples
from fogline.data.inputs import rows
from fogline.params import Params, State
from fogline.randomness import seeded
from fogline.training.shuffling import batches, cuts
from fogline.training.torch.layout import TensorLayout, named_tensors

STATISTICS = ("running_mean", "running_var")


class MeasuredTask(Protocol):
    """What is asked of a task."""

    seed: int
    device: torch.device

    @property
    def smallest_batch(self) -> int: ...
    def untrained(self) -> nn.Module: ...
    def forward(self, module: nn.Module, x: Any, y: Tensor | None = None) -> Any: ...
    def arguments(self, x: Any) -> Any: ...
    def targets(self, y: Any) -> Tensor: ...


NormLayer = nn.modules.batchnorm._BatchNorm  # pyright: ignore[reportPrivateUsage] - what all of them are


def normalising_layers(module: nn.Module) -> dict[str, NormLayer]:
    """A module's layers of batch normalisation that have running statistics, by name."""
    named = {name: layer for name, layer in module.named_modules() if isinstance(layer, NormLayer)}
    return {name: layer for name, layer in named.items() if layer.running_mean is not None}


def statistics_in(module: nn.Module) -> tuple[str, ...]:
    """Names of its running statistics."""
    names = (f"{name}.{kind}".lstrip(".") for name in normalising_layers(module) for kind in STATISTICS)
    kept = named_tensors(module)
    return tuple(name for name in names if name in kept)


def measured_statistics(
    task: MeasuredTask, layout: TensorLayout, params: Params, examples: Examples, size: int | None, seed: int
) -> State:
    """See :meth:`fogline.training.task.Task.measured`: the mean over batches of their means and unbiased variances.

    Layers of batch normalisation go by the batch, as in training, and all else is as the model is judged.
    """
    count = len(examples.y)
    if count < task.smallest_batch:
        raise ValueError(f"batch normalisation wants {task.smallest_batch} examples, and there is {count}")
    module = task.untrained().eval()
    layout.load(module, params.vector, params.counters)
    for layer in normalising_layers(module).values():
        layer.reset_running_stats()
        layer.momentum = None  # A mean over all batches, and not over the last ones.
        layer.train()
    x, y = task.arguments(examples.x), task.targets(examples.y)
    passed = len(cuts(count, size, task.smallest_batch))
    with torch.no_grad(), seeded(task.seed):
        for batch in batches(seed, count, size, passed, task.smallest_batch):
            places = torch.from_numpy(batch).to(task.device)
            task.forward(module, rows(x, places), y[places])
    found = named_tensors(module)
    return {name: found[name].detach().double().cpu().numpy().ravel() for name in statistics_in(module)}
