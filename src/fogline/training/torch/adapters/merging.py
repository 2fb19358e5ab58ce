"""Takes low-rank adapters out of a module again, so that it computes the same with plain layers: what is served."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

from fogline.training.torch.adapters.layers import LoraLayer

M = TypeVar("M", bound=nn.Module)


def can_be_merged(module: nn.Module) -> bool:
    """Whether a module has low-rank adapters."""
    return any(isinstance(layer, LoraLayer) for layer in module.modules())


def merge(module: M) -> M:
    """The module itself, in which every low-rank adapter is added to its weight; bottlenecks stay."""
    for layer in list(module.modules()):
        if isinstance(layer, LoraLayer):
            layer.merge()
    return module
