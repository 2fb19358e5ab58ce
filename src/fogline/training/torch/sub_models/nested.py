"""A smaller model within the one that a device trains, on the same parameters."""

from __future__ import annotations

from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from fogline.params import Entry
from fogline.params.ranges import places_of
from fogline.training.context import LocalBatch
from fogline.training.sub_models import SubModel
from fogline.training.torch.module import ModuleTask


def nested_models(task: ModuleTask) -> list[NestedModel]:
    """A device's own model and every smaller one that its method has within it, the largest first."""
    models = task.sub_models
    if models is None:
        return [NestedModel(task, None, None)]
    smaller = models.nested() if models.own is None else models.nested()[1:]
    return [NestedModel(task, models.own, part) for part in (None, *smaller)]


class NestedModel:
    """Runs a part of a module; gradients go to the module's parameters.

    Args:
        task: of the module.
        own: which smaller model the module itself is; None: the whole.
        part: which smaller model is run; None: the module itself.
    """

    def __init__(self, task: ModuleTask, own: SubModel | None, part: SubModel | None) -> None:
        self._task, self._own, self.part = task, own, part

    def __call__(self, module: nn.Module, batch: LocalBatch) -> Any:
        """What it gives for a batch."""
        if self.part is None:
            return self._task.forward(module, batch.inputs, batch.targets)
        parameters, tensors = dict(module.named_parameters()), dict[str, Tensor]()
        for name, (places, shape) in self.places.items():
            tensors[name] = parameters[name].flatten()[places].view(shape)

        def called(*args: Any, **named: Any) -> Any:
            return functional_call(self._module, tensors, args, named)

        return self._task.forward(cast("nn.Module", called), batch.inputs, batch.targets)

    @cached_property
    def _module(self) -> nn.Module:
        assert self.part is not None
        return cast("ModuleTask", self.part.task).untrained().train()

    @cached_property
    def places(self) -> dict[str, tuple[Tensor, tuple[int, ...]]]:
        """Where the numbers of its parameters lie in those of the module."""
        assert self.part is not None
        return {e.name: (self._within(e), e.shape) for e in self.part.task.spec.entries if e.trainable}

    def _within(self, entry: Entry) -> Tensor:
        assert self.part is not None
        whole, mine = self.part.whole, {} if self._own is None else self._own.ranges.entries
        has, wants = (places_of(whole, [entry], ranges) for ranges in (mine, self.part.ranges.entries))
        return torch.from_numpy(np.searchsorted(has, wants)).to(self._task.device)
