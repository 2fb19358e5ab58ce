"""What a kernel is, and the one registry of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor, nn

from fogline.training.torch.steps.optimizers import Sink


@dataclass(slots=True)
class Context:
    """What the kernels of one model share."""

    single: bool
    """Every cohort is one device: a kernel may drop the leading axis of one."""
    generators: list[torch.Generator] = field(default_factory=list)
    """One per device, or per example of each, for dropout."""
    by_example: bool = False
    """Whether each example has a generator of its own."""
    counts: list[int] | None = None
    """Per device, how many examples of the batch count; None if all do."""
    values: list[Tensor | None] = field(default_factory=list)
    """What the model's steps hand on, by slot: see ``Graph``."""
    gradients: list[Tensor | None] = field(default_factory=list)


class Kernel(ABC):
    """One layer for K devices: inputs (k, B, ...), weights (k, *shape), no autograd.

    Args:
        module: the layer.
        places: the layer's parameter names to positions among the model's trainable tensors; parameters that
            it is handed go by their place among its arguments.
        context: shared by the model's kernels.
    """

    fresh = True
    """Whether its output is memory of its own, which the next layer may overwrite."""
    by_example = True
    """Whether it can hand in each example's gradient (see ``ByExample``)."""

    def __init__(self, module: nn.Module, places: Mapping[str, int], context: Context) -> None:
        self.module = module
        self.places = places
        self.context = context

    @classmethod
    def takes(cls, module: nn.Module) -> bool:
        """Whether it can stand for that module with those settings."""
        return True

    @abstractmethod
    def forward(self, x: Tensor, weights: Sequence[Tensor], overwrite: bool) -> Tensor:
        """Outputs; ``overwrite`` allows to make them in the memory of x. Keeps what backward needs."""

    @abstractmethod
    def backward(self, gradient: Tensor, weights: Sequence[Tensor], sink: Sink, wanted: bool) -> Tensor | None:
        """Hand in the weights' gradients; return that of the inputs, if it is wanted.

        ``gradient`` is left as it is: another kernel may have to read it.
        """


KERNELS: dict[type[nn.Module], type[Kernel]] = {}


K = TypeVar("K", bound=Kernel)


def kernel(*modules: type[nn.Module]) -> Callable[[type[K]], type[K]]:
    """Enter a kernel for modules of exactly these types."""

    def enter(cls: type[K]) -> type[K]:
        KERNELS.update(dict.fromkeys(modules, cls))
        return cls

    return enter


def stack(tensors: Sequence[Tensor]) -> Tensor:
    """One device's tensors (n, ...) after another's, as (k, n, ...); a view, if it is but one."""
    return tensors[0].unsqueeze(0) if len(tensors) == 1 else torch.stack(list(tensors))
