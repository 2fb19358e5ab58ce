"""How modules are made for those who train: anew for each device where they must be, and without dropout."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from fogline.training.torch.checking.side_effects import watched
from fogline.user_code.bugs import attempt


def keeps(module: nn.Module, step: Callable[[], object]) -> bool:
    """Whether a module keeps something beside its state: recurrent states, caches, counters.

    A device would find there what the one before it left, and results would depend on the order and on the number of
    processes. Found by a trial, in training and in evaluation.

    Args:
        module: in evaluation.
        step: has it answer once.
    """

    def once() -> None:
        for training in (True, False):
            module.train(training)
            step()

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
