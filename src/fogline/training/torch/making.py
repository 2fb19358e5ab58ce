"""How modules are made for those who train: anew for each device where they must be, and without dropout."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from fogline.training.torch.beside import watched
from fogline.training.torch.failure import attempt

if TYPE_CHECKING:
    from fogline.training.torch.task import TorchTask


def keeps(task: TorchTask) -> bool:
    """Whether the module keeps something beside its state: recurrent states, caches, counters.

    A device would find there what the one before it left, and results would depend on the order and on the number of
    processes. Found by a trial, in training and in evaluation.
    """
    module = task.untrained()

    def once() -> None:
        targets = task.data.at(0).y
        y = task.targets(np.resize(targets, (2, *targets.shape[1:])))
        for training in (True, False):
            module.train(training)
            task.forward(module, task.pair(), y)

    module.eval()
    with watched(module) as seen:
        attempt(once)
    return seen.changes is not None


def without_dropout(module: nn.Module) -> nn.Module:
    """The module, whose dropout layers keep everything."""
    for layer in module.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    return module
